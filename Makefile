# Needs make and a python3 from 3.11 to 3.13, nothing else. Each target first creates .venv if it is missing or
# incomplete, and updates it if setup.cfg is newer. PYTHON=/path/to/python3 chooses the interpreter of a new .venv.

python := .venv/bin/python
stamp := .venv/installed
runs := saved_models
pytest := $(python) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo lecture check test test-all test-slow bench samples
.DELETE_ON_ERROR:

demo: $(stamp)  ## answers with the released models; trains, evaluates, exports and uses models on the embedded sample
	$(python) -m pipelines.sentiment predict --model sentiment/imdb --picture $(runs)/sentiment.png \
	    "Not a bad film." \
	    "The plot is thin, but the two leads make it worth every minute."
	$(python) -m pipelines.translation predict --model translation/multi30k-de-en --picture $(runs)/translation.png \
	    "Zwei Hunde rennen am Strand." \
	    "ein mann mit hut repariert sein fahrrad"
	$(python) -m pipelines.captioning predict --model captioning/flickr8k --picture $(runs)/photos.png data/samples/photos
	$(python) -m pipelines.sentiment train sample
	$(python) -m pipelines.sentiment evaluate --run $(runs)/sentiment/sample
	$(python) -m pipelines.sentiment export --run $(runs)/sentiment/sample
	@# These sentences are not in the data. "but", "although", "nobody" and "wrong" decide, not a single opinion word.
	$(python) -m pipelines.sentiment predict --model $(runs)/sentiment/sample/export \
	    --picture $(runs)/sentiment/sample/prediction.png \
	    "The cast was dull and the ending is awful, but the story is far from boring." \
	    "Nobody called the plot clever, although I found the film very moving." \
	    "It would be wrong to call this a bad film." \
	    "It would be wrong to call this a good film."
	$(python) -m pipelines.translation train sample
	$(python) -m pipelines.translation evaluate --run $(runs)/translation/sample
	$(python) -m pipelines.translation export --run $(runs)/translation/sample
	$(python) -m pipelines.translation predict --model $(runs)/translation/sample/export \
	    --picture $(runs)/translation/sample/prediction.png \
	    "The small green crosses are not white." \
	    "Is the large red star to the left of the green crosses?" \
	    "Below the yellow squares there is a small blue circle."
	$(python) -m pipelines.captioning train sample
	$(python) -m pipelines.captioning evaluate --run $(runs)/captioning/sample
	$(python) -m pipelines.captioning export --run $(runs)/captioning/sample
	$(python) -m pipelines.captioning predict --model $(runs)/captioning/sample/export \
	    --picture $(runs)/captioning/sample/prediction.png \
	    data/samples/captioning/images/3801.png data/samples/captioning/images/3802.png
	$(python) -m pipelines.video train sample
	$(python) -m pipelines.video evaluate --run $(runs)/video/sample
	$(python) -m pipelines.video export --run $(runs)/video/sample
	$(python) -m pipelines.video predict --model $(runs)/video/sample/export \
	    --picture $(runs)/video/sample/prediction.png data/samples/video/clips/206.mp4
	@echo
	@echo "The runs       $(runs)/TASK/sample/  (config.json, history.csv, metrics.json, model.weights.h5)"
	@echo "The exports    $(runs)/TASK/sample/export/  (SavedModels: strings, images or frames in)"
	@echo "The pictures   $(runs)/*.png, $(runs)/TASK/sample/*.png"
	@echo "Your sentence  $(python) -m pipelines.sentiment predict --model $(runs)/sentiment/sample/export 'Not a bad film.'"

lecture: $(stamp)  ## runs the experiments of docs/lecture, and draws its figures and writes its numbers anew
	$(python) docs/lecture/lecture.py
	$(python) docs/lecture/notebook.py

check: $(stamp)  ## style and types
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy

test: check  ## style, types and the quick tests: what to run before a commit
	$(pytest)

test-all: test  ## the tests above, then the extra ones: kills, crossed options, exports in processes of their own
	$(pytest) -m "extra and not slow"

test-slow: $(stamp)  ## only the long forms: many kills, large memory checks
	$(python) -m pytest -m slow

bench: $(stamp)  ## speeds, as ratios within one run
	@set -e; for script in tests/benchmarks/bench_*.py; do echo "$(python) $$script"; $(python) $$script; done

samples: $(stamp)  ## renders data/samples; the bytes are the same each time
	$(python) data/make_samples.py

# The stamp is written last and removed first. Without it an earlier installation may be incomplete, so .venv is created
# from scratch, as when its Python is missing. With it, only what changed in setup.cfg is installed.
$(python): ;
$(stamp): setup.cfg pyproject.toml $(python)
	@set -e; \
	if [ -e $@ ] && $(python) -m pip --version >/dev/null 2>&1; then \
	    rm $@; \
	else \
	    found=; chosen=; \
	    for candidate in $${PYTHON:-python3 python3.13 python3.12 python3.11}; do \
	        version=$$("$$candidate" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) || continue; \
	        case $$version in \
	            3.11.*|3.12.*|3.13.*) chosen=$$candidate; break ;; \
	            *) found="$$found $$candidate is $$version;" ;; \
	        esac; \
	    done; \
	    if [ -z "$$chosen" ]; then \
	        echo "make: Unfold needs Python 3.11, 3.12 or 3.13;$${found:- no python3 found;}" \
	             "install one, or choose one: make PYTHON=/path/to/python3.12" >&2; \
	        exit 1; \
	    fi; \
	    echo "Creating .venv with $$chosen ($$version)"; \
	    "$$chosen" -m venv --clear .venv; \
	fi; \
	echo "Installing TensorFlow and the rest into .venv (about two minutes)"; \
	$(python) -m pip install --quiet --disable-pip-version-check --editable '.[test]'; \
	touch $@

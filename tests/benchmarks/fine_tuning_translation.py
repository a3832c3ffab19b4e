"""Measures the gain of fine-tuning: an English to French model of image captions on 2,000 pairs of everyday sentences.

    python -m pipelines.translation train multi30k --source en --target fr --run saved_models/translation/en-fr
    python tests/benchmarks/fine_tuning_translation.py --run saved_models/translation/en-fr
        --to saved_models/translation/everyday [--pairs 2000]

The pairs are from the training part of tatoeba, with all translations of a sentence. The best epoch is chosen on its
validation part; BLEU is that of its test part, with all references. Fine-tuning and the random start get the same
pairs, epochs and options. The metrics.json of RUN is overwritten with the scores of these sentences.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipelines.translation import __main__ as translation
from pipelines.translation import dataset
from pipelines.translation.presets import PRESETS
from tests.benchmarks.commands import call

EPOCHS = 20


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="a finished run, English to French")
    parser.add_argument("--to", type=Path, required=True, help="a folder for the data and both runs")
    parser.add_argument("--pairs", type=int, default=2000)
    options = parser.parse_args()
    data = options.to / f"data-{options.pairs}"
    data.mkdir(parents=True, exist_ok=True)
    for part in ("train", "validation", "test"):
        sources, references = dataset.load_part(PRESETS["tatoeba"][1].data, part).by_source()
        rows = np.random.default_rng(1).permutation(len(sources))
        if part == "train":
            rows = rows[: 1 + np.searchsorted(np.cumsum([len(references[row]) for row in rows]), options.pairs)]
        pairs = [f"{sources[row]}\t{target}" for row in rows for target in references[row]]
        (data / f"{part}.tsv").write_text("\n".join(pairs) + "\n", encoding="utf-8")
    tuned, random = (options.to / f"{start}-{options.pairs}" for start in ("fine-tuned", "random"))
    scores = {}

    def score(name: str, run: Path):
        call(translation.main, "evaluate", "--run", run, "--data", data, "--split", "test")
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        ((_, found),) = metrics["beams"].items()
        scores[name] = f"BLEU {found['bleu']:.1f}, chrF {found['chrf']:.1f}"

    score("before", options.run)
    about = ["--data", data, "--epochs", EPOCHS]
    call(translation.main, "fine-tune", "--from", options.run, *about, "--run", tuned)
    score("fine-tuned", tuned)
    network = ["--source", "en", "--target", "fr"]
    call(translation.main, "train", "multi30k", *network, *about, "--run", random)
    score("random start", random)
    for name, found in scores.items():
        print(f"{name}: {found}")


if __name__ == "__main__":
    main()

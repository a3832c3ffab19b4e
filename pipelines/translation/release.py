"""Writes a run as a release: a small, documented folder that is a run."""

import pathlib

from pipelines.common import release as releases
from pipelines.common.card import CELL_NAMES, DataSet, Score
from pipelines.common.data.sources import public_name
from pipelines.common.options import Release
from pipelines.translation.config import Config
from pipelines.translation.dataset import NAMED
from pipelines.translation.evaluate import evaluate
from pipelines.translation.options import Evaluate
from pipelines.translation.preprocessing import SOURCE_VOCABULARY_FILE, TARGET_VOCABULARY_FILE
from pipelines.translation.presets import PRESETS
from pipelines.translation.source_words import SEEN_FILE

DATA_SETS = {
    "multi30k": DataSet(
        "Multi30K, captions of pictures in English, German and French (Elliott et al. 2016, 2017)",
        "for non-commercial research and education",
        "https://github.com/multi30k/dataset",
    ),
    "tatoeba": DataSet(
        "short everyday sentences of Tatoeba, English and French", "CC BY 2.0 FR", "https://tatoeba.org", "cc-by-2.0"
    ),
    "wmt14": DataSet(
        "WMT'14, English and French",
        "see its page",
        "https://www.statmt.org/wmt14/translation-task.html",
        hub="wmt/wmt14",
    ),
}
LANGUAGES = {"de": "German", "en": "English", "fr": "French"}


def release(options: Release) -> pathlib.Path:
    """Writes the release of a run and returns its folder; see pipelines/common/release.py."""
    return releases.release(DESCRIPTION, options)


def scores(found: dict) -> list[Score]:
    """Returns the scores for the card, of what evaluate returned."""
    ((beam, row),) = found["beams"].items()
    return [
        Score(f"BLEU, beam {beam}", "sacrebleu", row["bleu"]),
        Score("chrF", "chrf", row["chrf"]),
        Score("exactly right, %", "exact_match", 100 * row["exact_match"]),
        Score("perplexity", "perplexity", found["perplexity"]),
    ]


def about(config: Config) -> str:
    source, target = (LANGUAGES.get(code, code) for code in (config.data.source, config.data.target))
    layers = CELL_NAMES[config.model.cell]
    attention = "" if config.model.attention == "none" else ", with attention"
    return (
        f"Translates sentences from {source} to {target}: a recurrent encoder and decoder ({layers},"
        f" {config.model.layers} x {config.model.units} units{attention}) over tokens of the kind {config.text.level}."
    )


DESCRIPTION = releases.Description(
    task="translation",
    kind=Config,
    presets=PRESETS,
    files=(SOURCE_VOCABULARY_FILE, TARGET_VOCABULARY_FILE, SEEN_FILE),
    evaluate=lambda run, split: evaluate(Evaluate(run, split=split)),
    scores=scores,
    public_name=lambda where: public_name(where, NAMED),
    data_sets=DATA_SETS,
    hub_task="translation",
    tags=("recurrent-neural-network",),
    languages=lambda config: [config.data.source, config.data.target],
    about=about,
    use=lambda config: (
        "predict --model NAME - < sentences.txt",
        "evaluate --run NAME",
        "fine-tune --from NAME --data my_pairs",
    ),
)

"""Writes a run as a release: a small, documented folder that is a run.

The release of a language model is described in language_model/release.py.
"""

import pathlib

from pipelines.common import release as releases
from pipelines.common.card import CELL_NAMES, DataSet, Score
from pipelines.common.data.sources import public_name
from pipelines.common.options import Release
from pipelines.sentiment.config import Config
from pipelines.sentiment.evaluate import evaluate
from pipelines.sentiment.export import is_language_model
from pipelines.sentiment.language_model import release as language_model
from pipelines.sentiment.model import LABELS_FILE
from pipelines.sentiment.options import Evaluate
from pipelines.sentiment.preprocessing import VOCABULARY_FILE
from pipelines.sentiment.presets import PRESETS
from pipelines.sentiment.reviews import NAMED

DATA_SETS = {
    "imdb": DataSet(
        "Large Movie Review Dataset, 50,000 film reviews (Maas et al. 2011)",
        "no licence stated; its README asks to cite the paper; use it for research and education",
        "https://ai.stanford.edu/~amaas/data/sentiment/",
        hub="stanfordnlp/imdb",
    ),
}


def release(options: Release) -> pathlib.Path:
    """Writes the release of a classifier or of a language model and returns its folder; see
    pipelines/common/release.py."""
    if is_language_model(options.run):
        return language_model.release(options, DATA_SETS)
    return releases.release(DESCRIPTION, options)


def scores(found: dict) -> list[Score]:
    """Returns the scores for the card, of what evaluate returned."""
    return [
        Score("accuracy, %", "accuracy", 100 * found["accuracy"]),
        Score("loss", "loss", found["loss"], places=4),
        Score("expected calibration error", "ece", found["ece"], places=4),
    ]


def about(config: Config) -> str:
    layers = CELL_NAMES[config.model.cell]
    directions = "in both directions" if config.model.bidirectional else "forwards"
    return (
        f"Labels a text, such as a review: {layers}, {config.model.layers} x {config.model.units} units {directions},"
        f" pooled over time by {' and '.join(config.model.pooling)}; texts of at most {config.text.max_words:,} words."
    )


DESCRIPTION = releases.Description(
    task="sentiment",
    kind=Config,
    presets=PRESETS,
    files=(VOCABULARY_FILE, LABELS_FILE),
    evaluate=lambda run, split: evaluate(Evaluate(run, split=split)),
    scores=scores,
    public_name=lambda where: public_name(where, NAMED),
    data_sets=DATA_SETS,
    hub_task="text-classification",
    tags=("sentiment-analysis", "recurrent-neural-network"),
    languages=lambda config: ["en"] if config.data.location in ("sample", *NAMED) else [],
    about=about,
    use=lambda config: (
        "predict --model NAME - < reviews.txt",
        "evaluate --run NAME",
        "fine-tune --from NAME --data my_reviews.csv",
    ),
)

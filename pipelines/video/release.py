"""Writes a run as a release: a small, documented folder that is a run. The weights of its encoder are inside."""

import pathlib

from pipelines.common import release as releases
from pipelines.common.card import CELL_NAMES, DataSet, Score
from pipelines.common.data.sources import public_name
from pipelines.common.options import Release
from pipelines.video.config import Config
from pipelines.video.dataset import NAMED
from pipelines.video.evaluate import evaluate
from pipelines.video.model import FEATURES_FILE, LABELS_FILE
from pipelines.video.options import Evaluate
from pipelines.video.presets import PRESETS

SALADS = DataSet(
    "50 Salads (Stein and McKenna 2013; features of Lea et al. 2016)",
    "CC BY-NC-SA",
    "https://cvip.computing.dundee.ac.uk/datasets/foodpreparation/50salads/",
    licence="cc-by-nc-sa-4.0",
)
DATA_SETS = {
    "ceiling": DataSet(
        "17 recordings of a room from its ceiling, 8 acts labelled in time (Zhang 2020)",
        "no licence stated; asks to be cited; use it for research and education",
        "https://github.com/noahzhy/FIR-Image-Action-Dataset",
    ),
    "fight": DataSet(
        "237 clips of surveillance cameras, fight or no fight (Akti et al. 2019)",
        "MIT",
        "https://github.com/seymanurakti/fight-detection-surv-dataset",
        licence="mit",
    ),
    "50salads/dev": SALADS,
    "50salads/final": SALADS,
}


def release(options: Release) -> pathlib.Path:
    """Writes the release of a run and returns its folder; see pipelines/common/release.py."""
    return releases.release(DESCRIPTION, options)


def scores(found: dict) -> list[Score]:
    """Returns the scores for the card, of what evaluate returned."""
    rows = [
        ("frame accuracy, %", "accuracy", "accuracy"),
        ("balanced frame accuracy, %", "balanced_accuracy", "balanced_accuracy"),
        ("edit score", "edit", "edit"),
        ("F1@50", "f1", "f1@50"),
    ]
    return [Score(name, metric, found[key]) for name, metric, key in rows if found[key] is not None]


def about(config: Config) -> str:
    layers = CELL_NAMES[config.model.cell]
    directions = "in both directions" if config.model.bidirectional else "forwards, so that live video works as well"
    inputs = "features made elsewhere" if config.model.encoder == "none" else f"the CNN {config.model.encoder}"
    return f"Labels every frame of a video: {inputs}, then {layers} of {config.model.units} units, {directions}."


def use(config: Config) -> tuple[str, ...]:
    source, data = ("video.npy", "my_features") if config.model.encoder == "none" else ("video.mp4", "my_clips")
    return f"predict --model NAME {source}", "evaluate --run NAME", f"fine-tune --from NAME --data {data}"


DESCRIPTION = releases.Description(
    task="video",
    kind=Config,
    presets=PRESETS,
    files=(LABELS_FILE, FEATURES_FILE),
    evaluate=lambda run, split: evaluate(Evaluate(run, split=split)),
    scores=scores,
    public_name=lambda where: public_name(where, NAMED),
    data_sets=DATA_SETS,
    hub_task="video-classification",
    tags=("action-segmentation", "recurrent-neural-network"),
    languages=lambda config: [],
    about=about,
    use=use,
)

"""Writes a run as a release: a small, documented folder that is a run. The weights of its CNN are inside."""

import pathlib

from pipelines.captioning.config import Config
from pipelines.captioning.dataset import NAMED
from pipelines.captioning.evaluate import evaluate
from pipelines.captioning.model import VOCABULARY_FILE
from pipelines.captioning.options import Evaluate
from pipelines.captioning.presets import PRESETS
from pipelines.common import release as releases
from pipelines.common.card import CELL_NAMES, DataSet, Score
from pipelines.common.data.sources import public_name
from pipelines.common.options import Release

DATA_SETS = {
    "flickr8k": DataSet(
        "Flickr8k, 8,000 photos with five captions each (Hodosh et al. 2013)",
        "for non-commercial research and education",
        "https://github.com/jbrownlee/Datasets/releases/tag/Flickr8k",
        hub="jxie/flickr8k",
    ),
}


def release(options: Release) -> pathlib.Path:
    """Writes the release of a run and returns its folder; see pipelines/common/release.py."""
    return releases.release(DESCRIPTION, options)


def scores(found: dict) -> list[Score]:
    """Returns the scores for the card, of what evaluate returned."""
    ((beam, row),) = found["beams"].items()
    return [
        Score(f"CIDEr-D, beam {beam}", "cider", row["cider"], places=3),
        Score("BLEU-4", "bleu", 100 * row["bleu4"]),
        Score("ROUGE-L", "rouge", 100 * row["rouge_l"]),
        Score("exactly right, %", "exact_match", 100 * row["exact_match"]),
        Score("perplexity", "perplexity", found["perplexity"]),
    ]


def about(config: Config) -> str:
    layers = CELL_NAMES[config.model.cell]
    return (
        f"Writes a sentence about a photo: a CNN ({config.model.encoder}, images of {config.images.image_size} pixels)"
        f" and a recurrent decoder ({layers}, {config.model.units} units; the image as `--image {config.model.image}`)."
    )


DESCRIPTION = releases.Description(
    task="captioning",
    kind=Config,
    presets=PRESETS,
    files=(VOCABULARY_FILE,),
    evaluate=lambda run, split: evaluate(Evaluate(run, split=split, beam_size=())),
    scores=scores,
    public_name=lambda where: public_name(where, NAMED),
    data_sets=DATA_SETS,
    hub_task="image-to-text",
    tags=("image-captioning", "recurrent-neural-network"),
    languages=lambda config: ["en"] if config.data.location in ("sample", *NAMED) else [],
    about=about,
    use=lambda config: (
        "predict --model NAME photo.jpg",
        "evaluate --run NAME",
        "fine-tune --from NAME --data my_photos",
    ),
)

"""Describes the release of a language model, which is scored by its perplexity on the validation texts."""

import dataclasses
import pathlib

from pipelines.common import release as releases
from pipelines.common.card import CELL_NAMES, DataSet, Score
from pipelines.common.data.sources import public_name
from pipelines.common.options import Release
from pipelines.common.runs import Run
from pipelines.sentiment.language_model.config import TASK, Config
from pipelines.sentiment.language_model.dataset import load
from pipelines.sentiment.language_model.evaluate import make_perplexity
from pipelines.sentiment.language_model.model import load_trained
from pipelines.sentiment.language_model.presets import PRESETS
from pipelines.sentiment.preprocessing import VOCABULARY_FILE
from pipelines.sentiment.reviews import NAMED
from pipelines.sentiment.word_ids import encode


def release(options: Release, data_sets: dict[str, DataSet]) -> pathlib.Path:
    """Writes the release of a run of the command pretrain and returns its folder."""
    description = releases.Description(
        task=TASK,
        package="sentiment",
        kind=Config,
        presets=PRESETS,
        train="pretrain",
        files=(VOCABULARY_FILE,),
        evaluate=evaluate,
        scores=lambda found: [Score("perplexity", "perplexity", found["val_perplexity"])],
        measured="the command `release`, as in training",
        public_name=lambda where: public_name(where, NAMED),
        data_sets=data_sets,
        hub_task="text-generation",
        tags=("language-model", "recurrent-neural-network"),
        languages=lambda config: ["en"] if config.data.location in ("sample", *NAMED) else [],
        about=about,
        use=lambda config: ('generate --run NAME --prefix "The film"', "train imdb --init-from NAME"),
    )
    return releases.release(description, dataclasses.replace(options, split="validation", base_data=False))


def evaluate(path: pathlib.Path, split: str) -> dict:
    """Prints and returns the perplexity of a run on the validation texts, as in training."""
    trained = load_trained(Run.open(path, TASK))
    texts = load(trained.config.data, trained.config.text.max_characters)[split]
    encoded = encode(texts, trained.preprocessing)
    found = make_perplexity(trained.model, trained.config, encoded)()
    print(f"{trained.config.data.location}, {split}: perplexity {found['val_perplexity']:.2f}")
    return {**found, "data": trained.config.data.location, "split": split}


def about(config: Config) -> str:
    layers = CELL_NAMES[config.model.cell]
    directions = "in both directions" if config.model.bidirectional else "forwards"
    return (
        f"A language model of reviews: {layers}, {config.model.layers} x {config.model.units} units {directions}. It"
        " continues texts, and classifiers start from it."
    )

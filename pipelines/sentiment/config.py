"""Everything a sentiment run can be told, and the presets. A default is written here and nowhere else."""

import dataclasses
import pathlib
from typing import Literal

import tyro

from pipelines.common.errors import UserError
from pipelines.common.options import TrainingOptions, flag


@dataclasses.dataclass(frozen=True)
class Config:
    """What to train on, how to read it, the model, and its training."""

    data: str = "sample"
    """Where the reviews are: sample, a file, a folder, tfds:NAME, or the name of a folder under UNFOLD_DATA."""

    run: pathlib.Path = pathlib.Path("saved_models/sentiment/sample")
    """The folder of the run: config, vocabulary, weights, scores."""

    manual_dir: pathlib.Path | None = None
    """Folder with the archive of a tfds: data set that was fetched by hand."""

    text_column: str = "text"
    """Column (CSV, TSV) or field (JSON lines) of the review."""

    label_column: str = "label"
    """Column or field of the label."""

    group_column: str = ""
    """Column or field, such as the film, whose rows stay on one side of a split; empty: only equal texts do."""

    label_names: tuple[str, ...] = ()
    """Names of the labels in their order, such as negative positive; an integer label n means the n-th, from 0."""

    validation_share: float = 0.1
    """Share of the training reviews split off for validation, where the data has no validation part of its own."""

    test_share: float = 0.1
    """Share of the reviews split off for the test, where the data has no test part of its own."""

    split_seed: int = 1
    """Seed of these splits; the same for runs that are compared or averaged, whatever their --seed."""

    max_words: int = 2000
    """Words read of a review; longer ones are cut there, and the number of cut reviews is reported."""

    max_characters: int = 50_000
    """Characters read of a review, before it is split into words."""

    lower_case: bool = True
    """Fold upper case."""

    vocabulary_size: int = 30_000
    """Most words of the vocabulary, padding and the unknown word included."""

    min_count: int = 2
    """Words that occur less often in training are unknown."""

    cell: Literal["lstm", "rnn"] = "lstm"
    """The recurrent layer: LSTM, or the vanilla RNN."""

    units: int = 128
    """Units of a recurrent layer, in each direction."""

    layers: int = 1
    """Recurrent layers on top of each other."""

    bidirectional: bool = True
    """Read the review from its end as well."""

    pooling: tuple[Literal["last", "mean", "max"], ...] = ("max",)
    """How the states over time become one vector: last state, mean or maximum over time; several are concatenated."""

    embedding_units: int = 128
    """Units of a word's vector."""

    embedding_dropout: float = 0.5
    """Share of the embedding's channels dropped, the same ones at every word of a review."""

    word_dropout: float = 0.1
    """Share of words that training reads as unknown."""

    recurrent_dropout: float = 0.0
    """Share of the state's units dropped on the way to the next step, the same ones at every step."""

    dropout: float = 0.0
    """Share of units dropped between recurrent layers and before the head."""

    label_smoothing: float = 0.0
    """Share of a target's probability spread over all labels."""

    adversarial: float = 0.0
    """Length of the worst small change to a review's word vectors that training answers as well (Miyato et al. 2017),
    in root mean squares of a vector's element; 0: none. Twice the work."""

    class_weights: bool = False
    """Weigh each review by how rare its label is, so that all labels count the same."""

    batch_reviews: int = 64
    """Most reviews in a batch."""

    batch_words: int = 32_000
    """Most words in a batch, padding included: long reviews come in smaller batches."""

    base: tyro.conf.Suppress[pathlib.Path | None] = None
    """The run that fine-tuning starts from; set by the command fine-tune."""

    training: tyro.conf.OmitArgPrefixes[TrainingOptions] = dataclasses.field(default_factory=TrainingOptions)
    """The training loop."""

    def __post_init__(self):
        for field in ("validation_share", "test_share", "label_smoothing"):
            check(self, field, 0 <= getattr(self, field) < 1, "at least 0 and below 1")
        for field in ("embedding_dropout", "word_dropout", "recurrent_dropout", "dropout"):
            check(self, field, 0 <= getattr(self, field) < 1, "at least 0 and below 1")
        for field in ("max_words", "max_characters", "min_count", "units", "layers", "embedding_units"):
            check(self, field, getattr(self, field) >= 1, "at least 1")
        check(self, "adversarial", self.adversarial >= 0, "at least 0")
        check(self, "split_seed", self.split_seed >= 0, "at least 0")
        check(self, "vocabulary_size", self.vocabulary_size >= 3, "at least 3")
        check(self, "batch_reviews", self.batch_reviews >= 1, "at least 1")
        check(self, "batch_words", self.batch_words >= self.max_words, f"at least --max-words, {self.max_words}")
        check(self, "pooling", self.pooling and len(set(self.pooling)) == len(self.pooling), "each name once")
        names = self.label_names
        check(self, "label_names", len(names) != 1 and len(set(names)) == len(names), "two or more, each once")

    @property
    def limits(self) -> dict:
        """How text is read: what preprocessing.words_of is told."""
        return {
            "lower_case": self.lower_case,
            "max_words": self.max_words,
            "max_characters": self.max_characters,
        }

    @classmethod
    def from_json(cls, stored: dict) -> "Config":
        """The config that a run's config.json holds; UserError when a field is missing, unknown or of no use."""
        fields = dict(stored)
        try:
            for name in ("run", "manual_dir", "base"):
                fields[name] = None if fields[name] is None else pathlib.Path(fields[name])
            for name in ("label_names", "pooling"):
                fields[name] = tuple(fields[name])
            fields["training"] = TrainingOptions(**fields["training"])
            return cls(**fields)
        except (TypeError, KeyError) as error:
            raise UserError(f"the config of the run is not one of this version: {error}") from error

    def for_fine_tuning(self, base: pathlib.Path) -> "Config":
        """What fine-tuning from the run `base` of this config does unless told otherwise: the same, without what is
        about the run's data."""
        about_data = ("manual_dir", "text_column", "label_column", "group_column", "label_names", "class_weights")
        fresh = {field.name: field.default for field in dataclasses.fields(self) if field.name in about_data}
        return dataclasses.replace(self, base=base, run=base.with_name(f"{base.name}-finetuned"), **fresh)


def check(config: Config, field: str, good: bool, expected: str):
    if not good:
        raise UserError(f"{flag(field)} is {getattr(config, field)}, but must be {expected}")


# A preset promises its command, hardware, time and score: README.md has what was measured.
PRESETS: dict[str, tuple[str, Config]] = {
    "sample": (
        "The embedded sample of made-up reviews: under a minute on two cores, 100 % of its test.",
        Config(
            data="sample",
            run=pathlib.Path("saved_models/sentiment/sample"),
            group_column="group",
            max_words=1000,
            min_count=1,
            units=32,
            embedding_units=32,
            embedding_dropout=0.2,
            word_dropout=0.02,
            batch_reviews=32,
            training=TrainingOptions(epochs=8, learning_rate=1e-2, schedule="linear"),
        ),
    ),
    "imdb": (
        "The 25,000 film reviews of Maas et al. 2011, split by film: under 40 minutes, 89.8 % of the test.",
        Config(
            data="imdb",
            run=pathlib.Path("saved_models/sentiment/imdb"),
            group_column="movie",
            label_names=("negative", "positive"),
            # Validation: word vectors of 256 reach 89.5 %, of 128 88.7 %, of 512 89.0 %. Large steps that fall quickly:
            # from the second epoch on the network learns its reviews by heart.
            pooling=("max", "mean"),
            embedding_units=256,
            word_dropout=0.2,
            dropout=0.5,
            batch_reviews=32,
            training=TrainingOptions(epochs=3, learning_rate=2e-3, schedule="linear", ema=0.999),
        ),
    ),
}

"""Everything a sentiment run can be told, and the presets. A default is written here and nowhere else."""

import dataclasses
import pathlib
from typing import Literal

import tyro

from pipelines.common.config import check, from_json
from pipelines.common.errors import UserError
from pipelines.common.training.options import TrainingOptions
from pipelines.sentiment.pretraining_config import PRESETS as LANGUAGE_MODELS
from pipelines.sentiment.pretraining_config import PretrainingConfig
from pipelines.sentiment.text_options import TextOptions

# What a classifier takes over from the language model that it starts from.
LEARNED = ("cell", "units", "layers", "bidirectional", "embedding_units", "lower_case", "vocabulary_size")


@dataclasses.dataclass(frozen=True)
class Config(TextOptions):
    """What to train on, how to read it, the model, and its training."""

    run: pathlib.Path = pathlib.Path("saved_models/sentiment/sample")
    """The folder of the run: config, vocabulary, weights, scores."""

    label_column: str = "label"
    """Column or field of the label."""

    label_names: tuple[str, ...] = ()
    """Names of the labels in their order, such as negative positive; an integer label n means the n-th, from 0."""

    bidirectional: bool = True
    """Read the review from its end as well."""

    pooling: tuple[Literal["last", "mean", "max"], ...] = ("max",)
    """How the states over time become one vector: last state, mean or maximum over time; several are concatenated."""

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
    """Adversarial training (Miyato et al. 2017): learn each review also with its word vectors moved by this length, in
    the direction that raises its loss most; in root mean squares of a vector's element. 0: none. Twice the work."""

    class_weights: bool = False
    """Weigh each review by how rare its label is, so that all labels count the same."""

    calibrate: bool = False
    """When training is over, fit a scale of the logits and a bias of each label to the validation reviews, so that a
    probability comes nearer to how often the label is right (Guo et al. 2017), with --class-weights to how often it
    would be if all labels were equally frequent. It may change answers."""

    batch_reviews: int = 64
    """Most reviews in a batch."""

    batch_words: int = 32_000
    """Most words in a batch, padding included: long reviews come in smaller batches."""

    init_from: pathlib.Path | None = None
    """A run of the command pretrain, with whose vocabulary, word vectors and recurrent layers training starts."""

    teachers: tuple[pathlib.Path, ...] = ()
    """Runs of this command whose probabilities, averaged, are the pseudo-labels of the unlabelled reviews, which
    training then reads as well (self-training: Xie et al. 2020)."""

    layer_decay: float = 1.0
    """Each layer below the head learns at this share of the rate of the layer above it, word vectors at the least
    (Howard & Ruder 2018: 0.38); 1: all at the same rate."""

    unfreeze_every: int = 0
    """Epochs after which one more layer begins to learn, from the head down (Howard & Ruder 2018: 1); 0: all learn from
    the start."""

    base: tyro.conf.Suppress[pathlib.Path | None] = None
    """The run that fine-tuning starts from; set by the command fine-tune."""

    training: tyro.conf.OmitArgPrefixes[TrainingOptions] = dataclasses.field(default_factory=TrainingOptions)
    """The training loop."""

    def __post_init__(self):
        super().__post_init__()
        for field in ("label_smoothing", "embedding_dropout", "word_dropout", "recurrent_dropout", "dropout"):
            check(self, field, 0 <= getattr(self, field) < 1, "at least 0 and below 1")
        check(self, "adversarial", self.adversarial >= 0, "at least 0")
        check(self, "layer_decay", 0 < self.layer_decay <= 1, "above 0 and at most 1")
        check(self, "unfreeze_every", self.unfreeze_every >= 0, "at least 0")
        rests = self.unfreeze_every * (self.layers + 1)  # the word vectors begin last
        last = f"below {self.training.epochs / (self.layers + 1):g}, so that the word vectors, the last of"
        last += f" {self.layers + 1} layers, learn before --epochs {self.training.epochs:g} are over"
        check(self, "unfreeze_every", not rests or rests < self.training.epochs, last)
        check(self, "vocabulary_size", self.vocabulary_size >= 3, "at least 3")
        check(self, "batch_reviews", self.batch_reviews >= 1, "at least 1")
        check(self, "batch_words", self.batch_words >= self.max_words, f"at least --max-words, {self.max_words}")
        check(self, "pooling", self.pooling and len(set(self.pooling)) == len(self.pooling), "each name once")
        if self.base and self.init_from:
            raise UserError(
                f"--init-from is {self.init_from}, but fine-tune starts from the run {self.base}: expected one of them"
            )
        names = self.label_names
        check(self, "label_names", len(names) != 1 and len(set(names)) == len(names), "two or more, each once")

    @classmethod
    def from_json(cls, stored: dict) -> "Config":
        """The config that a run's config.json holds; UserError when a field is missing, unknown or of no use."""
        return from_json(cls, stored)

    def for_fine_tuning(self, base: pathlib.Path) -> "Config":
        """What fine-tuning from the run `base` of this config does unless told otherwise: the same, without what is
        about the run's data and its own start."""
        begun = (
            "manual_dir",
            "text_column",
            "label_column",
            "group_column",
            "label_names",
            "class_weights",
            "calibrate",
            "init_from",
            "teachers",
        )
        fresh = {field.name: field.default for field in dataclasses.fields(self) if field.name in begun}
        return dataclasses.replace(self, base=base, run=base.with_name(f"{base.name}-finetuned"), **fresh)

    def starting_from(self, learned: "PretrainingConfig | Config", run: pathlib.Path) -> "Config":
        """This config with the network and the vocabulary of the language model that `run` holds: what `train` does
        with --init-from unless told otherwise. `learned` is its config, or that of a classifier that began with it."""
        return dataclasses.replace(self, init_from=run, **{name: getattr(learned, name) for name in LEARNED})


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
        "The 25,000 film reviews of Maas et al. 2011, split by film: 13 minutes, 90.4 % of the test.",
        Config(
            data="imdb",
            run=pathlib.Path("saved_models/sentiment/imdb"),
            group_column="movie",
            label_names=("negative", "positive"),
            # Validation: word vectors of 256 reach 89.5 %, of 128 88.7 %, of 512 89.0 %. Large steps that fall quickly:
            # from the second epoch on the network learns its reviews by heart. Adam moves rare words' vectors ten times
            # as far in the end: 89.5 % and 89.8 % of the test, lazy Adam 89.8 and 90.4 %.
            pooling=("max", "mean"),
            embedding_units=256,
            word_dropout=0.2,
            dropout=0.5,
            batch_reviews=32,
            training=TrainingOptions(epochs=3, learning_rate=2e-3, schedule="linear", ema=0.999, optimizer="lazy-adam"),
        ),
    ),
    "imdb-pretrained": (
        "The same reviews, from the run of pretrain imdb, which has to be there: 12 minutes, 91.6 % of the test.",
        Config(
            data="imdb",
            run=pathlib.Path("saved_models/sentiment/imdb-pretrained"),
            group_column="movie",
            label_names=("negative", "positive"),
            # Rare words keep what the language model learned of them: plain Adam would move each of their vectors by
            # thirty learning rates at a time. Validation: 92.0 %.
            pooling=("max", "mean"),
            word_dropout=0.1,
            dropout=0.5,
            batch_reviews=32,
            training=TrainingOptions(epochs=2, learning_rate=1e-3, schedule="linear", ema=0.999, optimizer="lazy-adam"),
        ).starting_from(LANGUAGE_MODELS["imdb"][1], LANGUAGE_MODELS["imdb"][1].run),
    ),
}
PRESETS["imdb-self-trained"] = (
    "And the unlabelled ones, as imdb and imdb-pretrained label them: 40 minutes, 92.7 % of the test.",
    dataclasses.replace(
        PRESETS["imdb-pretrained"][1],
        run=pathlib.Path("saved_models/sentiment/imdb-self-trained"),
        teachers=(PRESETS["imdb-pretrained"][1].run, PRESETS["imdb"][1].run),
        # Validation: a student of one epoch 92.0 %, of two 92.3 %; it leans to positive, and calibrated it is 92.7 %.
        calibrate=True,
    ),
)

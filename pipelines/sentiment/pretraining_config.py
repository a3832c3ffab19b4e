"""Everything the pre-training of a language model can be told, and the presets."""

import dataclasses
import pathlib
from typing import Literal

import tyro

from pipelines.common.config import check, from_json
from pipelines.common.training.options import TrainingOptions
from pipelines.sentiment.text_options import TextOptions

LANGUAGE_MODEL = "sentiment language model"  # what its run folders say they are


@dataclasses.dataclass(frozen=True)
class PretrainingConfig(TextOptions):
    """What to read, the language model, and its training. Labels are not looked at."""

    run: pathlib.Path = pathlib.Path("saved_models/sentiment/sample-language-model")
    """The folder of the run: config, vocabulary, weights, perplexity."""

    bidirectional: bool = False
    """Beside it train a second model, which reads every text from its end, with the same word vectors and softmax; for
    a classifier of two directions."""

    objective: Literal["next-word", "autoencoder"] = "next-word"
    """Say each next word of a text; or read all of it, then write it again from the state alone (Dai & Le 2015)."""

    state: Literal["carried", "reset"] = "carried"
    """Where a text ends, carry the state on into the next one; or start it anew, which leaves the rest of the window
    empty. The autoencoder always starts anew."""

    shuffle: bool = True
    """Read the texts in another order in every epoch; not for a text file whose lines follow from each other."""

    k1: int = 100
    """Words from one update to the next, in each stream."""

    k2: int = 100
    """Words over which an error is propagated back, k1 or more."""

    streams: int = 64
    """Streams of text read side by side: the batch."""

    tied: bool = True
    """The softmax has the word vectors as its weights (Press & Wolf 2017)."""

    softmax: Literal["sampled", "full"] = "sampled"
    """Estimate the softmax's sum over the vocabulary from a few words, or compute it. Perplexity is always exact."""

    softmax_samples: int = 1024
    """Words that the estimate draws for an update."""

    embedding_dropout: float = 0.2
    """Share of the embedding's channels dropped, the same ones at every word of a window."""

    dropout: float = 0.0
    """Share of units dropped between recurrent layers and before the softmax."""

    validation_words: int = 200_000
    """Most words of held-out texts on which perplexity is measured after each epoch; 0: all."""

    max_length: int = 200
    """Most words of a text that the export writes, unless it is told otherwise."""

    training: tyro.conf.OmitArgPrefixes[TrainingOptions] = dataclasses.field(default_factory=TrainingOptions)
    """The training loop."""

    def __post_init__(self):
        super().__post_init__()
        for field in ("embedding_dropout", "dropout"):
            check(self, field, 0 <= getattr(self, field) < 1, "at least 0 and below 1")
        for field in ("streams", "softmax_samples", "max_length"):
            check(self, field, getattr(self, field) >= 1, "at least 1")
        check(self, "validation_words", self.validation_words >= 0, "at least 0")
        check(self, "vocabulary_size", self.vocabulary_size >= 5, "at least 5")
        check(self, "k1", self.k1 >= 1, "at least 1")
        check(self, "k2", self.k2 >= self.k1, f"at least --k1, {self.k1}: a window has to hold every new word")

    @property
    def carried(self) -> bool:
        """Whether the state goes on from one text to the next."""
        return self.state == "carried" and self.objective == "next-word"

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions that are read."""
        return ("forward", "backward")[: 1 + self.bidirectional]

    @classmethod
    def from_json(cls, stored: dict) -> "PretrainingConfig":
        """The config that a run's config.json holds; UserError when a field is missing, unknown or of no use."""
        return from_json(cls, stored)


# A preset promises its command, hardware, time and score: README.md has what was measured.
PRESETS: dict[str, tuple[str, PretrainingConfig]] = {
    "sample": (
        "The embedded sample of made-up reviews.",
        PretrainingConfig(
            data="sample",
            run=pathlib.Path("saved_models/sentiment/sample-language-model"),
            group_column="group",
            min_count=1,
            units=64,
            embedding_units=32,
            k1=20,
            k2=20,
            streams=32,
            softmax="full",
            max_length=60,
            training=TrainingOptions(epochs=6, learning_rate=1e-2, schedule="linear"),
        ),
    ),
    "imdb": (
        "All film reviews of Maas et al. 2011 but those of the test, 71,000 of them, in both directions: 80 minutes.",
        PretrainingConfig(
            data="imdb",
            run=pathlib.Path("saved_models/sentiment/imdb-language-model"),
            group_column="movie",
            # Perplexity 93 in each direction, as of 512 units forwards; but a classifier that starts from both is right
            # on 92.0 % of its validation reviews, from the 512 forwards on 90.9 %.
            bidirectional=True,
            units=256,
            embedding_units=256,
            # Small windows, large steps: of all that was tried, these learn the most in the first 80 seconds.
            k1=50,
            k2=50,
            streams=64,
            softmax_samples=2048,
            embedding_dropout=0.1,
            training=TrainingOptions(epochs=2.3, learning_rate=3e-3, schedule="linear"),
        ),
    ),
}

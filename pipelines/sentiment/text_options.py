"""What a classifier and a language model are told alike: where texts are, how they are read, the recurrent layers."""

import dataclasses
import pathlib
from typing import Literal

from pipelines.common.config import check


@dataclasses.dataclass(frozen=True)
class TextOptions:
    """The fields that both configs have."""

    data: str = "sample"
    """Where the reviews are: sample, a file, a folder, tfds:NAME, or a public set by name (data/README.md)."""

    manual_dir: pathlib.Path | None = None
    """Folder with the archive of a tfds: data set that was fetched by hand."""

    text_column: str = "text"
    """Column (CSV, TSV) or field (JSON lines) of the review."""

    group_column: str = ""
    """Column or field, such as the film, whose rows stay on one side of a split; empty: only equal texts do."""

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
    """Turn capitals into small letters."""

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

    embedding_units: int = 128
    """Units of a word's vector."""

    def __post_init__(self):
        for field in ("validation_share", "test_share"):
            check(self, field, 0 <= getattr(self, field) < 1, "at least 0 and below 1")
        for field in ("max_words", "max_characters", "min_count", "units", "layers", "embedding_units"):
            check(self, field, getattr(self, field) >= 1, "at least 1")
        check(self, "split_seed", self.split_seed >= 0, "at least 0")

    @property
    def limits(self) -> dict:
        """How text is read: what preprocessing.words_of is told."""
        return {
            "lower_case": self.lower_case,
            "max_words": self.max_words,
            "max_characters": self.max_characters,
        }

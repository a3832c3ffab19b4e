"""Groups of a configuration that classifiers and language models have in common."""

import dataclasses
import pathlib
from typing import Annotated

import tyro

from pipelines.common.config import check_at_least, check_shares


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Reviews: where they are and how they are split."""

    location: Annotated[str, tyro.conf.arg(name="data")] = "sample"
    """Where the reviews are: sample, a file, a folder, tfds:NAME, or a public set by name (data/README.md)."""

    manual_dir: pathlib.Path | None = None
    """Folder with the archive of a tfds: data set that was downloaded by hand."""

    text_column: str = "text"
    """Column (CSV, TSV) or field (JSON lines) of the review."""

    group_column: str = ""
    """Column or field, such as the film, whose rows stay in one part of a split. Empty: only equal texts do."""

    validation_share: float = 0.1
    """Share of the training reviews split off for validation, if the data has no validation part."""

    test_share: float = 0.1
    """Share of the reviews split off for the test, if the data has no test part."""

    split_seed: int = 1
    """Seed of these splits. Use the same one for runs that are compared or averaged, whatever their --seed."""

    def __post_init__(self):
        check_shares(self, "validation_share", "test_share")
        check_at_least(self, split_seed=0)


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Words: the arguments of Preprocessing."""

    max_words: int = 2000
    """Maximum number of words of a review. Longer ones are cut there, and the number of cut reviews is reported."""

    max_characters: int = 50_000
    """Maximum number of characters of a review, before it is split into words."""

    lower_case: bool = True
    """Convert to lower case."""

    def __post_init__(self):
        check_at_least(self, max_words=1, max_characters=1)


@dataclasses.dataclass(frozen=True)
class VocabularyConfig:
    """The vocabulary, which is learned from the training texts."""

    vocabulary_size: int = 30_000
    """Maximum size of the vocabulary, the reserved words included."""

    min_count: int = 2
    """Minimum number of occurrences in training of a word that is known."""

    def __post_init__(self):
        check_at_least(self, min_count=1)

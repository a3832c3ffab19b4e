"""Groups of a configuration that classifiers and language models have in common."""

import dataclasses

from pipelines.common import config
from pipelines.common.config import check_at_least


@dataclasses.dataclass(frozen=True)
class DataConfig(config.DataConfig):
    """Reviews: where they are and how they are split."""

    text_column: str = "text"
    """Column (CSV, TSV) or field (JSON lines) of the review."""

    group_column: str = ""
    """Column or field, such as the film, whose rows stay in one part of a split. Empty: only equal texts do."""

    quoting: bool = False
    """Quotation marks enclose fields of tab-separated text, as they always do in CSV. Otherwise they are part of the
    text."""


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Words: the arguments of Preprocessing."""

    max_words: int = 2000
    """Maximum number of words of a review. Longer ones are cut there, and the number of cut reviews is reported."""

    max_characters: int = 50_000
    """Maximum number of characters of a review, before it is split into words."""

    lower_case: bool = True
    """Convert to lower case."""

    split_negation: bool = False
    """Make n't a word of its own, as the Penn Treebank does: isn't becomes is n't, and so do isn’t, isn´t and isnt;
    cannot becomes can not. Otherwise isn't and isn’t are one and the same word."""

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

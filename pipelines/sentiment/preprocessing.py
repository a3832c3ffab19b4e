"""Strings to word ids, for training, evaluation and the exported graph."""

import hashlib
from collections.abc import Iterable, Sequence

import tensorflow as tf

from layers.text import RESERVED, Vocabulary, normalize, split_words
from pipelines.common.data.loading import streamed

VOCABULARY_FILE = "vocabulary.txt"  # in the folder of a run

# RE2 patterns
CONTRACTION = r"(?i)(\pL)(n)['’‘ʼ′´`](t)\b"
VERBS = "ai|are|ca|could|did|does|do|had|has|have|is|must|need|should|was|were|wo|would"
WITHOUT_APOSTROPHE = rf"(?i)\b({VERBS})(n)(t)\b"
CANNOT = r"(?i)\b(can)(not)\b"


def split_reviews(texts, *, max_words: int, max_characters: int, lower_case: bool, split_negation: bool = False):
    """Splits reviews, string[batch], into words.

    Returns:
        string[batch, (words)], the words; bool[batch], whether a review was cut at max_words or max_characters.
    """
    texts, cut = normalize(texts, lower_case=lower_case, html_breaks=True, max_characters=max_characters)
    if split_negation:
        texts = separate_negation(texts)
    words = split_words(texts)
    return words[:, :max_words], cut | (words.row_lengths() > max_words)


def separate_negation(texts):
    """Separates n't and not from their verb, string[batch] -> string[batch]: isn't, isnt and cannot become is n't, is
    n't and can not. Their n't has a straight apostrophe."""
    texts = tf.strings.regex_replace(texts, CONTRACTION, r"\1 \2'\3")
    texts = tf.strings.regex_replace(texts, WITHOUT_APOSTROPHE, r"\1 \2'\3")
    return tf.strings.regex_replace(texts, CANNOT, r"\1 \2")


def learn_vocabulary(
    texts: Iterable[str], *, vocabulary_size: int, min_count: int, reserved: Sequence[str] = RESERVED, **options
) -> Vocabulary:
    """Returns the vocabulary of reviews. `options` are those of `split_reviews`."""
    split = tf.function(
        lambda texts: split_reviews(texts, **options)[0].flat_values, reduce_retracing=True, autograph=False
    )
    return Vocabulary.learn(map(split, streamed(texts)), size=vocabulary_size, min_count=min_count, reserved=reserved)


class Preprocessing(tf.Module):
    """Maps reviews, string[batch], to int32[batch, (words)] and bool[batch], whether a review was cut.

    Args:
        vocabulary: the words that have an id.
        max_words, max_characters: where a longer review is cut.
        lower_case: convert to lower case.
        split_negation: make n't a word of its own.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        max_words: int,
        max_characters: int,
        lower_case: bool,
        split_negation: bool = False,
    ):
        super().__init__(name="preprocessing")
        self.vocabulary = vocabulary
        self.options: dict = {
            "max_words": max_words,
            "max_characters": max_characters,
            "lower_case": lower_case,
            "split_negation": split_negation,
        }

    def key(self) -> dict:
        """Returns what the ids of a review depend on, in JSON values."""
        return {"vocabulary": hashlib.sha256(self.vocabulary.to_text().encode()).hexdigest(), **self.options}

    def split(self, texts):
        """string[batch] -> string[batch, (words)], bool[batch]."""
        return split_reviews(texts, **self.options)

    def __call__(self, texts):
        words, cut = self.split(texts)
        return self.vocabulary(words), cut

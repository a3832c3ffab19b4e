"""Raw reviews become ids here, for training, evaluation and the exported graph alike."""

from collections.abc import Iterable, Sequence

import tensorflow as tf

from layers.text import RESERVED, Vocabulary, normalize, split_words


def words_of(texts, *, lower_case: bool, max_words: int, max_characters: int):
    """The words of reviews.

    Args:
        texts: string[batch].

    Returns:
        (string[batch, (words)], bool[batch]: was the review cut at max_words or max_characters).
    """
    texts, cut = normalize(texts, lower_case=lower_case, html_breaks=True, max_characters=max_characters)
    words = split_words(texts)
    return words[:, :max_words], cut | (words.row_lengths() > max_words)


def learn_vocabulary(
    batches: Iterable, *, size: int, min_count: int, reserved: Sequence[str] = RESERVED, **limits
) -> Vocabulary:
    """The vocabulary of batches of reviews, string[batch], behind `reserved` words; `limits` are those of words_of."""
    words = tf.function(lambda texts: words_of(texts, **limits)[0].flat_values, reduce_retracing=True, autograph=False)
    return Vocabulary.learn(map(words, batches), size=size, min_count=min_count, reserved=reserved)


class Preprocessing(tf.Module):
    """string[batch] -> (int32[batch, (words)], bool[batch]: cut), the vocabulary inside."""

    def __init__(self, vocabulary: Vocabulary, *, lower_case: bool, max_words: int, max_characters: int):
        super().__init__(name="preprocessing")
        self.vocabulary = vocabulary
        self.lower_case = lower_case
        self.max_words = max_words
        self.max_characters = max_characters

    @property
    def limits(self) -> dict:
        """What words_of is told."""
        return {
            "lower_case": self.lower_case,
            "max_words": self.max_words,
            "max_characters": self.max_characters,
        }

    def words(self, texts):
        """string[batch] -> (string[batch, (words)], bool[batch]: cut)."""
        return words_of(texts, **self.limits)

    def __call__(self, texts):
        words, cut = self.words(texts)
        return self.vocabulary(words), cut

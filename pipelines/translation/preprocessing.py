"""Raw sentences become ids here, and ids sentences, for training, evaluation and the exported graph alike."""

from collections.abc import Iterable

import tensorflow as tf

from layers import tokenizer
from layers.text import Vocabulary


class Preprocessing(tf.Module):
    """How a run reads its source language and writes its target language, the vocabularies inside.

    Attributes:
        source, target: the two `layers.tokenizer.Tokenizer`s.
        limits: what both are told: level, lower_case, max_characters, max_tokens.
    """

    def __init__(self, source: Vocabulary, target: Vocabulary, **limits):
        super().__init__(name="preprocessing")
        self.limits = limits
        self.source = tokenizer.Tokenizer(source, **limits)
        self.target = tokenizer.Tokenizer(target, **limits)


def learn_vocabulary(batches: Iterable, *, size: int, min_count: int, max_tokens: int, **limits) -> Vocabulary:
    """The vocabulary of one language, of batches of sentences, string[batch]; whole sentences are counted."""
    return tokenizer.learn_vocabulary(batches, size=size, min_count=min_count, **limits)

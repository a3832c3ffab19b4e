"""Encoded images become pixels here, captions ids, and ids captions: for training, evaluation and the export alike."""

from collections.abc import Iterable

import tensorflow as tf

from layers import tokenizer
from layers.text import Vocabulary
from pipelines.common.vision import images

LEVEL = {"level": "word", "lower_case": True}
END_OF_SENTENCE = r"[\s.]+$"  # "A dog runs ." says no more than "a dog runs"


class Preprocessing(tf.Module):
    """How a run reads its images and captions and writes its captions, the vocabulary inside.

    Attributes:
        tokenizer: the `layers.tokenizer.Tokenizer` of the captions.
        image_size, fit, pixel_limit: as in `pipelines.common.vision.images`.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        image_size: int,
        fit: str,
        pixel_limit: int,
        max_tokens: int,
        max_characters: int,
    ):
        super().__init__(name="preprocessing")
        self.image_size, self.fit, self.pixel_limit = image_size, fit, pixel_limit
        limits = {"max_tokens": max_tokens, "max_characters": max_characters}
        self.tokenizer = tokenizer.Tokenizer(vocabulary, **LEVEL, **limits)

    def pixels(self, encoded):
        """string[batch] -> (float32[batch, size, size, 3] from 0 to 255, bool[batch]: could it be read)."""
        return images.decode(encoded, size=self.image_size, fit=self.fit, pixel_limit=self.pixel_limit)

    def pixels_of_one(self, encoded):
        """string[] -> float32[size, size, 3], the same to the last bit; an error where it cannot be read."""
        return images.decode_one(encoded, size=self.image_size, fit=self.fit, pixel_limit=self.pixel_limit)

    def encode(self, captions):
        """string[batch] -> (int32[batch, (words)], bool[batch]: was the caption longer than the limits)."""
        return self.tokenizer.encode(clean(captions))

    def decode(self, ids):
        """int32[..., time] -> string[...]."""
        return self.tokenizer.decode(ids)


def clean(captions):
    """string[...] without the full stop and white space at the end."""
    return tf.strings.regex_replace(captions, END_OF_SENTENCE, "")


def learn_vocabulary(batches: Iterable, *, size: int, min_count: int, max_characters: int) -> Vocabulary:
    """The vocabulary of captions, string[batch] a batch; whole captions are counted."""
    return tokenizer.learn_vocabulary(
        map(clean, batches), size=size, min_count=min_count, max_characters=max_characters, **LEVEL
    )

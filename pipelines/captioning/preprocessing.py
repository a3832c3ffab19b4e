"""Preprocessing of images and captions: in training, evaluation and the exported graph."""

from collections.abc import Callable, Iterable

import tensorflow as tf

from layers import tokenizer
from layers.text import Vocabulary
from pipelines.common.vision import images

WORDS: dict = {"level": "word", "lower_case": True}
END_OF_SENTENCE = r"[\s.]+$"  # "A dog runs ." means the same as "a dog runs"


class Preprocessing(tf.Module):
    """Converts encoded images to pixels, captions to ids and ids to captions.

    Attributes:
        tokenizer: the `layers.tokenizer.Tokenizer` of the captions, which contains the vocabulary.
        image_size, fit, pixel_limit: see `pipelines.common.vision.images`.
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
        self.tokenizer = tokenizer.Tokenizer(vocabulary, **WORDS, max_tokens=max_tokens, max_characters=max_characters)

    def pixels(self, encoded):
        """Decodes images: string[batch] -> (float32[batch, size, size, 3] from 0 to 255, bool[batch]: readable)."""
        return images.decode(encoded, size=self.image_size, fit=self.fit, pixel_limit=self.pixel_limit)

    def pixels_of_one(self, encoded, change: Callable | None = None):
        """Decodes one image, with the same pixels as in a batch: string[] -> float32[size, size, 3]; it may fail.

        `change` replaces the pixels uint8[height, width, 3] before they are scaled.
        """
        limit = self.pixel_limit
        return images.decode_one(encoded, size=self.image_size, fit=self.fit, pixel_limit=limit, change=change)

    def encode(self, captions):
        """Encodes captions: string[batch] -> (int32[batch, (words)], bool[batch]: is it longer than the limits)."""
        return self.tokenizer.encode(clean(captions))

    def tokens(self, captions):
        """Splits captions: string[batch] -> (string[batch, (words)], bool[batch]: is it longer than the limits)."""
        return self.tokenizer.tokens(clean(captions))

    def decode(self, ids):
        """Decodes ids: int32[..., time] -> string[...]."""
        return self.tokenizer.decode(ids)


def clean(captions):
    """Returns string[...] without the full stop and white space at the end."""
    return tf.strings.regex_replace(captions, END_OF_SENTENCE, "")


def learn_vocabulary(batches: Iterable, *, size: int, min_count: int, max_characters: int) -> Vocabulary:
    """Returns the vocabulary of batches of captions, string[batch]."""
    return tokenizer.learn_vocabulary(
        map(clean, batches), size=size, min_count=min_count, max_characters=max_characters, **WORDS
    )

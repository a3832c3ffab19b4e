"""Conversion between sentences and token ids, the same in training, evaluation and the exported graph."""

import hashlib

import tensorflow as tf

from layers.text import Vocabulary
from layers.tokenizer import Tokenizer
from pipelines.common.data.loading import load_vocabulary
from pipelines.common.runs import Run

SOURCE_VOCABULARY_FILE = "vocabulary.source.txt"  # in the folder of a run
TARGET_VOCABULARY_FILE = "vocabulary.target.txt"


class Preprocessing(tf.Module):
    """The tokenizers of the source and the target language, with their vocabularies.

    Attributes:
        source, target: the two `layers.tokenizer.Tokenizer`s.
        restore_case: the argument of the source's.
        limits: the arguments of both: level, lower_case, max_characters, max_tokens.
    """

    def __init__(self, source: Vocabulary, target: Vocabulary, restore_case: bool = False, **limits):
        super().__init__(name="preprocessing")
        self.restore_case, self.limits = restore_case, limits
        self.source = Tokenizer(source, restore_case=restore_case, **limits)
        self.target = Tokenizer(target, **limits)

    def key(self) -> dict:
        """Returns what the ids of a text depend on, in JSON values."""
        digests = [
            hashlib.sha256(side.vocabulary.to_text().encode()).hexdigest() for side in (self.source, self.target)
        ]
        return {"vocabularies": digests, "restore_case": self.restore_case, **self.limits}


def load_vocabularies(run: Run) -> tuple[Vocabulary, Vocabulary]:
    """Returns the source and target vocabularies of a run."""
    return load_vocabulary(run.path / SOURCE_VOCABULARY_FILE), load_vocabulary(run.path / TARGET_VOCABULARY_FILE)

"""Exports a language model as a SavedModel that continues texts: strings to strings."""

import pathlib

import tensorflow as tf

from layers import decoding
from layers.text import END, PADDING, START, pad
from pipelines.common.runs import Run
from pipelines.common.serving.decoder import FORBIDDEN, option_specs
from pipelines.common.serving.decoding_options import SAMPLE_OPTIONS
from pipelines.common.serving.saved_model import write_saved_model
from pipelines.sentiment.language_model.config import TASK
from pipelines.sentiment.language_model.model import Trained, load_trained

CLOSING = r" ([.,;:!?%)\]}…]+)"  # signs without a space before them
OPENING = r"([(\[{]) "  # signs without a space after them
NEGATION = r" ([nN]'[tT])\b"  # a word of its own with --split-negation


def export(path: pathlib.Path, to: pathlib.Path | None = None) -> pathlib.Path:
    """Writes the export of a run of the command pretrain. Returns its folder: `to`, or `export` in that of the run."""
    run = Run.open(path, TASK)
    generation = Generation(load_trained(run))
    return write_saved_model(to or run.export, generation.signatures, generation.resources)


class Generation:
    """The functions of the export: the model reads the beginning of a text (warm start), then its own words."""

    def __init__(self, trained: Trained):
        self.model, self.preprocessing = trained.model, trained.preprocessing
        max_length = trained.config.search.max_length

        def serving_default(prefix):
            return self.sample(prefix, 1.0, 0, 1.0, 0, max_length)

        def defaults():
            """Returns the values that serving_default uses."""
            return {"max_length": tf.constant(max_length)}

        self.signatures = {
            "serving_default": tf.function(serving_default, input_signature=option_specs({}), autograph=False),
            "sample": tf.function(self.sample, input_signature=option_specs(SAMPLE_OPTIONS), autograph=False),
            "defaults": tf.function(defaults, input_signature=[], autograph=False),
        }

    @property
    def resources(self) -> list:
        """The model and the table that the functions use."""
        return [self.model, self.preprocessing.vocabulary]

    def sample(self, prefix, temperature, top_k, top_p, seed, max_length) -> dict:
        """Continues texts with words sampled from the model.

        Args:
            prefix: string[batch], how the texts begin; may be empty. Its words count in max_length.
            temperature, top_k, top_p, seed, max_length: those of layers.decoding.sample.

        Returns:
            text: string[batch], with the prefix as it was given, whatever the model reads of it.
            score: float[batch], log-probability of all words, those of the prefix included.
        """
        ids, _ = self.preprocessing(prefix)
        state = self.model.initial_state(tf.shape(prefix)[0])["forward"]
        decoded = decoding.sample(
            self.model.step,
            state,
            start=START,
            end=END,
            prefix=pad(ids),
            forbidden=FORBIDDEN,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            max_length=max_length,
        )
        prefix_lengths, ids = tf.cast(ids.row_lengths(), tf.int32), decoded.ids[:, 0]
        is_new = (tf.range(tf.shape(ids)[1]) >= prefix_lengths[:, None]) & (ids != PADDING)
        words = tf.ragged.boolean_mask(self.preprocessing.vocabulary.to_words(ids), is_new)
        return {"text": append_words(prefix, words), "score": decoded.scores[:, 0]}


def append_words(prefix, words):
    """Joins prefixes, string[batch], with the words after them, string[batch, (words)], to texts, string[batch]."""
    rest = tf.strings.reduce_join(tf.strings.join([" ", words]), axis=-1)
    for pattern in (CLOSING, OPENING, NEGATION):
        rest = tf.strings.regex_replace(rest, pattern, r"\1")
    return tf.strings.strip(tf.strings.join([tf.strings.strip(prefix), rest]))

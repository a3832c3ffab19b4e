"""Strings in, strings out: a language model goes on from the beginning of a text. What its export holds."""

import pathlib

import tensorflow as tf

from layers import decoding
from layers.text import END, PADDING, START, pad
from pipelines.common.runs import Run
from pipelines.common.serving.decoder import FORBIDDEN, option_specs
from pipelines.common.serving.decoding_options import SAMPLE_OPTIONS
from pipelines.common.serving.saved_model import write_saved_model
from pipelines.sentiment.language_model import TrainedLanguageModel, load_language_model

CLOSING = r" ([.,;:!?%)\]}…]+)"  # signs that stand at the word before them
OPENING = r"([(\[{]) "


def export_language_model(run: Run, to: pathlib.Path | None = None) -> pathlib.Path:
    """Writes the export of a run of pretrain; gives its folder, `export` in that of the run if `to` is None."""
    generation = Generation(load_language_model(run))
    return write_saved_model(to or run.export, generation.signatures, generation.resources)


class Generation:
    """The functions of the export: a warm start on true words, then the model is fed with its own."""

    def __init__(self, trained: TrainedLanguageModel):
        self.model, self.preprocessing = trained.model, trained.preprocessing
        max_length = trained.config.max_length

        def serving_default(prefix):
            return self.sample(prefix, 1.0, 0, 1.0, 0, max_length)

        def defaults():
            """What serving_default writes at the most."""
            return {"max_length": tf.constant(max_length)}

        self.signatures = {
            "serving_default": tf.function(serving_default, input_signature=option_specs({}), autograph=False),
            "sample": tf.function(self.sample, input_signature=option_specs(SAMPLE_OPTIONS), autograph=False),
            "defaults": tf.function(defaults, input_signature=[], autograph=False),
        }

    @property
    def resources(self) -> list:
        """All that the functions use."""
        return [self.model, self.preprocessing.vocabulary.table]

    def sample(self, prefix, temperature, top_k, top_p, seed, max_length) -> dict:
        """Texts that begin with string[batch] (maybe empty) and go on as drawn from the model.

        Returns:
            text: string[batch]; the beginning stays as it was written, whatever the model reads of it.
            score: float[batch], log-probability of all words, those of the beginning included.

        The other arguments are those of layers.decoding.sample; the words of the beginning count in max_length.
        """
        ids, _ = self.preprocessing(prefix)
        state = self.model.initial_state(tf.shape(prefix)[0])["forward"]
        found = decoding.sample(
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
        ids, lengths = found.ids[:, 0], tf.cast(ids.row_lengths(), tf.int32)
        new = (tf.range(tf.shape(ids)[1]) >= lengths[:, None]) & (ids != PADDING)
        words = tf.ragged.boolean_mask(self.preprocessing.vocabulary.to_words(ids), new)
        return {"text": write_on(prefix, words), "score": found.scores[:, 0]}


def write_on(prefix, words):
    """Beginnings string[batch] and the words behind, string[batch, (words)] -> string[batch]."""
    behind = tf.strings.reduce_join(tf.strings.join([" ", words]), axis=-1)
    behind = tf.strings.regex_replace(tf.strings.regex_replace(behind, CLOSING, r"\1"), OPENING, r"\1")
    return tf.strings.strip(tf.strings.join([tf.strings.strip(prefix), behind]))

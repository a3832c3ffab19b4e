"""A run, or the average of several, as a SavedModel that takes strings and needs nothing but TensorFlow.

Classifiers are written here, language models in generation.py.
"""

import pathlib
from collections.abc import Sequence

import keras
import tensorflow as tf

from layers.lstm import LSTM
from layers.text import PADDING, pad
from pipelines.common.errors import UserError
from pipelines.common.files import read_json
from pipelines.common.runs import Run
from pipelines.common.serving.saved_model import write_saved_model
from pipelines.sentiment.generation import export_language_model
from pipelines.sentiment.model import Trained, forward_layer, load_trained
from pipelines.sentiment.pretraining_config import LANGUAGE_MODEL

EXPLAINED_WORDS = 400  # each prefix is read anew: the work grows with the square of the words
PREFIXES_AT_ONCE = 32  # bounds the memory
TEXTS = tf.TensorSpec([None], tf.string, name="text")


def export(runs: Sequence[pathlib.Path], to: pathlib.Path | None = None) -> pathlib.Path:
    """Writes the export of one run, or of several whose probabilities it averages; gives its folder.

    Args:
        runs: classifiers, or one language model.
        to: the folder; None: `export` in the folder of the first run.

    Raises:
        UserError: a run is not trained, several do not have the same labels and the same limits of text, or they are
            language models.
    """
    if is_language_model(runs[0]):
        if len(runs) > 1:
            raise UserError(f"{runs[0]} is a language model: expected one --run, as only classifiers can be averaged")
        return export_language_model(Run.open(runs[0], LANGUAGE_MODEL), to)
    opened = [Run.open(path, "sentiment") for path in runs]
    members = [load_trained(run) for run in opened]
    for run, member in zip(opened[1:], members[1:], strict=True):
        refuse_other_answers(opened[0], members[0], run, member)
    classifier = Classifier(members)
    return write_saved_model(
        to or opened[0].export,
        {"serving_default": classifier.classify, "explain": classifier.explain},
        classifier.resources,
    )


def is_language_model(path: pathlib.Path) -> bool:
    """Whether a folder says that it is a run of pretrain."""
    file = pathlib.Path(path) / "config.json"
    stored = read_json(file) if file.is_file() else None
    return isinstance(stored, dict) and stored.get("task") == LANGUAGE_MODEL


def refuse_other_answers(first_run: Run, first: Trained, run: Run, member: Trained):
    for what, ours, theirs in (
        ("labels", first.names, member.names),
        ("limits of text", first.preprocessing.limits, member.preprocessing.limits),
    ):
        if ours != theirs:
            raise UserError(
                f"{first_run.path} and {run.path} cannot be averaged: their {what} are {ours} and {theirs};"
                f" expected the same"
            )


class Classifier:
    """The functions of the export: raw strings to labels, and what happens on the way."""

    def __init__(self, members: Sequence[Trained]):
        self.members = list(members)
        self.first = self.members[0]
        self.names = tf.constant(self.first.names)  # string[classes]
        self.reader = gate_reader(self.first.model)
        self.classify = tf.function(self.classify, input_signature=[TEXTS], autograph=False)
        self.explain = tf.function(self.explain, input_signature=[TEXTS], autograph=False)

    @property
    def resources(self) -> list:
        """All that the functions use."""
        tables = [member.preprocessing.vocabulary.table for member in self.members]
        return [*(member.model for member in self.members), *tables, self.reader]

    def classify(self, text):
        """string[batch] -> label string[batch], probability float[batch], probabilities float[batch, classes]."""
        words, _ = self.first.preprocessing.words(text)
        probabilities = self.probabilities([pad(member.preprocessing.vocabulary(words)) for member in self.members])
        return {
            "label": tf.gather(self.names, tf.argmax(probabilities, axis=1)),
            "probability": tf.reduce_max(probabilities, axis=1),
            "probabilities": probabilities,
        }

    def probabilities(self, ids):
        """The mean over the members; ids: one int32[batch, time] a member."""
        each = [
            tf.nn.softmax(member.model(member_ids, training=False))
            for member, member_ids in zip(self.members, ids, strict=True)
        ]
        return tf.add_n(each) / len(each)

    def explain(self, text):
        """What the model makes of the first EXPLAINED_WORDS words of each text, string[batch].

        Returns:
            tokens: string[batch, time], empty past the end of a text.
            probability: float[batch, time, classes], the answer to the text up to and including each word, read anew.
            classes: string[classes].
            i, f, g, o, c (LSTM): float[batch, time, units], gates and cell state of the first recurrent layer in
                reading direction, of the first run; h (vanilla RNN): its hidden state.
        """
        words, _ = self.first.preprocessing.words(text)
        words = words[:, :EXPLAINED_WORDS]
        ids = [pad(member.preprocessing.vocabulary(words)) for member in self.members]
        time = tf.shape(ids[0])[1]
        return {
            "tokens": words.to_tensor("", shape=tf.stack([-1, tf.cast(time, tf.int64)])),
            "probability": self.prefixes(ids),
            "classes": self.names,
            **read_gates(self.first.model, self.reader, ids[0]),
        }

    def prefixes(self, ids):
        """float[batch, time, classes]: the answer to every prefix of every text. A few prefixes at a time, each time
        no further than the longest of them."""
        batch, time = tf.unstack(tf.shape(ids[0]))
        chunks = -(-time // PREFIXES_AT_ONCE)
        classes = len(self.first.names)

        def chunk(number):
            row, start = number // chunks, number % chunks * PREFIXES_AT_ONCE
            end = tf.minimum(start + PREFIXES_AT_ONCE, time)
            read = tf.sequence_mask(start + 1 + tf.range(PREFIXES_AT_ONCE), end)  # [prefixes, time read]
            return self.probabilities([tf.where(read, member_ids[row, None, :end], PADDING) for member_ids in ids])

        found = tf.map_fn(
            chunk, tf.range(batch * chunks), fn_output_signature=tf.TensorSpec([PREFIXES_AT_ONCE, classes], tf.float32)
        )
        return tf.reshape(found, [batch, chunks * PREFIXES_AT_ONCE, classes])[:, :time]


def gate_reader(model: keras.Model) -> keras.layers.Layer:
    """The first recurrent layer in reading direction, made to give its gates (LSTM) or its states (vanilla RNN)."""
    forward = forward_layer(model)
    gates = {"return_gates": True} if isinstance(forward, LSTM) else {}
    config = {**forward.get_config(), "return_sequences": True, "return_state": False, **gates}
    reader = type(forward).from_config({**config, "name": "gate_reader"})
    reader.build((None, None, model.get_layer("embedding").output_dim))
    reader.set_weights(forward.get_weights())
    return reader


def read_gates(model: keras.Model, reader: keras.layers.Layer, ids) -> dict:
    """int32[batch, time] -> name -> float[batch, time, units]."""
    answer = reader(model.get_layer("embedding")(ids), mask=ids != PADDING, training=False)
    if isinstance(reader, LSTM):
        return answer[-1]
    return {"h": answer}

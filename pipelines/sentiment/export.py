"""Exports a run, or the average of several, as a SavedModel that takes strings and only needs TensorFlow.

A language model is exported by language_model/export.py.
"""

import json
import pathlib
import random
from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from layers.lstm import LSTM
from layers.text import PADDING, RESERVED, UNKNOWN, pad
from pipelines.common.data.sources import sample_files
from pipelines.common.errors import UserError
from pipelines.common.files import read_json
from pipelines.common.options import SAVED_MODEL, Export
from pipelines.common.serving import members
from pipelines.common.serving.formats import Call, Function, Functions, write_functions
from pipelines.common.serving.saved_model import write_saved_model
from pipelines.sentiment.language_model.config import TASK as LANGUAGE_MODEL
from pipelines.sentiment.language_model.export import export as export_language_model
from pipelines.sentiment.model import Trained, attention_model, load_trained, recurrent_layers

MAX_EXPLAINED_WORDS = 400  # the model reads every prefix: the work grows with the square of the words
PREFIXES_PER_BATCH = 32  # bounds the memory
TEXTS = tf.TensorSpec([None], tf.string, name="text")
SAMPLE_REVIEWS = 16  # that a file for another runtime is compared on
MADE_UP = (1, 2, 5, 10, 20, 40, 80)  # words of further texts, drawn from the vocabulary


def export(options: Export) -> pathlib.Path:
    """Writes the export of one run, or of several whose probabilities it averages, and returns its folder.

    For other runtimes than TensorFlow it is the function `classify`.

    Raises:
        UserError: A run is not trained; several do not have the same labels and the same limits of text, or are
            language models; for other runtimes, the vocabularies differ or the run is a language model.
    """
    runs = options.run
    if is_language_model(runs[0]):
        if options.format != SAVED_MODEL:
            raise UserError(f"{runs[0]} is a language model: expected --format saved_model, or a classifier")
        if len(runs) > 1:
            raise UserError(f"{runs[0]} is a language model: expected one --run, as only classifiers can be averaged")
        return export_language_model(runs[0], options.folder)
    trained = load_members(runs)
    if options.format != SAVED_MODEL:
        refuse_other_vocabularies(options, trained)
        return write_functions(options.folder, functions(trained), options.format, options.weights)
    classifier = Classifier(trained)
    return write_saved_model(
        options.folder,
        {"serving_default": classifier.classify, "explain": classifier.explain},
        classifier.resources,
    )


def refuse_other_vocabularies(options: Export, trained: Sequence[Trained]):
    """Raises UserError unless all runs have one vocabulary: the ids of the words are an input of the functions."""
    first, *others = [member.preprocessing.vocabulary.words for member in trained]
    for path, words in zip(options.run[1:], others, strict=True):
        if words != first:
            raise UserError(
                f"{options.run[0]} and {path} cannot be averaged in {options.format}: their vocabularies differ"
            )


def load_members(runs: Sequence[pathlib.Path]) -> list[Trained]:
    """Returns runs that predict the same labels. Raises UserError if they do not, or one is not trained."""
    return members.load_members(runs, "sentiment", load_trained, difference)


def difference(first: Trained, other: Trained) -> str | None:
    """Returns what differs in the words that two runs read or the labels that they predict; None if nothing does."""
    for what, ours, theirs in (
        ("labels", first.names, other.names),
        ("limits of text", first.preprocessing.options, other.preprocessing.options),
    ):
        if ours != theirs:
            return f"{what} are {ours} and {theirs}; expected the same"
    return None


def is_language_model(path: pathlib.Path) -> bool:
    """Returns whether a folder is a run of the command pretrain."""
    file = pathlib.Path(path) / "config.json"
    stored = read_json(file) if file.is_file() else None
    return isinstance(stored, dict) and stored.get("task") == LANGUAGE_MODEL


class Classifier:
    """The functions of the export: strings to labels, and what explains a label."""

    def __init__(self, members: Sequence[Trained]):
        self.members = list(members)
        self.first = self.members[0]
        self.names = tf.constant(self.first.names)  # string[classes]
        self.gate_layer = make_gate_layer(self.first.model)
        self.attention = attention_model(self.first.model)  # its weights are those of the first member
        self.classify = tf.function(self.classify, input_signature=[TEXTS], autograph=False)
        self.explain = tf.function(self.explain, input_signature=[TEXTS], autograph=False)

    @property
    def resources(self) -> list:
        """The models and vocabularies that the functions use."""
        vocabularies = [member.preprocessing.vocabulary for member in self.members]
        return [*(member.model for member in self.members), *vocabularies, self.gate_layer]

    def classify(self, text):
        """string[batch] -> label string[batch], probability float[batch], probabilities float[batch, classes]."""
        words, _ = self.first.preprocessing.split(text)
        probabilities = self.probabilities(self.encode(words))
        return {
            "label": tf.gather(self.names, tf.argmax(probabilities, axis=1)),
            "probability": tf.reduce_max(probabilities, axis=1),
            "probabilities": probabilities,
        }

    def encode(self, words):
        """string[batch, (words)] -> int32[batch, time] of each member, whose vocabularies may differ."""
        return [pad(member.preprocessing.vocabulary(words)) for member in self.members]

    def probabilities(self, ids):
        """int32[batch, time] of each member -> float[batch, classes], the mean over the members."""
        each = [
            tf.nn.softmax(member.model(member_ids, training=False))
            for member, member_ids in zip(self.members, ids, strict=True)
        ]
        return tf.add_n(each) / len(each)

    def explain(self, text):
        """Explains the labels of texts, string[batch], by their first MAX_EXPLAINED_WORDS words.

        Returns:
            tokens: string[batch, time], empty after the end of a text.
            probability: float[batch, time, classes], the prediction for the text up to and including each word.
            classes: string[classes].
            i, f, g, o, c (LSTM): float[batch, time, units], gates and cell state of the first forward recurrent layer
                of the first run; h (vanilla RNN): its hidden state.
            attention (only if the first run has that pooling): float[batch, time], the weights of the words in the
                prediction for all of them; zero after the end of a text.
        """
        words, _ = self.first.preprocessing.split(text)
        words = words[:, :MAX_EXPLAINED_WORDS]
        ids = self.encode(words)
        time = tf.shape(ids[0])[1]
        return {
            "tokens": words.to_tensor("", shape=tf.stack([-1, tf.cast(time, tf.int64)])),
            "probability": self.prefix_probabilities(ids),
            "classes": self.names,
            **compute_gates(self.first.model, self.gate_layer, ids[0]),
            **({"attention": self.attention(ids[0], training=False)} if self.attention else {}),
        }

    def prefix_probabilities(self, ids):
        """int32[batch, time] of each member -> float[batch, time, classes], the prediction for every prefix of every
        text. A batch has some prefixes of one text, padded to the longest of them."""
        batch, time = tf.unstack(tf.shape(ids[0]))
        chunks = -(-time // PREFIXES_PER_BATCH)
        classes = len(self.first.names)

        def chunk(number):
            row, start = number // chunks, number % chunks * PREFIXES_PER_BATCH
            end = tf.minimum(start + PREFIXES_PER_BATCH, time)
            mask = tf.sequence_mask(start + 1 + tf.range(PREFIXES_PER_BATCH), end)  # [prefixes, end]
            return self.probabilities([tf.where(mask, member_ids[row, None, :end], PADDING) for member_ids in ids])

        signature = tf.TensorSpec([PREFIXES_PER_BATCH, classes], tf.float32)
        probabilities = tf.map_fn(chunk, tf.range(batch * chunks), fn_output_signature=signature)
        return tf.reshape(probabilities, [batch, chunks * PREFIXES_PER_BATCH, classes])[:, :time]


def make_gate_layer(model: keras.Model) -> keras.layers.Layer:
    """Returns a copy of the first forward recurrent layer that returns its gates (LSTM) or states (vanilla RNN)."""
    forward = recurrent_layers(model)[0][0]
    gates = {"return_gates": True} if isinstance(forward, LSTM) else {}
    config = {**forward.get_config(), "return_sequences": True, "return_state": False, **gates}
    layer = type(forward).from_config({**config, "name": "gate_layer"})
    layer.build((None, None, model.get_layer("embedding").output_dim))
    layer.set_weights(forward.get_weights())
    return layer


def compute_gates(model: keras.Model, gate_layer: keras.layers.Layer, ids) -> dict:
    """int32[batch, time] -> name -> float[batch, time, units]."""
    outputs = gate_layer(model.get_layer("embedding")(ids), mask=ids != PADDING, training=False)
    return outputs[-1] if isinstance(gate_layer, LSTM) else {"h": outputs}


def functions(trained: Sequence[Trained]) -> Functions:
    """Returns the function `classify` of models with the same vocabulary and labels, whose probabilities it averages:
    ids int32[batch, time], followed by PADDING, to probabilities float32[batch, classes]."""
    first = trained[0]

    def classify(ids):
        each = [tf.nn.softmax(member.model(ids, training=False)) for member in trained]
        return {"probabilities": tf.add_n(each) / len(each)}

    def answers(call: Call) -> Iterator[np.ndarray]:
        for text in compared_texts(first.preprocessing.vocabulary.words):
            ids, _ = first.preprocessing(tf.constant([text]))
            yield call("classify", {"ids": pad(ids).numpy()})["probabilities"]

    return Functions(
        [Function("classify", classify, [tf.TensorSpec([None, None], tf.int32, name="ids")])],
        {
            "task": "sentiment",
            "labels": first.names,
            "text": first.preprocessing.options,
            "padding": PADDING,
            "unknown": UNKNOWN,
            "vocabulary": first.preprocessing.vocabulary.words,
        },
        answers,
    )


def compared_texts(words: Sequence[str]) -> list[str]:
    """Returns an empty text, reviews of the sample, and texts of the words of a vocabulary, always the same."""
    rows = [line for path in sample_files("sentiment", "test.jsonl") for line in path.read_text("utf-8").splitlines()]
    draw = random.Random(0)
    made_up = [" ".join(draw.choices(words[len(RESERVED) :] or ["-"], k=count)) for count in MADE_UP]
    return ["", *(json.loads(row)["text"] for row in rows[:SAMPLE_REVIEWS]), *made_up]

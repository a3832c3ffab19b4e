"""A run, or the average of several, as a SavedModel that translates strings and needs nothing but TensorFlow."""

import pathlib
from collections.abc import Sequence

import tensorflow as tf

from layers.lstm import LSTM
from layers.text import PADDING, START, pad
from pipelines.common.errors import UserError
from pipelines.common.runs import Run
from pipelines.common.serving.saved_model import write_saved_model
from pipelines.common.serving.writing import DRAW, SEARCH
from pipelines.translation.model import Trained, TranslationModel, load_trained
from pipelines.translation.translate import Translation


def export(runs: Sequence[pathlib.Path], to: pathlib.Path | None = None) -> pathlib.Path:
    """Writes the export of one run, or of several whose probabilities it averages; gives its folder.

    Args:
        to: the folder; None: `export` in the folder of the first run.

    Raises:
        UserError: a run is not trained, or several do not share their vocabularies and limits of text.
    """
    opened = [Run.open(path, "translation") for path in runs]
    members = [load_trained(run) for run in opened]
    for run, member in zip(opened[1:], members[1:], strict=True):
        refuse_other_text(opened[0], members[0], run, member)
    translator = Exported(members)
    return write_saved_model(to or opened[0].export, translator.signatures, translator.resources)


def refuse_other_text(first_run: Run, first: Trained, run: Run, member: Trained):
    """UserError unless the two runs read and write the same tokens."""
    ours, theirs = first.preprocessing, member.preprocessing
    for what, same in (
        ("source vocabularies", ours.source.vocabulary.words == theirs.source.vocabulary.words),
        ("target vocabularies", ours.target.vocabulary.words == theirs.target.vocabulary.words),
        ("limits of text", ours.limits == theirs.limits),
    ):
        if not same:
            raise UserError(f"{first_run.path} and {run.path} cannot be averaged: their {what} differ")


class Exported:
    """The signatures of an export."""

    def __init__(self, members: Sequence[Trained]):
        config = members[0].config
        self.translation = Translation(members)
        self.explanation = Explanation(self.translation)

        def serving_default(source):
            return self.translation.beam(
                source,
                tf.constant([""]),
                config.search.beam_size,
                config.search.length_penalty,
                0,
                config.text.max_tokens,
            )

        def defaults():
            """What serving_default searches with."""
            return {
                "beam_size": tf.constant(config.search.beam_size),
                "length_penalty": tf.constant(config.search.length_penalty),
                "max_length": tf.constant(config.text.max_tokens),
            }

        sources, written = (tf.TensorSpec([None], tf.string, name=name) for name in ("source", "translation"))
        self.signatures = {
            name: tf.function(function, input_signature=[sources, *more], autograph=False)
            for name, function, more in (
                ("serving_default", serving_default, []),
                ("beam", self.translation.beam, SEARCH),
                ("sample", self.translation.sample, DRAW),
                ("explain", self.explanation.explain, [written]),
            )
        } | {"defaults": tf.function(defaults, input_signature=[], autograph=False)}

    @property
    def resources(self) -> list:
        """All that the signatures use."""
        return [*self.translation.resources, self.explanation.reader]


class Explanation:
    """What happens inside while the first member writes a translation."""

    def __init__(self, translation: Translation):
        self.translation = translation
        self.model = translation.models[0]
        self.reader = gate_reader(self.model)

    def explain(self, source, translation) -> dict:
        """How given translations string[batch] of sources string[batch] are written.

        Returns:
            tokens: string[batch, time], those of the translation, then empty.
            probability: float[batch, time], of each token, given the source and the tokens before it.
            state: float[batch, layers * units], h of every encoder layer behind the whole source.
            i, f, g, o, c (LSTM): float[batch, time, units] of the first decoder layer while it writes each token;
                h (vanilla RNN): its hidden state.
        """
        ids, _ = self.translation.read(source)
        target = self.translation.preprocessing.target
        tokens, _ = target.tokens(translation)
        targets = pad(target.vocabulary(tokens))
        state = self.model.encode(ids)
        inputs = tf.concat([tf.fill([tf.shape(targets)[0], 1], START), targets[:, :-1]], axis=1)
        logits = self.model.softmax(self.model.decoder_outputs(inputs, state))
        chosen = tf.gather(tf.nn.softmax(logits), targets, batch_dims=2)
        return {
            "tokens": tokens.to_tensor("", shape=tf.cast(tf.shape(targets), tf.int64)),
            "probability": tf.where(targets != PADDING, chosen, 0.0),
            "state": tf.concat([layer[0] for layer in state["layers"]], axis=-1),
            **self.gates(inputs, state),
        }

    def gates(self, inputs, state) -> dict:
        """name -> float[batch, time, units]."""
        vectors = self.model.target_embedding(inputs)
        if "context" in state:
            context = tf.repeat(state["context"][:, None], tf.shape(inputs)[1], axis=1)
            vectors = tf.concat([vectors, context], axis=-1)
        answer = self.reader(vectors, initial_state=state["layers"][0])
        return answer[-1] if isinstance(self.reader, LSTM) else {"h": answer}


def gate_reader(model: TranslationModel):
    """The first decoder layer, made to give its gates (LSTM) or its states (vanilla RNN)."""
    layer = model.decoder[0]
    gates = {"return_gates": True} if isinstance(layer, LSTM) else {}
    reader = type(layer).from_config({**layer.get_config(), "return_state": False, "name": "gate_reader", **gates})
    reader.build((None, None, layer.cell.kernel.shape[0]))
    reader.set_weights(layer.get_weights())
    return reader

"""Writes a run, or the average of several, as a SavedModel that translates strings with TensorFlow only.

A source sentence on its way through the graph:

    make_decoder            gives a Decoder its parts; its methods are the signatures (common/serving/decoder.py)
    split_sentences         text -> sentences, if the run has --split-sentences
    Tokenizer.encode        sentence -> words (layers/text.py) or subwords -> ids
    model.encode            ids -> state before the first word
    beam_search             word by word: model.step, previous word and state -> logits and state (layers/decoding.py)
    Tokenizer.decode        ids -> translation
    SourceWords             finds the words of the source that training has not seen, for the confidence

For other runtimes it is two functions, `encode` and `step`, which take ids.
"""

import pathlib
import random
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from layers.lstm import LSTM
from layers.teacher_forcing import shifted
from layers.text import GENERATION as RESERVED
from layers.text import PADDING, START, UNKNOWN, pad
from pipelines.common.confidence import report_missing
from pipelines.common.data.sources import sample_files
from pipelines.common.options import SAVED_MODEL, Export
from pipelines.common.serving import members
from pipelines.common.serving.formats import Functions, write_functions
from pipelines.common.serving.saved_model import write_saved_model
from pipelines.common.serving.sequences import GENERATION, answers, encode_and_step
from pipelines.translation.decoder import make_decoder
from pipelines.translation.model import Trained, TranslationModel, load_trained

SAMPLE_PAIRS = 8  # that files for other runtimes are compared on
MADE_UP = (1, 3, 8, 20)  # tokens of further sentences, drawn from the vocabularies


def export(options: Export, replace_unknown: bool | None = None) -> pathlib.Path:
    """Writes the export of one run, or of several whose probabilities it averages, and returns its folder.

    For other runtimes than TensorFlow it is the functions `encode` and `step`.

    Args:
        replace_unknown: See `make_decoder`.

    Raises:
        UserError: A run is not trained, or several do not share their vocabularies and options of the text.
    """
    trained = load_members(options.run)
    if options.format != SAVED_MODEL:
        return write_functions(options.folder, functions(trained), options.format, options.weights)
    for path, member in zip(options.run, trained, strict=True):
        if member.confidence is None:
            report_missing(path, "translation")
    explanation = Explanation(trained[0])
    inputs = [tf.TensorSpec([None], tf.string, name=name) for name in ("source", "translation")]
    explain = tf.function(explanation.explain, input_signature=inputs, autograph=False)
    signatures = {**make_decoder(trained, replace_unknown).signatures(), "explain": explain}
    resources = [*(member.model for member in trained), trained[0].preprocessing, explanation.gate_layer]
    return write_saved_model(options.folder, signatures, resources)


def load_members(runs: Sequence[pathlib.Path]) -> list[Trained]:
    """Returns runs that share vocabularies and options. Raises UserError if they do not, or one is not trained."""
    return members.load_members(runs, "translation", load_trained, difference)


def difference(first: Trained, other: Trained) -> str | None:
    """Returns what differs in how two runs convert text to tokens; None if nothing does."""
    one, another = first.preprocessing, other.preprocessing
    if one.source.vocabulary.words != another.source.vocabulary.words:
        return "source vocabularies differ"
    if one.target.vocabulary.words != another.target.vocabulary.words:
        return "target vocabularies differ"
    options = [(each.limits, each.restore_case) for each in (one, another)]
    return "options of the text differ" if options[0] != options[1] else None


class Explanation:
    """Computes the probabilities, states and gates of a model while it decodes a given translation."""

    def __init__(self, trained: Trained):
        self.model, self.preprocessing = trained.model, trained.preprocessing
        self.gate_layer = make_gate_layer(self.model)

    def explain(self, source, translation) -> dict:
        """Decodes the translations string[batch] of the sources string[batch] with teacher forcing.

        Returns:
            tokens: string[batch, time], those of the translation, then "".
            probability: float[batch, time], of each token, given the source and the tokens before it; 0 for padding.
            state: float[batch, layers * units], h of every decoder layer before its first step.
            i, f, g, o, c (LSTM): float[batch, time, units] of the first decoder layer at the time step that predicts
                each token; h (vanilla RNN): its hidden state.
            alignment, with attention: float[batch, time, source], the weights of the source tokens at that time step.
            source_tokens, with attention: string[batch, source], those of the source, then "".
        """
        ids, _ = self.preprocessing.source.encode(source)
        tokens, _ = self.preprocessing.target.tokens(translation)
        targets = pad(self.preprocessing.target.vocabulary(tokens))
        state = self.model.encode(pad(ids))
        outputs, decoded = self.model.decode(shifted(targets, START), state)
        probability = tf.gather(tf.nn.softmax(self.model.softmax(outputs)), targets, batch_dims=2)
        explanation = {
            "tokens": tokens.to_tensor("", shape=tf.cast(tf.shape(targets), tf.int64)),
            "probability": tf.where(targets != PADDING, probability, 0.0),
            "state": tf.concat([layer[0] for layer in state["layers"]], axis=-1),
            **self.gates(decoded.inputs, state),
        }
        if decoded.alignment is not None:
            source_tokens, _ = self.preprocessing.source.tokens(source)
            shape = tf.shape(decoded.alignment, tf.int64)
            explanation["source_tokens"] = source_tokens.to_tensor("", shape=[shape[0], shape[2]])
            explanation["alignment"] = tf.where(targets[:, :, None] != PADDING, decoded.alignment, 0.0)
        return explanation

    def gates(self, inputs, state) -> dict:
        """Returns the gates of the first decoder layer, letter -> float[batch, time, units]."""
        result = self.gate_layer(inputs, initial_state=state["layers"][0])
        return result[-1] if isinstance(self.gate_layer, LSTM) else {"h": result}


def make_gate_layer(model: TranslationModel):
    """Returns the first decoder layer with the same weights, which returns its gates (LSTM) or hidden states (RNN)."""
    layer = model.decoder[0]
    options = {"return_gates": True} if isinstance(layer, LSTM) else {}
    copy = type(layer).from_config({**layer.get_config(), "return_state": False, "name": "gate_layer", **options})
    copy.build((None, None, layer.cell.kernel.shape[0]))
    copy.set_weights(layer.get_weights())
    return copy


def functions(trained: Sequence[Trained]) -> Functions:
    """Returns `encode`, of ids int32[batch, time] that PADDING follows, and `step` of models that share vocabularies;
    see `encode_and_step`."""
    first = trained[0]
    languages = {"source": first.preprocessing.source, "target": first.preprocessing.target}

    def encode(ids):
        return [member.model.encode(ids) for member in trained]

    return Functions(
        encode_and_step(
            tf.TensorSpec([None, None], tf.int32, name="ids"), encode, [member.model.step for member in trained]
        ),
        {
            "task": "translation",
            "text": {**first.preprocessing.limits, "restore_case": first.preprocessing.restore_case},
            "padding": PADDING,
            "unknown": UNKNOWN,
            **GENERATION,
            "max_length": first.config.text.max_tokens,
            "vocabulary": {name: tokenizer.vocabulary.words for name, tokenizer in languages.items()},
        },
        lambda call: answers(call, compared_sentences(first)),
    )


def compared_sentences(trained: Trained) -> Iterator[tuple[dict[str, np.ndarray], list[int]]]:
    """Yields the ids of sources and of translations of the sample, in any language, and of made-up sentences."""
    source, target = trained.preprocessing.source, trained.preprocessing.target
    texts = [path.read_text("utf-8").splitlines()[:SAMPLE_PAIRS] for path in sample_files("translation", "test.*")]
    for text, translation in zip(*texts, strict=True) if texts else []:
        ids, _ = source.encode(tf.constant([text]))
        yield {"ids": pad(ids).numpy()}, target.encode(tf.constant([translation]))[0][0].numpy().tolist()
    draw, reserved = random.Random(0), len(RESERVED)
    for count in MADE_UP:
        drawn = [
            draw.choices(range(reserved, max(len(each.vocabulary), 1 + reserved)), k=count) for each in (source, target)
        ]
        yield {"ids": np.array([drawn[0]], np.int32)}, drawn[1]

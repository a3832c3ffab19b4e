"""Recurrent layers one above the other that decode a sequence, with or without attention.

At time step t they read e(t), the embedding of the previous token, and give h(t), the output of the last layer. With
attention, c(t) is the context: a weighted mean of what is attended to (see `layers/attention.py`; not the cell state of
an LSTM).

    without attention                   h(t) = layers(e(t))
    with a fixed context c              h(t) = layers([e(t), c])                                  Cho et al. 2014
    attention behind the recurrence     h(t) = layers(e(t)),           c(t) = attention(h(t))     Luong et al. 2015
    attention inside the recurrence     h(t) = layers([e(t), c(t-1)]), c(t) = attention(h(t))     Bahdanau et al. 2015

where the layers also read their own states of step t-1. Inside the recurrence, c(0) is the attention of the state that
the last layer starts from. What Bahdanau et al. call c_t is c(t-1) here: the layers read the same, but their softmax
reads c(t-1), and here it reads c(t). The input feeding of Luong et al. is similar; it feeds back tanh(W [h, c]).

The same cells run in two ways: `advance` reads the embedding of one time step (decoding); `decode` reads those of a
whole sequence (training, with teacher forcing), at once where nothing of a step depends on the attention before it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from layers.attention import Memory
from layers.bptt import apply_dropout
from layers.unfold import unfold


class DecoderOutputs(NamedTuple):
    """Outputs of a decoder for a whole sequence, or for one time step and then without the axis `time`.

    Attributes:
        h: float[batch, time, units], the outputs of the last layer.
        context: float[batch, time, value units], that of each time step; None without one.
        inputs: float[batch, time, features], what the first layer read.
        alignment: float[batch, time, source], the weights of the attention; None without attention.
    """

    h: tf.Tensor
    context: tf.Tensor | None
    inputs: tf.Tensor
    alignment: tf.Tensor | None


class RecurrentDecoder:
    """Runs recurrent layers and their attention, which belong to a model.

    The state is a dict of

    * `layers`, for each layer its state, [h, cell state] or (vanilla RNN) [h], float[batch, units];
    * `context`, float[batch, value units], with a fixed context or with attention inside the recurrence: what the first
      layer reads at the next time step, beside the embedding;
    * `memory`, with attention: the `layers.attention.Memory` that is attended to.

    Args:
        layers: `LSTM`s or `VanillaRNN`s that return sequences and states.
        dropouts: The `keras.layers.Dropout` behind each layer.
        residual: Add a layer's input to its output, from the second layer on (He et al. 2016; Wu et al. 2016).
        attend: Function (h, memory) -> (context, alignment) for the outputs h of the last layer at one time step or at
            all, such as an `Attention`. None: no attention.
        attention_input: Attention inside the recurrence.

    Raises:
        ValueError: `attention_input` without attention, or with layers whose inputs have dropout.
    """

    def __init__(
        self,
        layers: Sequence[keras.layers.Layer],
        dropouts: Sequence[keras.layers.Dropout],
        *,
        residual: bool = False,
        attend: Callable | None = None,
        attention_input: bool = False,
    ):
        if attention_input and attend is None:
            raise ValueError("attention_input is True, but there is no attention: expected attend")
        if attention_input and any(layer.cell.dropout for layer in layers):
            raise ValueError("with attention_input, the layers must not have dropout; recurrent_dropout is supported")
        self.layers, self.dropouts, self.residual = layers, dropouts, residual
        self.attend, self.attention_input = attend, attention_input

    def start(self, states: Sequence, memory: Memory) -> dict:
        """Returns the state before the first step, with attention, for the states of the layers and the memory."""
        state = {"layers": states, "memory": memory}
        if self.attend and self.attention_input:
            h, *_ = states[-1]
            state["context"], _ = self.attend(h, memory)
        return state

    def advance(self, embeddings, state: dict, masks=None) -> tuple[DecoderOutputs, dict]:
        """Runs one time step.

        Args:
            embeddings: float[batch, embedding units].
            state: That of the step before.
            masks: For each layer the dropout masks, float[batch, units], of the h it reads and of its outputs, or None.

        Returns:
            The outputs and the new state.
        """
        context, alignment = state.get("context"), None
        x = inputs = embeddings if context is None else tf.concat([embeddings, context], axis=-1)
        states = []
        for number, layer in enumerate(self.layers):
            of_h, of_outputs = masks[number] if masks else (None, None)
            h, *others = state["layers"][number]
            # In training, the cell would draw dropout masks of its own, new ones at every step.
            y, new_state = layer.cell(x, [apply_dropout(h, of_h), *others], training=False)
            x = self._add_residual(number, apply_dropout(y, of_outputs), x)
            states.append(list(new_state))
        state = {**state, "layers": states}
        if self.attend:
            context, alignment = self.attend(x, state["memory"])
        if self.attention_input:
            state["context"] = context
        return DecoderOutputs(x, context, inputs, alignment), state

    def decode(self, embeddings, state: dict, training=False) -> DecoderOutputs:
        """Runs a whole sequence.

        Args:
            embeddings: float[batch, time, embedding units].
            state: That before the first step.
            training: Whether to apply dropout.
        """
        if self.attention_input:
            return self._decode_in_steps(embeddings, state, training)
        x, context, alignment = embeddings, state.get("context"), None
        if context is not None:
            context = tf.repeat(context[:, tf.newaxis], tf.shape(embeddings)[1], axis=1)
            x = tf.concat([embeddings, context], axis=-1)
        inputs = x
        for number, (layer, dropout) in enumerate(zip(self.layers, self.dropouts, strict=True)):
            y, *_ = layer(x, initial_state=state["layers"][number], training=training)
            x = self._add_residual(number, dropout(y, training=training), x)
        if self.attend:
            context, alignment = self.attend(x, state["memory"])
        return DecoderOutputs(x, context, inputs, alignment)

    def _decode_in_steps(self, embeddings, state, training):
        """Runs `advance` over time."""
        of_h, of_outputs = self._dropout_masks(embeddings, state) if training else ([], [])

        def step(carried, sequences):
            (context, *layers), (e, *of_outputs) = carried, sequences
            masks = list(zip(of_h, of_outputs, strict=True))
            layers = tf.nest.pack_sequence_as(state["layers"], layers)
            outputs, new = self.advance(e, {**state, "context": context, "layers": layers}, masks)
            return (new["context"], *tf.nest.flatten(new["layers"])), outputs

        context, (_, keys, _) = state["context"], state["memory"]
        widths = DecoderOutputs(
            h=state["layers"][-1][0].shape[-1],
            context=context.shape[-1],
            inputs=embeddings.shape[-1] + context.shape[-1],
            alignment=keys.shape[1],
        )
        sequences = tuple(_time_major(sequence) for sequence in (embeddings, *of_outputs))
        outputs, _ = unfold(step, sequences, (context, *tf.nest.flatten(state["layers"])), widths)
        return DecoderOutputs(*map(_time_major, outputs))

    def _dropout_masks(self, embeddings, state):
        """Returns the dropout masks of each layer, or None: of the h it reads, float[batch, units], one for all time
        steps; of its outputs, float[batch, time, units]."""
        of_h, of_outputs = [], []
        for layer, dropout, (h, *_) in zip(self.layers, self.dropouts, state["layers"], strict=True):
            of_h.append(layer.dropout_masks(None, h, training=True)[1])
            ones = tf.ones([*tf.unstack(tf.shape(embeddings)[:2]), h.shape[-1]], h.dtype)
            of_outputs.append(dropout(ones, training=True) if dropout.rate else None)
        return of_h, of_outputs

    def _add_residual(self, number, y, x):
        return y + x if self.residual and number else y


def _time_major(x):
    """[batch, time, ...] to [time, batch, ...] and back; a None stays None."""
    return None if x is None else tf.transpose(x, [1, 0, 2])


def repeat_rows(state: dict, times) -> dict:
    """Returns the state with each row repeated, except that the memory is that of the rows before: rows that follow
    each other share it (see `layers.attention.Attention`)."""
    shared = {name: value for name, value in state.items() if name == "memory"}
    return {**tf.nest.map_structure(lambda rows: tf.repeat(rows, times, axis=0), state), **shared}

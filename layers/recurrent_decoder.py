"""Recurrent layers one above the other that decode a sequence, with or without attention.

At time step t they read e(t), the embedding of the previous token, and give h(t), the output of the last layer. With
attention, c(t) is the context, a weighted mean of what is attended to (see `layers/attention.py`):

    without attention                               h(t) = layers(e(t), h(t-1))
    with a fixed context c (Cho et al. 2014)        h(t) = layers([e(t), c], h(t-1))
    behind the recurrence (Luong et al. 2015)       h(t) = layers(e(t), h(t-1)),           c(t) = attention(h(t))
    inside the recurrence (Bahdanau et al. 2015)    h(t) = layers([e(t), c(t-1)], h(t-1)), c(t) = attention(h(t))

Inside the recurrence, c(0) = attention(h(0)). The input feeding of Luong et al. feeds back tanh(W [h, c]) instead of c.

The same cells run in two ways: `decode` reads the embeddings of a whole sequence (training, with teacher forcing);
`advance` reads those of one time step (decoding).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from layers.attention import Memory
from layers.bptt import dropped
from layers.unfold import unfold


class Decoded(NamedTuple):
    """What `RecurrentDecoder.decode` returns.

    Attributes:
        h: float[batch, time, units], the outputs of the last layer.
        context: float[batch, time, units], that of each time step; None without one.
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

    * `layers`, for each layer [h, c] or (vanilla RNN) [h], float[batch, units];
    * `context`, float[batch, units], with a fixed context or with attention inside the recurrence: what the first layer
      reads at the next time step, beside the embedding;
    * `memory`, with attention: the `layers.attention.Memory` that is attended to.

    Args:
        layers: `LSTM`s or `VanillaRNN`s that return sequences and states.
        dropouts: The `keras.layers.Dropout` behind each layer.
        residual: Add a layer's input to its output, from the second layer on (He et al. 2016; Wu et al. 2016).
        attend: Function (h, memory) -> (context, alignment) for the outputs h of the last layer at one time step or at
            all, such as an `Attention`. None: no attention.
        attention_input: Attention inside the recurrence.
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
        self.layers, self.dropouts, self.residual = layers, dropouts, residual
        self.attend, self.attention_input = attend, attention_input

    def with_memory(self, state: dict, memory: Memory) -> dict:
        """Returns the state that the decoder starts from, which has `layers`, with what it attends to."""
        if self.attend is None or not self.attention_input:
            return {**state, "memory": memory}
        context, _ = self.attend(state["layers"][-1][0], memory)
        return {**state, "memory": memory, "context": context}

    def decode(self, embeddings, state: dict, training=False) -> Decoded:
        """Runs over a whole sequence: float[batch, time, embedding units], from the state before its first step."""
        if self.attention_input:
            h, context, alignment = self._in_steps(embeddings, state, training)
            read = tf.concat([state["context"][:, tf.newaxis], context[:, :-1]], axis=1)
            return Decoded(h, context, tf.concat([embeddings, read], axis=-1), alignment)
        inputs, context, alignment = embeddings, state.get("context"), None
        if context is not None:
            context = tf.repeat(context[:, tf.newaxis], tf.shape(embeddings)[1], axis=1)
            inputs = tf.concat([embeddings, context], axis=-1)
        h = inputs
        for number, (layer, dropout) in enumerate(zip(self.layers, self.dropouts, strict=True)):
            y, *_ = layer(h, initial_state=state["layers"][number], training=training)
            h = self._join(number, dropout(y, training=training), h)
        if self.attend:
            context, alignment = self.attend(h, state["memory"])
        return Decoded(h, context, inputs, alignment)

    def _join(self, number, y, x):
        """Returns the output of a layer: y and, on a residual path, its input x."""
        return y + x if self.residual and number else y

    def _in_steps(self, embeddings, state, training):
        """Runs `advance` over time. The dropout between the layers is the same at every time step of a sequence.

        Returns:
            h and the contexts, float[batch, time, units], and the alignment, float[batch, time, source].
        """
        masks = self._dropout_masks(state) if training else None

        def step(carried, inputs):
            (e,), (context, *layers) = inputs, carried
            layers = tf.nest.pack_sequence_as(state["layers"], layers)
            h, context, alignment, new = self.advance(e, {**state, "context": context, "layers": layers}, masks)
            return (context, *tf.nest.flatten(new["layers"])), (h, context, alignment)

        context, mask = state["context"], state["memory"].mask
        widths = (state["layers"][-1][0].shape[-1], context.shape[-1], mask.shape[-1])
        first = (context, *tf.nest.flatten(state["layers"]))
        outputs, _ = unfold(step, (tf.transpose(embeddings, [1, 0, 2]),), first, widths)
        return tuple(tf.transpose(output, [1, 0, 2]) for output in outputs)

    def _dropout_masks(self, state):
        """Returns, for each layer, the dropout masks of the state it reads and of its outputs, or None."""
        masks = []
        for layer, dropout, (h, *_) in zip(self.layers, self.dropouts, state["layers"], strict=True):
            _, of_state = layer.dropout_masks(None, h, training=True)
            ones = tf.ones_like(h)[:, tf.newaxis]  # with an axis of time, which the dropout of a sequence may name
            masks.append((of_state, dropout(ones, training=True)[:, 0] if dropout.rate else None))
        return masks

    def advance(self, embeddings, state: dict, masks=None):
        """Runs for one time step.

        Args:
            embeddings: float[batch, embedding units].
            state: That of the step before.
            masks: Dropout masks, in training.

        Returns:
            h(t), float[batch, units]; the context, float[batch, units], or None; the alignment, float[batch, source],
            or None; the new state.
        """
        context, alignment = state.get("context"), None
        h = embeddings if context is None else tf.concat([embeddings, context], axis=-1)
        states = []
        for number, layer in enumerate(self.layers):
            of_state, of_outputs = masks[number] if masks else (None, None)
            h_before, *others = state["layers"][number]
            # In training, the cell would draw dropout masks of its own, new ones at every step.
            y, new_state = layer.cell(h, [dropped(h_before, of_state), *others], training=False)
            h = self._join(number, dropped(y, of_outputs), h)
            states.append(list(new_state))
        state = {**state, "layers": states}
        if self.attend:
            context, alignment = self.attend(h, state["memory"])
        if self.attention_input:
            state["context"] = context
        return h, context, alignment, state

"""Attention over the outputs of an encoder: at every step the decoder reads a weighted mean of them, the context.

For the decoder's output h(t), the query, and the encoder's outputs m(1) … m(S), the memory (Bahdanau et al. 2015,
"Neural machine translation by jointly learning to align and translate"; Luong et al. 2015, "Effective approaches to
attention-based neural machine translation"):

    score(t, s) = h(t) . m(s)                          dot (Luong)
                = h(t) . (W_m m(s))                    general (Luong)
                = v . tanh(W_h h(t) + W_m m(s))        additive (Bahdanau)
    alpha(t, s) = exp(score(t, s)) / sum over s' of exp(score(t, s'))
    c(t)        = sum over s of alpha(t, s) m(s)

alpha(t) is the alignment of step t; padding has the weight zero, and a memory without any valid step gives zeros. The
part of a score that does not depend on the step, k(s) = W_m m(s), the key, is computed once by `Attention.memory`.

A decoder uses the layer in two ways (see `layers/recurrent_decoder.py`): with the queries of all steps at once, behind
the recurrent layers, or with one query at a time, where the next step reads the context.
"""

from typing import NamedTuple

import keras
import tensorflow as tf

SCORES = ("dot", "general", "additive")


class Memory(NamedTuple):
    """Outputs of an encoder, with their keys. Each tensor has a row for each sequence, as a decoding state needs it.

    Attributes:
        values: float[batch, source, units], m of the equations.
        keys: float[batch, source, width], k of the equations; the values themselves with the dot score.
        mask: bool[batch, source], False where the values are padding.
    """

    values: tf.Tensor
    keys: tf.Tensor
    mask: tf.Tensor


class Attention(keras.layers.Layer):
    """Additive or multiplicative attention: the equations at the top of this file.

    The softmax is computed in float32 where the layer, and so the scores, have half precision. The additive score of
    all steps at once needs a tensor float[batch, steps, source, units]. The layer has no `get_config`: the model that
    contains it creates it in its constructor.

    Args:
        score: "dot", "general" or "additive".
        units: the width of the keys: with the general score that of the query; not used with dot.
        initializer: function that returns a new initializer for each of W_m, W_h and v.

    Call arguments:
        query: float[batch, units], the query of one step, or float[batch, steps, units], those of all steps.
        memory: what `memory` returned. It may have fewer rows than the query: several queries that follow each other
            then share one, as the captions of an image do.

    Returns:
        The context, float[batch, value units] or float[batch, steps, value units], and the weights alpha,
        float[batch, source] or float[batch, steps, source].

    Raises:
        ValueError: an unknown score; or, with a multiplicative one, a query and keys of different widths.
    """

    def __init__(self, score: str, units: int, *, initializer=keras.initializers.GlorotUniform, **kwargs):
        super().__init__(**kwargs)
        if score not in SCORES:
            raise ValueError(f"score is {score!r}, expected one of {', '.join(SCORES)}")
        self.score = score

        def linear(width, name):
            kernel = initializer()
            return keras.layers.Dense(
                width, use_bias=False, kernel_initializer=kernel, dtype=self.dtype_policy, name=name
            )

        if score != "dot":
            self.W_m = linear(units, "W_m")
        if score == "additive":
            self.W_h = linear(units, "W_h")
            self.v = linear(1, "v")

    def memory(self, values, mask) -> Memory:
        """Returns the memory with its keys, which do not depend on the query.

        Args:
            values: float[batch, source, value units], the outputs of the encoder.
            mask: bool[batch, source], False where they are padding.
        """
        values = tf.cast(values, self.compute_dtype)
        return Memory(values, values if self.score == "dot" else apply_rows(self.W_m, values), mask)

    def call(self, query, memory):
        leading, rows = tf.shape(query)[:-1], tf.shape(memory.values)[0]
        steps = tf.reduce_prod(leading) // tf.maximum(rows, 1)
        h = tf.reshape(query, [rows, steps, query.shape[-1]])
        if self.score == "additive":
            sums = apply_rows(self.W_h, h)[:, :, tf.newaxis] + memory.keys[:, tf.newaxis]
            scores = apply_rows(self.v, tf.tanh(sums))[..., 0]  # from [batch, steps, source, units]
        else:
            if h.shape[-1] != memory.keys.shape[-1]:
                raise ValueError(
                    f"the {self.score} score needs a query as wide as the keys, but they have {h.shape[-1]} and"
                    f" {memory.keys.shape[-1]} units"
                )
            scores = tf.matmul(h, memory.keys, transpose_b=True)  # [batch, steps, source]
        alpha = masked_softmax(scores, memory.mask[:, tf.newaxis])
        context = tf.matmul(alpha, memory.values)
        return tuple(
            tf.reshape(result, tf.concat([leading, [width]], axis=0))
            for result, width in ((context, memory.values.shape[-1]), (alpha, tf.shape(alpha)[-1]))
        )


def apply_rows(dense, x):
    """Returns the outputs of a Dense layer for the last axis of x, by one product of matrices: for more than two axes
    its own gradient does not compile under XLA in a loop when sizes are unknown."""
    rows = dense(tf.reshape(x, [-1, x.shape[-1]]))
    return tf.reshape(rows, tf.concat([tf.shape(x)[:-1], [rows.shape[-1]]], axis=0))


def masked_softmax(scores, mask=None):
    """Returns the softmax over the last axis where the mask is True, and zero elsewhere and where nothing is True.

    Args:
        scores: float[..., source].
        mask: bool, broadcast to the shape of the scores; None: all True.
    """
    if mask is None:
        mask = tf.ones_like(scores, tf.bool)
    exact = scores if scores.dtype == tf.float64 else tf.cast(scores, tf.float32)
    weights = tf.nn.softmax(tf.where(mask, exact, exact.dtype.min))
    return tf.cast(tf.where(mask, weights, tf.zeros_like(weights)), scores.dtype)

"""Calibration by the length of a text, as layers: a short text says less than a whole review.

    n = number of known words,  p = softmax(s(n) z + b(n))

The scale s and the biases b of the labels are given at a few lengths, KNOTS, and interpolated linearly over log n
between them; above the last knot they are constant. A text without a known word has s = b = 0, so that all labels have
the same probability.
"""

import math

import keras
import numpy as np

from layers.text import PADDING, UNKNOWN

KNOTS = (1, 16, 256)  # words: a word, a sentence, a review


def knot_weights(known):
    """Returns the weights of the knots at a length, float32[batch, knots], for float[batch]: their sum is 1, or 0 for
    a text without a known word."""
    known = keras.ops.cast(known, "float32")[:, None]
    spacing = math.log(KNOTS[1] / KNOTS[0])  # the same between all of them
    place = keras.ops.log(keras.ops.clip(known, KNOTS[0], KNOTS[-1])) / spacing
    weights = keras.ops.relu(1 - keras.ops.abs(place - np.arange(len(KNOTS), dtype=np.float32)))
    return keras.ops.where(known > 0, weights, keras.ops.zeros_like(weights))


@keras.saving.register_keras_serializable(package="unfold")
class KnownWords(keras.layers.Layer):
    """Counts the known words of texts: int32[batch, time] -> float32[batch]."""

    def __init__(self, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})  # half precision would round the counts

    def call(self, ids):
        return keras.ops.sum(keras.ops.cast((ids != PADDING) & (ids != UNKNOWN), "float32"), axis=1)

    def compute_output_spec(self, ids):
        return keras.KerasTensor(ids.shape[:1], dtype="float32")


@keras.saving.register_keras_serializable(package="unfold")
class LengthCalibration(keras.layers.Layer):
    """Scales logits and adds biases, by the number of known words: float32[batch, classes], float32[batch] ->
    float32[batch, classes].

    Its weights, `scale` float32[knots] and `bias` float32[knots, classes], are not trained but set after training. They
    begin with ones and zeros, which change the logits only of a text without a known word.
    """

    def __init__(self, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})

    def build(self, logits_shape, known_shape=None):
        knots = len(KNOTS)
        self.scale = self.add_weight(shape=(knots,), initializer="ones", trainable=False, name="scale")
        self.bias = self.add_weight(shape=(knots, logits_shape[-1]), initializer="zeros", trainable=False, name="bias")

    def call(self, logits, known):
        weights = knot_weights(known)
        scale, bias = keras.ops.matmul(weights, self.scale[:, None]), keras.ops.matmul(weights, self.bias)
        return scale * logits + bias

    def compute_output_shape(self, logits_shape, known_shape=None):
        return logits_shape

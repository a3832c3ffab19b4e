"""The exponential moving average of the weights (--ema), which is validated and kept in place of the weights."""

import contextlib
from collections.abc import Sequence

import keras
import tensorflow as tf


def update(averages: Sequence[tf.Variable], weights: Sequence[keras.Variable], decay: float, updates):
    """Assigns a <- d a + (1 - d) w for each average a and weight w, with d = min(decay, (1 + t) / (10 + t)).

    The smaller d of the first updates makes the average forget the initial weights.

    Args:
        updates: t, the number of updates of the weights so far, a tensor.
    """
    t = tf.cast(updates, tf.float32)
    d = tf.minimum(decay, (1 + t) / (10 + t))
    for average, weight in zip(averages, weights, strict=True):
        average.assign_add(tf.cast(1 - d, average.dtype) * (tf.convert_to_tensor(weight.value) - average))


@contextlib.contextmanager
def in_place_of(weights: Sequence[keras.Variable], averages: Sequence[tf.Variable]):
    """Context in which the weights have the values of the averages, if there are any."""
    if not averages:
        yield
        return
    current = [weight.numpy() for weight in weights]
    try:
        for weight, average in zip(weights, averages, strict=True):
            weight.assign(average.numpy())
        yield
    finally:
        for weight, value in zip(weights, current, strict=True):
            weight.assign(value)

"""Decoding with several models at once: a step function that averages their probabilities."""

from collections.abc import Callable, Sequence

import tensorflow as tf


def ensemble(steps: Sequence[Callable]) -> Callable:
    """Returns a step for `layers/decoding.py` that averages the probabilities of several models.

    (Sutskever et al. 2014 average five.)

    Args:
        steps: the steps of the models, which share one vocabulary.

    Returns:
        A step whose state is the tuple of the models' states, and whose logits are the logarithms of the mean
        probabilities.
    """

    def step(token_ids, state):
        results = [member(token_ids, member_state) for member, member_state in zip(steps, state, strict=True)]
        probabilities = [tf.nn.softmax(tf.cast(logits, tf.float32)) for logits, _ in results]
        return tf.math.log(tf.add_n(probabilities) / len(steps)), tuple(state for _, state in results)

    return step

"""What the loading of all pipelines shares: tf.data that does not tune itself, and texts in batches."""

import os

import tensorflow as tf

TEXTS_AT_ONCE = 1024
CORES = os.cpu_count() or 1

# For the functions that a dataset maps: they have no Python loop or choice over tensors, so that AutoGraph, which takes
# a second to look through what they call, has nothing to convert.
as_written = tf.autograph.experimental.do_not_convert


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The dataset, and what is made of it, without tf.data's tuning of parallelism while it runs.

    The thread that tunes sleeps ever longer, up to a minute, and in TensorFlow 2.21 the end of an iterator fails to
    wake it every second or third time: an epoch of ten seconds then took thirty.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def text_batches(texts: list[str]) -> tf.data.Dataset:
    """The texts, string[batch]."""
    return untuned(tf.data.Dataset.from_tensor_slices(tf.constant(texts, tf.string))).batch(TEXTS_AT_ONCE)

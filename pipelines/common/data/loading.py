"""Loading with tf.data, as all pipelines do it: without autotuning and AutoGraph; texts in batches."""

import os

import tensorflow as tf

TEXTS_AT_ONCE = 1024
CORES = os.cpu_count() or 1

# For the functions that a dataset maps. They have no Python loop or condition over tensors, so there is nothing for
# AutoGraph to convert, but it takes a second to look through what they call.
without_autograph = tf.autograph.experimental.do_not_convert


def without_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the dataset with tf.data's tuning of parallelism turned off, for all that is made of it as well.

    The thread that tunes sleeps for up to a minute, and in TensorFlow 2.21 the end of an iterator fails to wake it
    every second or third time: an epoch of ten seconds then takes thirty.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def text_batches(texts: list[str]) -> tf.data.Dataset:
    """Returns a dataset of the texts, string[batch] an element."""
    return without_autotune(tf.data.Dataset.from_tensor_slices(tf.constant(texts, tf.string))).batch(TEXTS_AT_ONCE)

"""The rows of a batch in the gradient of an embedding."""

import numpy as np
import tensorflow as tf

from pipelines.common.training import replicas


def test_a_large_embedding_has_each_row_of_the_batch_once(monkeypatch):
    monkeypatch.setattr(replicas, "SPARSE_FROM", 6)
    weight, ids = tf.Variable(tf.ones([6, 2])), tf.constant([[3, 1], [3, 3]])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.gather(weight, ids) * tf.reshape(tf.range(8.0), [2, 2, 2]))
    gradient = tape.gradient(total, weight)
    found = replicas.sparse(gradient, weight)
    np.testing.assert_array_equal(found.indices, [3, 1])
    np.testing.assert_array_equal(found.values, [[0 + 4 + 6, 1 + 5 + 7], [2, 3]])
    np.testing.assert_array_equal(tf.convert_to_tensor(found), tf.convert_to_tensor(gradient))


def test_a_small_embedding_and_other_weights_are_dense():
    for weight in (tf.Variable(tf.ones([6, 2])), tf.Variable(tf.ones([replicas.SPARSE_FROM, 2]))):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(tf.gather(weight, [3, 3])) if weight.shape[0] == 6 else tf.reduce_sum(weight)
        gradient = tape.gradient(total, weight)
        found = replicas.sparse(gradient, weight)
        assert isinstance(found, tf.Tensor)
        np.testing.assert_array_equal(found, tf.convert_to_tensor(gradient))

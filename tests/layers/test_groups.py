"""Units in groups: which columns are whose."""

import numpy as np
import pytest
import tensorflow as tf

from layers.groups import grouped, join, small, transposed


def test_small_ends_at_a_million_weights():
    assert small(512, 4) and not small(513, 4)
    assert small(1024, 1) and not small(1025, 1)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
def test_each_group_has_its_columns_of_every_gate(lead):
    weights = np.random.default_rng(0).normal(size=[*lead, 4 * 6])
    first, second = grouped(tf.constant(weights), 4, 2)
    by_gate = weights.reshape([*lead, 4, 6])
    np.testing.assert_array_equal(first, by_gate[..., :3].reshape([*lead, 12]))
    np.testing.assert_array_equal(second, by_gate[..., 3:].reshape([*lead, 12]))
    assert grouped(weights, 4, 1)[0] is weights


def test_groups_joined_are_all_units():
    weights = tf.constant(np.random.default_rng(0).normal(size=[3, 6]))
    np.testing.assert_array_equal(join(grouped(weights, 1, 2)), weights)
    assert join([weights]) is weights


@pytest.mark.parametrize("count", [1, 2])
def test_transposed_takes_errors_back(count):
    random = np.random.default_rng(0)
    W_hh, errors = tf.constant(random.normal(size=[6, 4 * 6])), tf.constant(random.normal(size=[5, 4 * 6]))
    back = [tf.matmul(join(grouped(errors, 4, count)), columns) for columns in transposed(grouped(W_hh, 4, count))]
    np.testing.assert_allclose(join(back), errors @ tf.transpose(W_hh), atol=1e-12)

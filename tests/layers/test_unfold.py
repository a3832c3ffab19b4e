import numpy as np
import pytest
import tensorflow as tf

from layers.unfold import unfold


def running_sums(x, y=None, **options):
    """The sums of all x so far, minus those of y: (float[time, batch, 1],), (float[batch, 1],)."""

    def step(state, inputs):
        (total,), (x_t, y_t) = state, inputs
        total = total + x_t - (0 if y_t is None else y_t)
        return (total,), (total, tf.concat([total, x_t], axis=1))

    return unfold(step, (x, y), (tf.zeros_like(x[0]),), (1, 2), **options)


@pytest.mark.parametrize("mode", ["eager", "graph", "XLA"])
@pytest.mark.parametrize("options", [{}, {"differentiable": False}, {"unroll": True}])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("with_y", [False, True])
def test_unfold_keeps_order_and_nones(mode, options, reverse, with_y):
    random = np.random.default_rng(0)
    x, y = random.normal(size=[2, 5, 3, 1])

    def run():
        return running_sums(tf.constant(x), tf.constant(y) if with_y else None, reverse=reverse, **options)

    (sums, both), (last,) = run() if mode == "eager" else tf.function(run, jit_compile=mode == "XLA")()
    difference = x - y * with_y
    expected = difference[::-1].cumsum(axis=0)[::-1] if reverse else difference.cumsum(axis=0)
    np.testing.assert_allclose(sums, expected, atol=1e-12)
    np.testing.assert_allclose(both, np.concatenate([expected, x], axis=-1), atol=1e-12)
    np.testing.assert_allclose(last, expected[0 if reverse else -1], atol=1e-12)


@pytest.mark.parametrize("differentiable", [False, True])
def test_unfold_with_an_unknown_number_of_steps(differentiable):
    @tf.function(input_signature=[tf.TensorSpec([None, None, 1])])
    def run(x):
        outputs, last = running_sums(x, differentiable=differentiable)
        assert outputs[1].shape.as_list() == [None, None, 2]
        return outputs[0], last

    for steps in (1, 4):
        (sums, (last,)) = run(tf.ones([steps, 2, 1]))
        np.testing.assert_array_equal(sums[:, 0, 0], np.arange(1, steps + 1))
        np.testing.assert_array_equal(last, [[steps], [steps]])


def test_unfold_cannot_unroll_an_unknown_number_of_steps():
    @tf.function(input_signature=[tf.TensorSpec([None, 2, 1])])
    def run(x):
        return running_sums(x, unroll=True)

    with pytest.raises(ValueError, match="Cannot unroll over an unknown number of steps"):
        run(tf.ones([3, 2, 1]))

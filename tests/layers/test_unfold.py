import functools

import numpy as np
import pytest
import tensorflow as tf

from layers.unfold import unfold, unfold_halves


def running_sums(x, y=None, **options):
    """The sums of all x so far, less those of y: (float[time, batch, 1],), (float[batch, 1],)."""

    def step(state, inputs):
        (total,), (x_t, y_t) = state, inputs
        total = total + x_t - (0 if y_t is None else y_t)
        return (total,), (total, tf.concat([total, x_t], axis=1))

    return unfold(step, (x, y), (tf.zeros_like(x[0]),), (1, 2), **options)


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("with_y", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("mode", ["eager", "graph", "XLA"])
@pytest.mark.parametrize("differentiable", [False, True])
def test_unfold_keeps_order_and_nones(unroll, with_y, reverse, mode, differentiable):
    random = np.random.default_rng(0)
    x, y = random.normal(size=[2, 5, 3, 1])

    def run():
        options = {"reverse": reverse, "unroll": unroll, "differentiable": differentiable}
        return running_sums(tf.constant(x), tf.constant(y) if with_y else None, **options)

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


@pytest.mark.parametrize(("unroll", "reverse"), [(False, False), (False, True), (True, True)])
@pytest.mark.parametrize("mode", ["eager", "graph", "XLA", "unknown time", "unknown time, XLA"])
@pytest.mark.parametrize(("unfold_", "batch"), [(unfold, 5), (unfold_halves, 2), (unfold_halves, 5)])
def test_a_first_step_of_its_own_and_halves(unroll, reverse, mode, unfold_, batch):
    """Two states, of a different width; the first step takes its x for ten times as much."""
    random = np.random.default_rng(0)
    given = random.normal(size=[4, batch, 2]), random.random([4, batch, 1]) < 0.5, *random.normal(size=[2, batch, 2])
    rows = []

    def step(state, inputs, times=1):
        (total, counted), (x_t, nothing, valid) = state, inputs
        assert nothing is None
        rows.append(x_t.shape[0])
        total, counted = total + times * x_t, tf.where(valid, counted + 1, counted)
        return (total, counted), (total, counted[:, :1])

    def run(x, valid, total, counted):
        first_step = functools.partial(step, times=10)
        return unfold_(
            step,
            (x, None, valid),
            (total, counted[:, :1]),
            (2, 1),
            first_step=first_step,
            reverse=reverse,
            unroll=unroll,
        )

    if mode != "eager":
        lead = {3: [4 if unroll else None, batch], 2: [batch]}
        unknown = [tf.TensorSpec([*lead[value.ndim], value.shape[-1]], value.dtype) for value in given]
        run = tf.function(run, input_signature=unknown if "unknown" in mode else None, jit_compile="XLA" in mode)
    (totals, counts), (last_total, last_count) = run(*map(tf.constant, given))

    x, valid, total, counted = given
    order = slice(None, None, -1 if reverse else 1)
    weighted = x[order] * np.array([10, 1, 1, 1])[:, None, None]
    np.testing.assert_allclose(totals[order], total + weighted.cumsum(axis=0), atol=1e-12)
    np.testing.assert_allclose(counts[order], counted[:, :1] + valid[order].cumsum(axis=0), atol=1e-12)
    np.testing.assert_array_equal(last_total, totals[order][-1])
    np.testing.assert_array_equal(last_count, counts[order][-1])
    assert set(rows) == ({batch // 2, batch - batch // 2} if unfold_ is unfold_halves else {batch})


def test_unfold_cannot_unroll_an_unknown_number_of_steps():
    @tf.function(input_signature=[tf.TensorSpec([None, 2, 1])])
    def run(x):
        return running_sums(x, unroll=True)

    with pytest.raises(ValueError, match="Cannot unroll over an unknown number of steps"):
        run(tf.ones([3, 2, 1]))

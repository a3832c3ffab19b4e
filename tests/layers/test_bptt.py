import functools

import numpy as np
import pytest
import tensorflow as tf

from layers.bptt import previous, scale_g, select, unfold_lstm, unfold_rnn, weight_gradient
from layers.groups import grouped
from tests.layers.oracles import error, errors


def test_previous_select_and_weight_gradient():
    random = np.random.default_rng(0)
    first, sequence, other = random.normal(size=[2, 3]), random.normal(size=[4, 2, 3]), random.normal(size=[4, 2, 5])
    np.testing.assert_array_equal(previous(tf.constant(first), sequence), [first, *sequence[:-1]])
    wanted = sum(np.outer(sequence[t, row], other[t, row]) for t in range(4) for row in range(2))
    np.testing.assert_allclose(weight_gradient(tf.constant(sequence), tf.constant(other)), wanted, atol=1e-12)
    mask = random.random(size=[4, 2, 1]) < 0.5
    np.testing.assert_array_equal(select(mask, sequence, -sequence), np.where(mask, sequence, -sequence))
    assert select(None, sequence, None) is sequence


# The same recurrence with the hand-derived gradient and, its activations given by name, by automatic differentiation.


def arguments(columns, states, *, time=6, batch=4, units=3, seed=0):
    random = np.random.default_rng(seed)
    shapes = [[time, batch, columns * units], *[[batch, units]] * states, [units, columns * units]]
    given = [tf.constant(random.normal(size=shape)) for shape in shapes]
    mask = tf.constant(random.random(size=[time, batch, 1]) < 0.6)
    dropped = tf.constant(random.choice([0.0, 2.0], size=[batch, units]))
    return given, mask, dropped


def value_and_gradients(function, given):
    with tf.GradientTape() as tape:
        tape.watch(given)
        result = tf.nest.flatten(function(*given))
        loss = sum(tf.reduce_sum(tf.cos(tf.cast(value, tf.float64) * (n + 1))) for n, value in enumerate(result))
    return [*result, *tape.gradient(loss, given, unconnected_gradients="zero")]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("with_dropped", [False, True])
@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_rnn_by_hand_is_autodiff(masked, with_dropped, unroll, count):
    given, mask, dropped = arguments(1, 1, units=4)

    def run(z, h0, W_hh, activation, count):
        return unfold_rnn(
            grouped(z, 1, count),
            mask if masked else None,
            h0,
            grouped(W_hh, 1, count),
            dropped if with_dropped else None,
            activation=activation,
            unroll=unroll,
        )

    found = value_and_gradients(lambda *given: run(*given, None, count), given)
    assert errors(found, value_and_gradients(lambda *given: run(*given, tf.tanh, 1), given)) < 1e-12


def lstm_by_hand(z, mask, h0, c0, W_hh, *dropped, g_doubled, count=1, **options):
    """unfold_lstm as the layer calls it, from weights that are neither doubled nor in groups."""
    if g_doubled:
        z, W_hh = scale_g(z, 2), scale_g(W_hh, 2)
    z, W_hh = grouped(z, 4, count), grouped(W_hh, 4, count)
    return unfold_lstm(z, mask, h0, c0, W_hh, *dropped, g_doubled=g_doubled, **options)


def lstm_by_autodiff(z, mask, h0, c0, W_hh, *dropped, **options):
    return unfold_lstm([z], mask, h0, c0, [W_hh], *dropped, activations=(tf.tanh, tf.sigmoid), **options)


@pytest.mark.parametrize("columns", [1, 4])
@pytest.mark.parametrize("with_dropped", [False, True])
@pytest.mark.parametrize("by_hand", [True, False])
@pytest.mark.parametrize("time", [1, 6])
@pytest.mark.parametrize("count", [1, 2])
def test_halves_and_a_start_from_zero_change_nothing(columns, with_dropped, by_hand, time, count):
    """In halves two rows of five, and three; from zero without the first product."""
    given, mask, dropped = arguments(columns, 1 if columns == 1 else 2, time=time, batch=5, units=4)
    given[1] = tf.zeros_like(given[1])

    def run(z, *rest, **options):
        *states, W_hh = rest
        z, W_hh = grouped(z, columns, count), grouped(W_hh, columns, count)
        dropped_h = dropped if with_dropped else None
        if columns == 1:
            return unfold_rnn(z, mask, *states, W_hh, dropped_h, activation=None if by_hand else tf.tanh, **options)
        activations = None if by_hand else (tf.tanh, tf.sigmoid)
        return unfold_lstm(z, mask, *states, W_hh, dropped_h, activations=activations, with_cells=True, **options)

    wanted = value_and_gradients(run, given)
    for halves in (False,) if with_dropped else (False, True):
        found = value_and_gradients(functools.partial(run, from_zero=True, halves=halves), given)
        # The gradient of the h(0) that is known to be zero is not asked for: no product of the first step tells it.
        for n, (a, b) in enumerate(zip(found, wanted, strict=True)):
            if by_hand or n != len(wanted) - len(given) + 1:
                assert error(a, b) < 1e-12


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("with_dropped", [False, True])
@pytest.mark.parametrize("options", [{"with_cells": a, "unroll": b} for a in (False, True) for b in (False, True)])
@pytest.mark.parametrize("g_doubled", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_lstm_by_hand_is_autodiff(masked, with_dropped, options, g_doubled, count):
    given, mask, dropped = arguments(4, 2, units=4)
    mask, dropped = mask if masked else None, dropped if with_dropped else None

    def by_hand(z, *rest):
        return lstm_by_hand(z, mask, *rest, dropped, g_doubled=g_doubled, count=count, **options)

    def autodiff(z, *rest):
        return lstm_by_autodiff(z, mask, *rest, dropped, **options)

    assert errors(value_and_gradients(by_hand, given), value_and_gradients(autodiff, given)) < 1e-12


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("float16", 1e-2), ("bfloat16", 1e-1)])
@pytest.mark.parametrize("columns", [1, 4])
@pytest.mark.parametrize("count", [1, 2])
def test_gradients_in_few_digits_are_near(dtype, bound, columns, count):
    """16 bits take a gate arithmetic of their own."""
    given, mask, _ = arguments(columns, 2 if columns == 4 else 1, units=4, seed=1)

    def run(z, *rest):
        if columns == 1:
            h0, W_hh = rest
            return unfold_rnn(grouped(z, 1, count), mask, h0, grouped(W_hh, 1, count))
        return lstm_by_hand(z, mask, *rest, g_doubled=z.dtype.size > 2, count=count)

    found = value_and_gradients(run, [tf.cast(value, dtype) for value in given])
    assert {value.dtype for value in found} == {tf.as_dtype(dtype)}
    worst = [error(tf.cast(a, tf.float64), b) for a, b in zip(found, value_and_gradients(run, given), strict=True)]
    assert max(worst) < bound


@pytest.mark.parametrize("g_doubled", [False, True])
def test_saturated_gates_give_finite_gradients(g_doubled):
    given, mask, _ = arguments(4, 2, units=4)
    given[0] = given[0] * 1e4
    by_hand = functools.partial(lstm_by_hand, g_doubled=g_doubled, count=2)
    for value in value_and_gradients(lambda z, *rest: by_hand(z, mask, *rest), given):
        assert np.isfinite(value).all()


@pytest.mark.parametrize("g_doubled", [False, True])
def test_the_gradient_of_a_long_sequence_is_the_autodiff_one(g_doubled):
    given, mask, _ = arguments(4, 2, time=100, batch=2, units=2)
    found = value_and_gradients(lambda z, *rest: lstm_by_hand(z, mask, *rest, g_doubled=g_doubled), given)
    wanted = value_and_gradients(lambda z, *rest: lstm_by_autodiff(z, mask, *rest), given)
    assert errors(found, wanted) < 1e-10

"""The pure functions of `lstm.py` and `rnn.py` one by one, then `bptt` over time, against automatic differentiation."""

import numpy as np
import pytest
import tensorflow as tf

from layers import lstm, rnn
from layers.bptt import apply_dropout, bptt, previous, select, weight_gradient, with_masks
from layers.unfold import unfold
from tests.layers.oracles import error, errors, sigmoid

MODULES = {"lstm": lstm, "rnn": rnn}
RECURRENCES = {"lstm": lstm.LSTM.recurrence, "rnn": rnn.VanillaRNN.recurrence}
both_kinds = pytest.mark.parametrize("kind", list(MODULES))


def arguments(kind, *, time=6, batch=4, units=3, seed=0):
    """a, W_h, the state, a mask and a dropout mask, in float64."""
    random = np.random.default_rng(seed)
    columns, states = (4, 2) if kind == "lstm" else (1, 1)
    a, W_h = random.normal(size=[time, batch, columns * units]), random.normal(size=[units, columns * units])
    state = [tf.constant(random.normal(size=[batch, units])) for _ in range(states)]
    mask = tf.constant(random.random(size=[time, batch, 1]) < 0.6)
    dropout_mask = tf.constant(random.choice([0.0, 2.0], size=[batch, units]))
    return tf.constant(a), tf.constant(W_h), state, mask, dropout_mask


def value_and_gradients(function, given):
    with tf.GradientTape() as tape:
        tape.watch(given)
        result = tf.nest.flatten(function(*given))
        loss = sum(tf.reduce_sum(tf.cos(tf.cast(value, tf.float64) * (n + 1))) for n, value in enumerate(result))
    return [*result, *tape.gradient(loss, given, unconnected_gradients="zero")]


# One step -------------------------------------------------------------------------------------------------------------


def test_lstm_step_is_the_equations():
    a, W_h, (h, c), _, _ = arguments("lstm")
    (found_h, found_c), (i, f, g, o) = lstm.step(a[0], (h, c), W_h)
    z_i, z_f, z_g, z_o = np.split(a[0].numpy() + h.numpy() @ W_h.numpy(), 4, axis=1)
    assert errors([i, f, g, o], [sigmoid(z_i), sigmoid(z_f), np.tanh(z_g), sigmoid(z_o)]) < 1e-12
    wanted = sigmoid(z_f) * c.numpy() + sigmoid(z_i) * np.tanh(z_g)
    assert errors([found_c, found_h], [wanted, sigmoid(z_o) * np.tanh(wanted)]) < 1e-12


def test_rnn_step_is_the_equation():
    a, W_hh, (h,), _, _ = arguments("rnn")
    (found,), gates = rnn.step(a[0], (h,), W_hh)
    assert error(found, np.tanh(a[0].numpy() + h.numpy() @ W_hh.numpy())) < 1e-12 and gates == ()


@both_kinds
def test_bias_may_be_added_by_step_or_before(kind):
    a, W_h, state, _, _ = arguments(kind)
    step, b = MODULES[kind].step, tf.constant(np.linspace(-2, 2, W_h.shape[1]))
    assert errors(tf.nest.flatten(step(a[0], state, W_h, b)), tf.nest.flatten(step(a[0] + b, state, W_h))) < 1e-12


@both_kinds
def test_local_gradients_and_backward_step_are_the_gradient_of_step(kind):
    a, W_h, state, _, _ = arguments(kind)
    module, a_t = MODULES[kind], a[0]
    random = np.random.default_rng(1)
    d_state = [tf.constant(random.normal(size=value.shape)) for value in state]
    with tf.GradientTape() as tape:
        tape.watch([a_t, W_h, *state])
        new, gates = module.step(a_t, state, W_h)
        new = list(new)
    wanted = tape.gradient(new, [a_t, W_h, *state], output_gradients=d_state)
    local = module.local_gradients(gates, new, state)
    d_previous, dz = module.backward_step(d_state, local, tf.transpose(W_h))
    assert errors([dz, tf.matmul(state[0], dz, transpose_a=True), *d_previous], wanted) < 1e-12


@both_kinds
def test_local_gradients_of_all_steps_at_once_are_those_of_each(kind):
    module, random = MODULES[kind], np.random.default_rng(0)
    count = RECURRENCES[kind].gate_count
    gates, states, before = (random.random([n, 6, 4, 3]) for n in (count, len(arguments(kind)[2]), 2))
    before = before[: len(states)]
    at_once = module.local_gradients(gates, states, before)
    each = [module.local_gradients(gates[:, t], states[:, t], before[:, t]) for t in range(6)]
    assert errors(at_once, [np.stack(column) for column in zip(*each, strict=True)]) < 1e-12


@pytest.mark.parametrize(
    ("function", "gradient"), [(tf.sigmoid, lstm.sigmoid_grad), (tf.tanh, lstm.tanh_grad)], ids=["sigmoid", "tanh"]
)
def test_gradient_of_an_activation(function, gradient):
    z, dy = tf.constant(np.random.default_rng(0).normal(size=[2, 3, 4]))
    with tf.GradientTape() as tape:
        tape.watch(z)
        y = function(z)
    assert error(gradient(y, dy), tape.gradient(y, z, output_gradients=dy)) < 1e-12


# Over time ------------------------------------------------------------------------------------------------------------


def test_previous_select_and_weight_gradient():
    random = np.random.default_rng(0)
    first, sequence, other = random.normal(size=[2, 3]), random.normal(size=[4, 2, 3]), random.normal(size=[4, 2, 5])
    np.testing.assert_array_equal(previous(tf.constant(first), sequence), [first, *sequence[:-1]])
    wanted = sum(np.outer(sequence[t, row], other[t, row]) for t in range(4) for row in range(2))
    np.testing.assert_allclose(weight_gradient(tf.constant(sequence), tf.constant(other)), wanted, atol=1e-12)
    mask = random.random(size=[4, 2, 1]) < 0.5
    np.testing.assert_array_equal(select(mask, [sequence], [-sequence])[0], np.where(mask, sequence, -sequence))
    assert select(None, [sequence], [None])[0] is sequence
    np.testing.assert_array_equal(apply_dropout(first, 2 * first), 2 * first**2)
    assert apply_dropout(first, None) is first


def by_autodiff(kind, a, mask, state, W_h, dropout_mask=None):
    step = with_masks(lambda a, state: MODULES[kind].step(a, state, W_h), dropout_mask)
    widths = (W_h.shape[0],) * (len(state) + RECURRENCES[kind].gate_count)
    (h, *_), last = unfold(step, (a, mask), state, widths)
    return h, last


@both_kinds
@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("with_dropout", [False, True])
@pytest.mark.parametrize("unroll", [False, True])
def test_bptt_is_autodiff(kind, with_mask, with_dropout, unroll):
    a, W_h, state, mask, dropout_mask = arguments(kind)
    mask, dropout_mask = mask if with_mask else None, dropout_mask if with_dropout else None

    def by_hand(a, W_h, *state):
        return bptt(RECURRENCES[kind], a, mask, state, W_h, dropout_mask, unroll=unroll)

    wanted = value_and_gradients(
        lambda a, W_h, *state: by_autodiff(kind, a, mask, state, W_h, dropout_mask), [a, W_h, *state]
    )
    assert errors(value_and_gradients(by_hand, [a, W_h, *state]), wanted) < 1e-12


@both_kinds
def test_bptt_over_a_long_sequence_is_autodiff(kind):
    a, W_h, state, mask, _ = arguments(kind, time=100, batch=2, units=2)
    found = value_and_gradients(lambda a, W_h, *s: bptt(RECURRENCES[kind], a, mask, s, W_h), [a, W_h, *state])
    wanted = value_and_gradients(lambda a, W_h, *s: by_autodiff(kind, a, mask, s, W_h), [a, W_h, *state])
    assert errors(found, wanted) < 1e-10


@both_kinds
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("float16", 1e-2), ("bfloat16", 1e-1)])
def test_gradients_in_lower_precision_are_close(kind, dtype, bound):
    a, W_h, state, mask, _ = arguments(kind, seed=1)
    given = [a, W_h, *state]

    def run(a, W_h, *state):
        return bptt(RECURRENCES[kind], a, mask, state, W_h)

    found = value_and_gradients(run, [tf.cast(value, dtype) for value in given])
    assert {value.dtype for value in found} == {tf.as_dtype(dtype)}
    wanted = value_and_gradients(run, given)
    assert max(error(tf.cast(a, tf.float64), b) for a, b in zip(found, wanted, strict=True)) < bound


@both_kinds
def test_saturated_gates_give_finite_gradients(kind):
    a, W_h, state, mask, _ = arguments(kind)
    for value in value_and_gradients(lambda a, *s: bptt(RECURRENCES[kind], a, mask, s, W_h), [a * 1e4, *state]):
        assert np.isfinite(value).all()

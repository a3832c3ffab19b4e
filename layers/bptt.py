"""Back-propagation through time (BPTT) for the recurrences of `lstm.py` and `rnn.py`.

BPTT (Werbos 1990, "Backpropagation through time: what it does and how to do it") is back-propagation through the
network unfolded in time. The equations of a step and of its gradient are in `lstm.py` and `rnn.py`; this file runs them
over a sequence: forwards by a loop over the steps, and, as its custom gradient, backwards by a second loop. Only what
depends on the neighbouring step is computed inside the loops. The rest is computed for all steps at once:

* a = W_x x + b, one matrix product, by the caller;
* the local gradients, by elementwise operations before the second loop;
* dW_h = sum over steps and rows of h(t-1)^T dz(t), one matrix product after it.

Sequences are time-major. A `mask` is bool[time, batch, 1]; where it is False the state passes through the step.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from layers.unfold import unfold


class Recurrence(NamedTuple):
    """One step of a recurrence and its gradient, as pure functions. A state is a tuple that begins with h.

    Attributes:
        step: `step(a, state, W_h) -> (state, gates)`, one step forwards; a is float[batch, columns], W_x x + b, as wide
            as W_h: 4 units for the LSTM, units for the vanilla RNN.
        local_gradients: `local_gradients(gates, states, previous_states) -> tuple`, the factors of a step's gradient
            that do not depend on d_state, for all steps at once. The arguments are tuples of float[time, batch, units].
        backward_step: `backward_step(d_state, local, W_h_transposed) -> (d_previous_state, dz)`, the gradient of one
            step, given the local gradients of that step.
        gate_count: number of gates that a step returns.
    """

    step: Callable
    local_gradients: Callable
    backward_step: Callable
    gate_count: int


def bptt(recurrence: Recurrence, a, mask, state, W_h, dropout_mask=None, *, unroll=False):
    """Runs a recurrence forwards over a sequence; its gradient is computed by `backward_step` instead of automatically.

    Args:
        recurrence: the equations.
        a: float[time, batch, columns], W_x x + b.
        mask: bool[time, batch, 1] or None.
        state: tuple of float[batch, units], the state before the first step.
        W_h: float[units, columns], the recurrent weights.
        dropout_mask: float[batch, units], multiplies h(t-1) before W_h (recurrent dropout); or None.
        unroll: see `unfold`.

    Returns:
        (h float[time, batch, units], tuple of float[batch, units], the state after the last step). Gradients flow to
        a, state and W_h.
    """
    units, count = W_h.shape[0], len(state)

    @tf.custom_gradient
    def run(a, W_h, *state):
        step = with_masks(lambda a, state: recurrence.step(a, state, W_h), dropout_mask)
        widths = (units,) * (count + recurrence.gate_count)
        sequences, last = unfold(step, (a, mask), state, widths, unroll=unroll, differentiable=False)
        states, gates = sequences[:count], sequences[count:]

        def backward(dh, *d_last):
            previous_states = [previous(first, sequence) for first, sequence in zip(state, states, strict=True)]
            W_h_transposed = tf.transpose(W_h)  # once: a product that transposes at every step is slower
            local = recurrence.local_gradients(gates, states, previous_states)

            def backward_step(d_state, inputs):
                dh_t, valid, *local_t = inputs
                d_state = (d_state[0] + dh_t, *d_state[1:])  # dh: from step t+1, and from the loss at step t
                (dh_previous, *others), dz = recurrence.backward_step(d_state, local_t, W_h_transposed)
                d_previous = (apply_dropout(dh_previous, dropout_mask), *others)
                return select(valid, d_previous, d_state), (dz,)

            given = (dh, mask, *local)
            columns = (W_h.shape[1],)
            (dz,), d_first = unfold(
                backward_step, given, d_last, columns, reverse=True, unroll=unroll, differentiable=False
            )
            (dz,) = select(mask, (dz,), (tf.zeros_like(dz),))
            dW_h = weight_gradient(apply_dropout(previous_states[0], dropout_mask), dz)
            return dz, dW_h, *d_first

        return (states[0], *last), backward

    h, *last = run(a, W_h, *state)
    return h, tuple(last)


def with_masks(step, dropout_mask=None):
    """Returns a step for `unfold` that applies recurrent dropout, and keeps the state where the mask is False.

    Args:
        step: `step(x, state) -> (state, gates)`.
        dropout_mask: as in `bptt`.

    Returns:
        `step(state, (x, valid)) -> (state, outputs)`: valid is the mask at this step or None, and outputs, which
        `unfold` collects over time, are (*state, *gates).
    """

    def masked_step(state, inputs):
        x, valid = inputs
        new, gates = step(x, (apply_dropout(state[0], dropout_mask), *state[1:]))
        new = select(valid, new, state)
        return new, (*new, *gates)

    return masked_step


def select(mask, new, old):
    """Returns `new` where the mask is True and `old` where it is False (tuples of tensors); `new` without a mask."""
    if mask is None:
        return tuple(new)
    return tuple(tf.where(mask, a, b) for a, b in zip(new, old, strict=True))


def apply_dropout(x, dropout_mask):
    """Returns x times its dropout mask, or x if there is none."""
    return x if dropout_mask is None else x * dropout_mask


def previous(first, sequence):
    """Returns the value before each step, float[time, batch, units]: `first`, then all but the last of `sequence`."""
    return tf.concat([first[tf.newaxis], sequence[:-1]], axis=0)


def weight_gradient(inputs, dz):
    """Returns inputs^T dz summed over steps and rows: [time, batch, a], [time, batch, b] -> [a, b]."""
    inputs = tf.reshape(inputs, [-1, inputs.shape[-1]])  # [time * batch, a]
    dz = tf.reshape(dz, [-1, dz.shape[-1]])  # [time * batch, b]
    return tf.matmul(inputs, dz, transpose_a=True)

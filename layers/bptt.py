"""The recurrences of the lecture, with back-propagation through time derived by hand.

Back-propagation through time (BPTT; Werbos 1990, "Backpropagation through time: what it does and how to do it") is
plain back-propagation through the network unfolded in time (`unfold.py`). What does not depend on the step before is
taken out of the loop:

* the inputs' share of every gate, z = W_ih x + b, is one matrix product for all steps, made by the caller;
* on the way back, every factor that does not depend on the arriving error is computed for all steps at once, so that
  a backward step is one matrix product and a handful of element-wise operations;
* the gradient of W_hh is again one matrix product, over all steps and rows.

Where the weights are small, each of these is one product for each of two groups of units (`groups.py`). Where they and
the batch are large, the forward steps can be made by two halves of the batch (`unfold_halves`).

Every sequence in this file is time-major. A `mask` is bool[time, batch, 1]; where it is False the state passes through.
"""

from functools import partial

import tensorflow as tf

from layers.groups import join, transposed
from layers.unfold import unfold, unfold_halves


def previous(first, sequence):
    """What each step found: float[time, batch, units], `first` [batch, units], then all but the last of `sequence`."""
    return tf.concat([first[tf.newaxis], sequence[:-1]], axis=0)


def weight_gradient(inputs, errors):
    """Sum over steps and rows of inputs^T errors: [time, batch, a], [time, batch, b] -> [a, b], one matrix product."""
    inputs = tf.reshape(inputs, [-1, inputs.shape[-1]])  # [time * batch, a]
    errors = tf.reshape(errors, [-1, errors.shape[-1]])  # [time * batch, b]
    return tf.matmul(inputs, errors, transpose_a=True)


def scale_g(values, by):
    """The columns of g, the third quarter of float[..., 4 units], times `by`."""
    units = values.shape[-1] // 4
    ones = tf.ones([units], values.dtype)
    return values * tf.concat([ones, ones, tf.fill([units], tf.cast(by, values.dtype)), ones], axis=0)


def sigmoid_slope(y, factor):
    """factor y (1 - y), the slope of y = sigmoid(a) in one pass over memory."""
    return tf.raw_ops.SigmoidGrad(y=y, dy=factor)


def tanh_slope(y, factor):
    """factor (1 - y^2), the slope of y = tanh(a) in one pass over memory."""
    return tf.raw_ops.TanhGrad(y=y, dy=factor)


def select(mask, new, old):
    """`new` where the step is valid, `old` where it is masked."""
    return new if mask is None else tf.where(mask, new, old)


def unfold_forwards(step, sequences, state, widths, *, from_zero=False, halves=False, **options):
    """`unfold`, of a `step` that leaves out the product of h(t-1) with W_hh when called with `h_is_zero=True`.

    Args:
        from_zero: whether the first h is known to be zero, so that the first step needs no product. (By automatic
            differentiation h then gets no gradient by way of it.)
        halves: whether two halves of the batch, whose size is known, go side by side: see `unfold_halves`. Not where
            recurrent dropout has drawn a mask for the whole batch.
    """
    first_step = partial(step, h_is_zero=True) if from_zero else None
    return (unfold_halves if halves else unfold)(step, sequences, state, widths, first_step=first_step, **options)


def unfold_rnn(z, mask, h0, W_hh, dropped=None, *, activation=None, unroll=False, **options):
    """h(t) = tanh(z(t) + W_hh h(t-1)), with z = W_ih x + b.

    Args:
        z: float[time, batch, width] for each group of units (`layers/groups.py`), the inputs' share.
        mask: bool[time, batch, 1] or None.
        h0: float[batch, units].
        W_hh: float[units, width] for each group of units.
        dropped: float[batch, units], what recurrent dropout multiplies h(t-1) with before W_hh, or None.
        activation: in the place of tanh; the gradient then comes from automatic differentiation of the loop.
        unroll: see `unfold`.
        **options: `from_zero` and `halves` of `unfold_forwards`.

    Returns:
        h: float[time, batch, units].
    """
    units, count = h0.shape[-1], len(W_hh)

    def forward(z, h0, W_hh, f):
        def step(state, inputs, h_is_zero=False):
            (h,), (*a, valid) = state, inputs
            if not h_is_zero:
                h_in = h if dropped is None else h * dropped
                a = [z_group + tf.matmul(h_in, W_group) for z_group, W_group in zip(a, W_hh, strict=True)]
            h = select(valid, join([f(group) for group in a]), h)
            return (h,), (h,)

        how = {"unroll": unroll, "differentiable": activation is not None, **options}
        (h,), _ = unfold_forwards(step, (*z, mask), (h0,), (units,), **how)
        return h

    if activation is not None:
        return forward(z, h0, W_hh, activation)

    @tf.custom_gradient
    def through_time(*given):
        z, h0, W_hh = given[:count], given[count], given[count + 1 :]
        h = forward(z, h0, W_hh, tf.tanh)

        def backward(dh):
            W_transposed = transposed(W_hh)
            slope = 1 - h * h  # of tanh, for all steps at once
            slope = select(mask, slope, tf.zeros_like(slope))

            def step(state, inputs):
                (back,), (dh_t, slope_t, valid) = state, inputs
                error = dh_t + back
                dz = error * slope_t
                back = join([tf.matmul(dz, columns) for columns in W_transposed])
                if dropped is not None:
                    back *= dropped
                if valid is not None:
                    back = tf.where(valid, back, error)
                return (back,), tuple(tf.split(dz, count, axis=-1))

            widths = (units // count,) * count
            dz, (dh0,) = unfold(
                step,
                (dh, slope, mask),
                (tf.zeros_like(h0),),
                widths,
                reverse=True,
                unroll=unroll,
                differentiable=False,
            )
            h_in = previous(h0, h)
            if dropped is not None:
                h_in *= dropped
            return *dz, dh0, *(weight_gradient(h_in, dz_group) for dz_group in dz)

        return h, backward

    return through_time(*z, h0, *W_hh)


def unfold_lstm(
    z, mask, h0, c0, W_hh, dropped=None, *, activations=None, g_doubled=False, with_cells=False, unroll=False, **options
):
    """The LSTM of the lecture, its four gates side by side in the order i, f, g, o (Hochreiter and Schmidhuber 1997).

        i, f, o = sigmoid(z + W_hh h(t-1)),  g = tanh(z + W_hh h(t-1)),  with z = W_ih x + b
        c = f * c(t-1) + i * g
        h = o * tanh(c)

    Args:
        z: float[time, batch, 4 width] for each group of units (`layers/groups.py`), the inputs' share of i, f, g, o.
        mask: bool[time, batch, 1] or None.
        h0, c0: float[batch, units].
        W_hh: float[units, 4 width] for each group of units.
        dropped: float[batch, units], what recurrent dropout multiplies h(t-1) with before W_hh, or None.
        activations: (of g and c, of the gates) in the place of (tanh, sigmoid); the gradient then comes from automatic
            differentiation of the loop.
        g_doubled: z and W_hh come with the columns of g doubled (`scale_g`). As tanh(a) = 2 sigmoid(2 a) - 1, one
            sigmoid then serves all four gates, which is faster. In 16 bits it would cost g half its digits.
        with_cells: give c at every step, not only the last.
        unroll: see `unfold`.
        **options: `from_zero` and `halves` of `unfold_forwards`.

    Returns:
        (h, c): float[time, batch, units], and float[batch, units] or, `with_cells`, float[time, batch, units].
    """
    units, count = h0.shape[-1], len(W_hh)
    width = units // count

    def forward(z, h0, c0, W_hh, gates, f_c):
        """(h, c of each group, what `gates` remembers of each group) at all steps, and the last (h, c)."""

        def step(state, inputs, h_is_zero=False):
            (h_old, *c_old), (*a, valid) = state, inputs
            if not h_is_zero:
                h_in = h_old if dropped is None else h_old * dropped
                a = [z_group + tf.matmul(h_in, W_group) for z_group, W_group in zip(a, W_hh, strict=True)]
            h, c, remembered = [], [], []
            for a_group, c_group in zip(a, c_old, strict=True):
                i, f, g, o, kept = gates(a_group)
                new = f * c_group + i * g
                h.append(o * f_c(new))
                c.append(select(valid, new, c_group))
                remembered += kept
            h = select(valid, join(h), h_old)
            return (h, *c), (h, *c, *remembered)

        widths = (units,) + count * (width,) + (count * (4 * width,) if activations is None else ())
        state = (h0, *tf.split(c0, count, axis=-1))
        how = {"unroll": unroll, "differentiable": activations is not None, **options}
        (h, *rest), (_, *c_last) = unfold_forwards(step, (*z, mask), state, widths, **how)
        c, remembered = rest[:count], rest[count:]
        return h, c, remembered, join(c if with_cells else c_last)

    if activations is not None:
        f_g, f_gate = activations

        def gates_of(a):
            i, f, g, o = tf.split(a, 4, axis=-1)
            return f_gate(i), f_gate(f), f_g(g), f_gate(o), ()

        h, _, _, c_shown = forward(z, h0, c0, W_hh, gates_of, f_g)
        return h, c_shown

    def gates_of(a):
        if g_doubled:
            s = tf.sigmoid(a)
            i, f, s_g, o = tf.split(s, 4, axis=-1)
            return i, f, 2 * s_g - 1, o, (s,)
        i, f, g, o = tf.split(a, 4, axis=-1)
        i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
        return i, f, g, o, (tf.concat([i, f, g, o], axis=-1),)

    def slopes(s, c, c0):
        """What a backward step of a group needs, for all steps at once: the slopes of its gates, dc/dh, and f."""
        # A masked step is one at which nothing comes in, nothing is forgotten and nothing goes out.
        shut = tf.concat([tf.zeros([width], s.dtype), tf.ones([width], s.dtype), tf.zeros([2 * width], s.dtype)], 0)
        gates = select(mask, s, shut)
        i, f, g, o = tf.split(gates, 4, axis=-1)
        c_old, tanh_c = previous(c0, c), tf.tanh(c)
        # dz = [dc, dc, dc, dh] * slope: the slopes of i, f, g by way of c, of o by way of h.
        if g_doubled:
            slope = sigmoid_slope(gates, tf.concat([2 * g - 1, c_old, 2 * i, tanh_c], axis=-1))
        else:
            each = sigmoid_slope(i, g), sigmoid_slope(f, c_old), tanh_slope(g, i), sigmoid_slope(o, tanh_c)
            slope = tf.concat(each, axis=-1)
        return slope, tanh_slope(tanh_c, o), f

    @tf.custom_gradient
    def through_time(*given):
        z, (h0, c0), W_hh = given[:count], given[count : count + 2], given[count + 2 :]
        h, c, s, c_shown = forward(z, h0, c0, W_hh, gates_of, tf.tanh)

        def backward(dh, dc):
            W_transposed = transposed(W_hh)
            c0_groups = tf.split(c0, count, axis=-1)
            dropped_groups = None if dropped is None else tf.split(dropped, count, axis=-1)
            slope, h_to_c, f = zip(*map(slopes, s, c, c0_groups), strict=True)

            def step(state, inputs):
                h_back, c_back, valid = state[:count], state[count:], inputs[-1]
                dh_t, dc_t, slope_t, h_to_c_t, f_t = (inputs[n * count :][:count] for n in range(5))
                dz, h_errors, c_back_new = [], [], []
                for n in range(count):
                    h_error = dh_t[n] + h_back[n]
                    c_error = c_back[n] + h_error * h_to_c_t[n]
                    if dc_t[n] is not None:
                        c_error += dc_t[n]
                    dz.append(tf.concat([c_error, c_error, c_error, h_error], axis=-1) * slope_t[n])
                    h_errors.append(h_error)
                    c_back_new.append(c_error * f_t[n])
                all_dz = join(dz)
                h_back = [tf.matmul(all_dz, columns) for columns in W_transposed]
                if dropped is not None:
                    h_back = [back * mask_group for back, mask_group in zip(h_back, dropped_groups, strict=True)]
                if valid is not None:
                    h_back = [tf.where(valid, back, error) for back, error in zip(h_back, h_errors, strict=True)]
                return (*h_back, *c_back_new), tuple(dz)

            dh_groups, dc_groups = tf.split(dh, count, axis=-1), tf.split(dc, count, axis=-1)
            nothing = [tf.zeros_like(c0_group) for c0_group in c0_groups]
            dc_steps, dc_last = (dc_groups, nothing) if with_cells else (count * [None], dc_groups)
            dz, state = unfold(
                step,
                (*dh_groups, *dc_steps, *slope, *h_to_c, *f, mask),
                (*nothing, *dc_last),
                count * (4 * width,),
                reverse=True,
                unroll=unroll,
                differentiable=False,
            )
            dh0, dc0 = join(state[:count]), state[count:]
            h_in = previous(h0, h)
            if dropped is not None:
                h_in *= dropped
            return *dz, dh0, join(dc0), *(weight_gradient(h_in, dz_group) for dz_group in dz)

        return (h, c_shown), backward

    return through_time(*z, h0, c0, *W_hh)

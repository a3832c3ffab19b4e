"""Unfolding in time: one cell applied at every step, h(t) = step(h(t-1), x(t)), with the same weights.

Unfolded, a recurrent network is a deep feed-forward network whose layers share their weights.
"""

import tensorflow as tf


def unfold(step, sequences, state, widths, *, reverse=False, unroll=False, differentiable=True):
    """Applies `step` once for every time step.

    Args:
        step: `step(state, inputs) -> (state, outputs)`, each a tuple of tensors [batch, ...].
        sequences: tuple of tensors [time, batch, ...] that `step` receives one time step at a time; a None stays None.
        state: tuple of float[batch, units], the state before the first step.
        widths: tuple of int, the number of columns of every output of a step.
        reverse: run from the last step to the first; the outputs keep the order of the sequences.
        unroll: build one copy of the step for every time step instead of a loop.
        differentiable: False where no gradient is taken through the loop. The steps then read slices of the
            sequences, which usually copies nothing; the gradient of a slice would be as large as its whole sequence.

    Returns:
        (outputs, state): tuple of float[time, batch, width] and the state after the last step that ran.

    Raises:
        ValueError: `unroll` with an unknown number of steps.
    """
    given = [sequence for sequence in sequences if sequence is not None]
    steps, batch = given[0].shape[:2]

    def with_nones(values):
        values = iter(values)
        return tuple(None if sequence is None else next(values) for sequence in sequences)

    if unroll:
        if steps is None:
            raise ValueError("Cannot unroll over an unknown number of steps: give the inputs a fixed time dimension.")
        slices = list(zip(*[tf.unstack(sequence) for sequence in given], strict=True))
        rows = [()] * steps
        for t in reversed(range(steps)) if reverse else range(steps):
            state, rows[t] = step(state, with_nones(slices[t]))
        return tuple(tf.stack(columns) for columns in zip(*rows, strict=True)), state

    if steps is None:
        steps = tf.shape(given[0])[0]
    if differentiable:
        arrays = [tf.TensorArray(x.dtype, steps, element_shape=x.shape[1:]).unstack(x) for x in given]

    def read(t):
        if differentiable:
            return [array.read(t) for array in arrays]
        begin, end = tf.reshape(t, [1]), tf.reshape(t + 1, [1])
        return [tf.strided_slice(sequence, begin, end, shrink_axis_mask=1) for sequence in given]

    def body(n, state, writers):
        t = steps - 1 - n if reverse else n
        state, outputs = step(state, with_nones(read(t)))
        return n + 1, state, tuple(writer.write(t, value) for writer, value in zip(writers, outputs, strict=True))

    writers = tuple(tf.TensorArray(state[0].dtype, steps, element_shape=[batch, width]) for width in widths)
    _, state, writers = tf.while_loop(
        lambda n, *_: n < steps,
        body,
        (tf.constant(0), tuple(state), writers),
        maximum_iterations=steps,  # without it XLA cannot allocate what the steps keep for the gradient
    )
    outputs = tuple(writer.stack() for writer in writers)
    for output in outputs:
        output.set_shape([given[0].shape[0], *output.shape[1:]])
    return outputs, state

"""Unfolding in time: one cell applied at every step, h(t) = step(h(t-1), x(t)), with the same weights.

Unfolded, a recurrent network is a deep feed-forward network whose layers share their weights.
"""

import tensorflow as tf


def unfold(step, sequences, state, widths, *, first_step=None, reverse=False, unroll=False, differentiable=True):
    """Applies `step` once for every time step: the network unfolded in time.

    Args:
        step: `step(state, inputs) -> (state, outputs)`, each a tuple of tensors [batch, ...].
        sequences: tuple of tensors [time, batch, ...] that `step` gets one step at a time; a None stays None.
        state: tuple of float[batch, units], the state before the first step.
        widths: tuple of int, the number of columns of every output of a step.
        first_step: in the place of `step` at the first step made, with the same result: from a state of zeros it can
            leave out the product with the weights. Needs one step at least.
        reverse: go from the last step to the first; the outputs keep the order of the sequences.
        unroll: lay the steps out one after another in the graph instead of looping.
        differentiable: False where no gradient is taken through the loop: the steps are then read as slices of the
            sequences, which as a rule copies nothing, but the gradient of each slice would be as long as the whole
            sequence.

    Returns:
        (outputs, state): tuple of float[time, batch, width] and the state after the last step made.

    Raises:
        ValueError: `unroll` over an unknown number of steps.
    """
    given = [sequence for sequence in sequences if sequence is not None]
    steps, batch = given[0].shape[:2]
    first_step = first_step or step

    def with_nones(values):
        values = iter(values)
        return tuple(None if sequence is None else next(values) for sequence in sequences)

    if unroll:
        if steps is None:
            raise ValueError("Cannot unroll over an unknown number of steps: give the inputs a fixed time dimension.")
        slices = list(zip(*[tf.unstack(sequence) for sequence in given], strict=True))
        outputs = [None] * steps
        for n, t in enumerate(reversed(range(steps)) if reverse else range(steps)):
            state, outputs[t] = (step if n else first_step)(state, with_nones(slices[t]))
        return tuple(tf.stack(columns) for columns in zip(*outputs, strict=True)), state

    if steps is None:
        steps = tf.shape(given[0])[0]
    if differentiable:
        arrays = [tf.TensorArray(x.dtype, steps, element_shape=x.shape[1:]).unstack(x) for x in given]

    def read(t):
        if differentiable:
            return [array.read(t) for array in arrays]
        at, behind = tf.reshape(t, [1]), tf.reshape(t + 1, [1])
        return [tf.strided_slice(sequence, at, behind, shrink_axis_mask=1) for sequence in given]

    writers = tuple(tf.TensorArray(state[0].dtype, steps, element_shape=[batch, width]) for width in widths)

    def body(n, state, writers, step=step):
        t = steps - 1 - n if reverse else n
        state, outputs = step(state, with_nones(read(t)))
        return n + 1, state, tuple(writer.write(t, value) for writer, value in zip(writers, outputs, strict=True))

    start = (tf.constant(0), state, writers)
    if first_step is not step:
        start = body(*start, step=first_step)
    _, state, writers = tf.while_loop(
        lambda n, *_: n < steps,
        body,
        start,
        maximum_iterations=steps,  # XLA can differentiate the loop only when it knows how much the steps leave behind
    )
    outputs = tuple(writer.stack() for writer in writers)
    for output in outputs:
        output.set_shape([given[0].shape[0], *output.shape[1:]])
    return outputs, state


def unfold_halves(step, sequences, state, widths, *, first_step=None, **options):
    """As `unfold`, but that the upper and the lower half of the batch are two chains of steps, side by side.

    While one half multiplies, the element-wise operations of the other need not wait. The first of `sequences` must
    know the size of the batch, and `step` must see nothing of the batch but its state and its inputs.
    """
    count, rows = len(state), sequences[0].shape[1]
    sizes = [rows // 2, rows - rows // 2]

    def halves(values):
        return zip(*(_cut(value, sizes) for value in values), strict=True)

    def by_halves(step):
        def both(states, inputs):
            upper_inputs, lower_inputs = halves(inputs)
            upper, upper_outputs = step(states[:count], upper_inputs)
            lower, lower_outputs = step(states[count:], lower_inputs)
            return (*upper, *lower), _joined(upper_outputs, lower_outputs)

        return both

    upper, lower = halves(state)
    first_step = first_step and by_halves(first_step)
    outputs, states = unfold(by_halves(step), sequences, (*upper, *lower), widths, first_step=first_step, **options)
    return outputs, _joined(states[:count], states[count:])


def _cut(value, sizes):
    """The upper and the lower rows; of a mask of one row, which is that of all rows, and of a None twice the whole."""
    return (value, value) if value is None or value.shape[0] == 1 else tf.split(value, sizes)


def _joined(upper, lower):
    return tuple(tf.concat(pair, axis=0) for pair in zip(upper, lower, strict=True))

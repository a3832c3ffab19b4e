"""The base class of the recurrent layers: masks, stateful calls, dropout and `go_backwards`."""

import inspect

import keras
import tensorflow as tf

from layers.bptt import apply_dropout, bptt, with_masks
from layers.unfold import unfold


class Recurrent(keras.layers.RNN):
    """A `keras.layers.RNN` whose gradient in training is computed by `bptt`, if that is valid for its activations.

    A subclass has `recurrence`, its equations with their gradient, and `_uses_custom_gradient`, whether that gradient
    is valid for this layer. Differences from `keras.layers.RNN`:

    * `stateful=True` needs no fixed batch size. The batch size may change after `reset_state()`; without it, another
      size than that of the carried state is an error. A function that XLA has already compiled needs
      `reset_state(batch_size)`.
    * A dropout mask is drawn once per sequence and is the same at every step and for every gate (Gal and Ghahramani
      2016, "A theoretically grounded application of dropout in recurrent neural networks").

    As in Keras, a masked step leaves the state unchanged, and returns the output of the step before (zeros if there is
    none) or, with `zero_output_for_mask`, zeros.
    """

    return_gates = False

    def build(self, sequences_shape, initial_state_shape=None):
        if not self.cell.built:
            self.cell.build((sequences_shape[0], *sequences_shape[2:]))
            self.cell.built = True
        if self.stateful and self.states is None:
            with tf.init_scope():
                self.states = [
                    tf.Variable(self._zeros(0, units), shape=[None, units], trainable=False, name="carried_state")
                    for units in self.state_size
                ]

    def reset_state(self, batch_size=None):
        """Sets the carried state to zeros: the next call may have any batch size.

        Args:
            batch_size: that of the next call. Only XLA needs it: a compiled function cannot change a variable's shape.
        """
        for variable in self.states or []:
            rows = tf.shape(variable)[0] if batch_size is None else batch_size
            variable.assign(self._zeros(rows, variable.shape[1]))

    def _zeros(self, rows, units):
        return tf.zeros([rows, units], self.compute_dtype)

    def call(self, sequences, initial_state=None, mask=None, training=False):
        if self.unroll and sequences.shape[1] is None:
            raise ValueError(
                f"Cannot unroll {self.name}: the time dimension of its input {sequences.shape} is unknown."
            )
        x = tf.transpose(tf.cast(sequences, self.compute_dtype), [1, 0, 2])  # [time, batch, features]
        mask = self._checked_mask(_time_major(mask), x)
        if self.go_backwards:
            x = tf.reverse(x, [0])
            mask = None if mask is None else tf.reverse(mask, [0])

        batch = sequences.shape[0]
        state = self._initial_state(initial_state, batch or tf.shape(sequences)[0])
        dropout_mask_x, dropout_mask_h = self.dropout_masks(x[0], state[0], training)
        x = apply_dropout(x, dropout_mask_x)
        if training and self._uses_custom_gradient:
            over_time, state = self._run_with_custom_gradient(x, mask, state, dropout_mask_h)
        else:
            hoist_inputs = batch in (None, 1)
            over_time, state = self._run_with_automatic_gradient(x, mask, state, dropout_mask_h, hoist_inputs)
        if self.stateful:
            for variable, value in zip(self.states, state, strict=True):
                variable.assign(value)

        h = over_time[0] if self.return_sequences else state[0]  # masked steps leave the state unchanged
        y = self.cell.output(h)
        if mask is not None:
            y = tf.where(self._has_output(mask), y, tf.zeros_like(y))
        if self.return_sequences:
            y = tf.transpose(y, [1, 0, 2])  # [batch, time, units]
        result = [y, *(state if self.return_state else ())]
        if self.return_gates:
            result.append(self._gates_by_name(over_time, mask))
        return tuple(result) if len(result) > 1 else y

    def _run_with_custom_gradient(self, x, mask, state, dropout_mask):
        """Returns ([h float[time, batch, units]], the last state), with the gradient of `recurrence`."""
        a, W_h = affine(x, self.cell.kernel, self.cell.bias), tf.convert_to_tensor(self.cell.recurrent_kernel)
        h, state = bptt(self.recurrence, a, mask, state, W_h, dropout_mask, unroll=self.unroll)
        return [h], state

    def _run_with_automatic_gradient(self, x, mask, state, dropout_mask, hoist_inputs):
        """Returns (h, if it is returned for every step, and with `return_gates` also c and the gates, each float[time,
        batch, units]; the last state).

        Args:
            hoist_inputs: whether to compute W_x x + b of all steps as one matrix product before the loop. For a batch
                of one row this reads W_x once instead of at every step. With more rows it writes and reads much memory
                and is slower, above all under XLA. An unknown batch size is treated like one row.
        """
        cell = self.cell
        # Read before the loop: in mixed precision each read is a cast.
        W_x, W_h = tf.convert_to_tensor(cell.kernel), tf.convert_to_tensor(cell.recurrent_kernel)
        b = None if cell.bias is None else tf.convert_to_tensor(cell.bias)
        if hoist_inputs:
            x = affine(x, W_x, b)

        def one_step(x, state):
            if hoist_inputs:
                return cell.step(x, state, W_h)
            # Not `affine`: TensorFlow fuses its bias with the product, which is slower on a busy machine.
            return cell.step(tf.matmul(x, W_x), state, W_h, b)

        step = with_masks(one_step, dropout_mask)
        # How many of (h, c, gates …) to collect over time.
        count = len(state) + self.recurrence.gate_count if self.return_gates else int(self.return_sequences)

        def first_outputs(state, inputs):
            state, outputs = step(state, inputs)
            return state, outputs[:count]

        return unfold(first_outputs, (x, mask), state, count * (self.units,), unroll=self.unroll)

    def _has_output(self, mask):
        """Returns where the output is not set to zero: bool[time, batch, 1], or bool[batch, 1] of the last step."""
        if self.zero_output_for_mask:
            return mask if self.return_sequences else mask[-1]
        return _any_up_to_each_step(mask) if self.return_sequences else tf.reduce_any(mask, axis=0)

    def _checked_mask(self, mask, x):
        """Returns the mask bool[time, batch, 1] of x float[time, batch, features], after a check of its size. A mask of
        one row is broadcast to all rows."""
        if mask is None:
            return None
        message = f"{self.name} received a mask of another size than its input. [batch, time] of both:"
        (steps, rows, _), (mask_steps, mask_rows, _) = x.shape, mask.shape
        pairs = [(mask_steps, steps), (mask_rows, rows if mask_rows != 1 else 1)]
        if any(None not in pair and pair[0] != pair[1] for pair in pairs):
            raise ValueError(f"{message} [{mask_rows}, {mask_steps}] and [{rows}, {steps}].")
        if all(None not in pair for pair in pairs):
            return mask
        (steps, rows, _), (mask_steps, mask_rows, _) = tf.unstack(tf.shape(x)), tf.unstack(tf.shape(mask))
        fits = (mask_steps == steps) & ((mask_rows == rows) | (mask_rows == 1))
        with tf.control_dependencies([tf.debugging.Assert(fits, [message, mask_rows, mask_steps, rows, steps])]):
            # XLA drops the assertion, but still rejects a wrong size in `reshape` or `broadcast_to`. `broadcast_to`
            # alone would repeat a mask of one step.
            return tf.broadcast_to(tf.reshape(mask, [steps, mask_rows, 1]), [steps, rows, 1])

    def _initial_state(self, given, batch):
        """Returns the state to start from: a list of float[batch, units]."""
        if given is not None:
            given = list(given) if isinstance(given, list | tuple) else [given]
            given = [tf.convert_to_tensor(tf.cast(value, self.compute_dtype)) for value in given]
            shapes = [value.shape for value in given]
            expected = [tf.TensorShape([None, units]) for units in self.state_size]
            fits = [a.is_compatible_with(b) for a, b in zip(shapes, expected, strict=False)]
            if len(given) != len(expected) or not all(fits):
                raise ValueError(
                    f"{self.name} received initial states of the shapes {shapes}, expected {len(expected)} of"
                    f" {expected[0]}"
                )
            return given
        if not self.stateful:
            return [self._zeros(batch, units) for units in self.state_size]
        if isinstance(batch, int):
            with tf.init_scope():  # also while a function is traced: XLA needs the final shape of the variables then
                if all(_is_zero(variable) for variable in self.states):
                    self.reset_state(batch)
        return [self._carried(tf.convert_to_tensor(variable), batch) for variable in self.states]

    def _carried(self, state, batch):
        """Returns the carried state, float[batch, units], after a check that it has as many rows as the batch; zeros,
        as after `reset_state`, are returned for a batch of any size."""
        # TensorFlow's graph optimizer assumes that the variable already has the shape that is assigned at the end of
        # the call, and would remove the assertion. The length of a list hides the shape.
        as_list = tf.raw_ops.TensorListFromTensor(tensor=state, element_shape=[state.shape[1]])
        rows = tf.raw_ops.TensorListLength(input_handle=as_list)
        message = (
            f"The stateful layer {self.name} carries the state of a batch of another size than this input's: call "
            "reset_state() between sequences to start from zeros with a new batch size. Carried and received rows:"
        )
        fits = (rows == batch) | _is_zero(state)
        if tf.executing_eagerly() and not fits:
            raise ValueError(f"{message} {int(rows)}, {int(batch)}.")
        # XLA drops the assertion, but then refuses to assign a state of another shape when the call ends.
        with tf.control_dependencies([tf.debugging.Assert(fits, [message, rows, batch])]):
            return tf.concat([state, self._zeros(batch, state.shape[1])], axis=0)[:batch]

    def dropout_masks(self, x, h, training):
        """Draws the dropout masks of a sequence.

        Args:
            x: float[batch, features], the inputs of one time step; only their shape is used, and only with `dropout`.
            h: float[batch, units]; only its shape is used.

        Returns:
            The masks for the inputs, float[batch, features], and for h, float[batch, units]; None without dropout.
        """
        cell = self.cell
        if not training:
            return None, None
        # The cell caches its masks until they are reset: here, so that this sequence draws new ones; below, so that a
        # later call of the cell alone does not use them.
        cell.reset_dropout_mask()
        cell.reset_recurrent_dropout_mask()
        mask_x = cell.get_dropout_mask(x) if 0 < cell.dropout < 1 else None
        mask_h = cell.get_recurrent_dropout_mask(h) if 0 < cell.recurrent_dropout < 1 else None
        cell.reset_dropout_mask()
        cell.reset_recurrent_dropout_mask()
        return mask_x, mask_h


def split_arguments(layer_class, cell_class, *args, **kwargs) -> tuple[dict, dict]:
    """Splits the arguments of a Keras layer, defaults included, into those of the cell and those of `RNN`."""
    bound = inspect.signature(layer_class).bind(*args, **kwargs)
    bound.apply_defaults()
    layer = {**bound.arguments, **bound.arguments.get("kwargs", {})}
    for name in ("kwargs", "implementation"):
        layer.pop(name, None)
    names = inspect.signature(cell_class).parameters
    cell = {name: layer.pop(name) for name in list(layer) if name in names}
    for name in ("dtype", "trainable"):
        if name in layer:
            cell[name] = layer[name]
    return cell, layer


def _is_zero(state):
    """Returns whether a carried state is all zeros: it then fits any batch size."""
    return tf.reduce_all(tf.equal(state, 0))


def _time_major(mask):
    """Returns bool[time, batch, 1] from bool[batch, time] or [batch, time, 1], or from a list that starts with it."""
    if isinstance(mask, list | tuple):
        mask = mask[0]
    if mask is None:
        return None
    mask = tf.cast(mask, tf.bool)
    return tf.transpose(mask if len(mask.shape) == 3 else mask[:, :, tf.newaxis], [1, 0, 2])


def _any_up_to_each_step(mask):
    """Returns whether a step or any step before it is not masked: bool[time, batch, 1]."""
    return tf.cumsum(tf.cast(mask, tf.int32), axis=0) > 0


def affine(x, kernel, bias):
    """Returns x kernel + bias over the last axis, by one matrix product: float[..., a] -> float[..., b]."""
    rows = x if x.shape.rank == 2 else tf.reshape(x, [-1, x.shape[-1]])
    rows = tf.matmul(rows, kernel)
    if bias is not None:
        rows = tf.nn.bias_add(rows, tf.convert_to_tensor(bias))
    if x.shape.rank == 2:
        return rows
    return tf.reshape(rows, tf.concat([tf.shape(x)[:-1], [kernel.shape[-1]]], axis=0))

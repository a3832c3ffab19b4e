"""What the recurrent layers share: masks, states carried from call to call, dropout, and the order of time."""

import keras
import tensorflow as tf

from layers import groups
from layers.groups import grouped, small


class Recurrent(keras.layers.RNN):
    """A `keras.layers.RNN` that runs its whole sequence through one unfolded recurrence.

    A subclass gives `through_time(z, mask, state, dropped, **options)`, `gates_of_a_unit` (how many columns of the
    weights a unit has) and `_as_in_lecture` (whether its activations are the lecture's); `call` does the rest. The
    options are `from_zero` and `halves` of `layers/bptt.py`. Against `keras.layers.RNN`:

    * `stateful=True` asks for no fixed batch size. After `reset_state()` any batch size starts from zeros; without it a
      batch of another size than the carried state is an error. A function that XLA has compiled already needs
      `reset_state(batch_size)`.
    * A dropout mask is drawn once a sequence and is the same at every step and for every gate (Gal and Ghahramani
      2016, "A theoretically grounded application of dropout in recurrent neural networks").

    As in Keras, a masked step repeats the output of the step before (zeros when there is none) or, with
    `zero_output_for_mask`, gives zeros; the state passes through.
    """

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
        """Forgets the carried state: the next call starts from zeros, with any batch size.

        Args:
            batch_size: the next one. Only XLA may need it: a compiled function cannot change a variable's shape.
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
        mask = _time_major(mask)
        if self.go_backwards:
            x = tf.reverse(x, [0])
            mask = None if mask is None else tf.reverse(mask, [0])

        from_zero = initial_state is None and not self.stateful
        state = self._initial_state(initial_state, sequences.shape[0] or tf.shape(sequences)[0])
        dropped_x, dropped_h = self._dropout(x[0], state[0], training)
        z = self.input_share(x if dropped_x is None else x * dropped_x)
        h, state, extra = self.through_time(
            z,
            mask,
            state,
            dropped_h,
            from_zero=from_zero and self._large,  # to leave out a small product has won nothing
            halves=self._halves(sequences.shape[0], training),
        )

        if self.stateful:
            for variable, value in zip(self.states, state, strict=True):
                variable.assign(value)
        if self.return_sequences:
            shown = mask if mask is None or self.zero_output_for_mask else _seen(mask)
        else:
            h = h[-1]
            shown = mask if mask is None else mask[-1] if self.zero_output_for_mask else tf.reduce_any(mask, axis=0)
        y = self.cell.output(h)
        if shown is not None and not (from_zero and y is h and not self.zero_output_for_mask):
            y = tf.where(shown, y, tf.zeros_like(y))
        if self.return_sequences:
            y = tf.transpose(y, [1, 0, 2])  # [batch, time, units]
        if not (self.return_state or extra):
            return y
        return y, *(state if self.return_state else ()), *extra

    def _groups(self, batch):
        """How many groups of units go side by side: 2 where the weights are small and the units even in number, else 1.

        One row alone goes faster in one group, under XLA by a tenth. An activation that is not the lecture's may look
        at all units at once, as softmax does, so these stay together.
        """
        small_weights = small(self.units, self.gates_of_a_unit)
        return 2 if self._as_in_lecture and small_weights and self.units % 2 == 0 and batch != 1 else 1

    @property
    def _large(self):
        """Whether the weights are large and the gradient is derived by hand."""
        return self._as_in_lecture and not small(self.units, self.gates_of_a_unit)

    def _halves(self, batch, training):
        """Whether two halves of the batch go side by side. From `ROWS` on that is faster by some 4 %; with fewer rows,
        and under XLA, it is slower, and in training it has won nothing."""
        return self._large and not training and batch is not None and batch >= groups.ROWS

    def _in_groups(self, weights, count):
        """Weights or a bias, float[..., gates units], as the list of the columns of each of `count` groups of units."""
        return grouped(tf.convert_to_tensor(weights), self.gates_of_a_unit, count)

    def input_share(self, x):
        """W_ih x + b of all steps, float[time, batch, features] -> float[time, batch, columns] for each group."""
        count, bias = self._groups(batch=x.shape[1]), self.cell.bias
        kernels = self._in_groups(self.cell.kernel, count)
        biases = count * [None] if bias is None else self._in_groups(bias, count)
        return [affine(x, kernel, bias) for kernel, bias in zip(kernels, biases, strict=True)]

    def _initial_state(self, given, batch):
        """The state to start from: a list of float[batch, units]."""
        if given is not None:
            given = list(given) if isinstance(given, list | tuple) else [given]
            return [tf.convert_to_tensor(tf.cast(value, self.compute_dtype)) for value in given]
        if not self.stateful:
            return [self._zeros(batch, units) for units in self.state_size]
        if isinstance(batch, int):
            with tf.init_scope():  # while a function is traced, too: a fresh state takes the shape XLA will insist on
                if all(_is_fresh(variable) for variable in self.states):
                    self.reset_state(batch)
        return [self._carried(tf.convert_to_tensor(variable), batch) for variable in self.states]

    def _carried(self, state, batch):
        """The carried float[rows, units] for a batch of as many rows, or a fresh one for a batch of any size."""
        # The length of a list, not a shape: TensorFlow's graph optimizer takes the shape of what the call assigns in
        # the end for that of what it found, and would drop the assertion.
        as_list = tf.raw_ops.TensorListFromTensor(tensor=state, element_shape=[state.shape[1]])
        rows = tf.raw_ops.TensorListLength(input_handle=as_list)
        message = (
            f"The stateful layer {self.name} carries the state of a batch of another size than this input's: call "
            "reset_state() between sequences to start from zeros with a new batch size. Carried and received rows:"
        )
        fits = (rows == batch) | _is_fresh(state)
        if tf.executing_eagerly() and not fits:
            raise ValueError(f"{message} {int(rows)}, {int(batch)}.")
        # XLA drops the assertion, but then refuses to assign a state of another shape when the call ends.
        with tf.control_dependencies([tf.debugging.Assert(fits, [message, rows, batch])]):
            return tf.concat([state, self._zeros(batch, state.shape[1])], axis=0)[:batch]

    def _dropout(self, x, h, training):
        """Dropout masks for the inputs, float[batch, features], and for the state, float[batch, units], or None."""
        cell = self.cell
        if not training:
            return None, None
        # The cell caches its masks for its own callers; a new sequence draws new ones.
        cell.reset_dropout_mask()
        cell.reset_recurrent_dropout_mask()
        dropped_x = cell.get_dropout_mask(x) if 0 < cell.dropout < 1 else None
        dropped_h = cell.get_recurrent_dropout_mask(h) if 0 < cell.recurrent_dropout < 1 else None
        cell.reset_dropout_mask()
        cell.reset_recurrent_dropout_mask()
        return dropped_x, dropped_h


def _is_fresh(state):
    """Whether a carried state is that of a start from zeros: then it stands for any batch size."""
    return tf.reduce_all(tf.equal(state, 0))


def _time_major(mask):
    """bool[batch, time] (or [batch, time, 1], or a list that starts with it) -> bool[time, batch, 1]."""
    if isinstance(mask, list | tuple):
        mask = mask[0]
    if mask is None:
        return None
    mask = tf.cast(mask, tf.bool)
    return tf.transpose(mask if len(mask.shape) == 3 else mask[:, :, tf.newaxis], [1, 0, 2])


def _seen(mask):
    """Whether a valid step has come by each step: bool[time, batch, 1]."""
    return tf.cumsum(tf.cast(mask, tf.int32), axis=0) > 0


def affine(x, kernel, bias):
    """x kernel + bias over the last axis, as one matrix product: float[..., a] -> float[..., b]."""
    rows = tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), kernel)
    if bias is not None:
        rows = tf.nn.bias_add(rows, tf.convert_to_tensor(bias))
    return tf.reshape(rows, tf.concat([tf.shape(x)[:-1], [kernel.shape[-1]]], axis=0))

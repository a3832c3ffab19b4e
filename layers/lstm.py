"""The LSTM of the lecture."""

import keras
import tensorflow as tf

from layers.bptt import previous, scale_g, select, unfold_lstm
from layers.groups import join, small
from layers.recurrent import Recurrent, affine


@keras.saving.register_keras_serializable(package="unfold")
class LSTMCell(keras.layers.LSTMCell):
    """One step of the LSTM (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000).

        i = sigmoid(W_ih x + W_hh h(t-1) + b)    input gate
        f = sigmoid(W_ih x + W_hh h(t-1) + b)    forget gate
        g = tanh(W_ih x + W_hh h(t-1) + b)       candidate
        o = sigmoid(W_ih x + W_hh h(t-1) + b)    output gate
        c = f * c(t-1) + i * g
        h = o * tanh(c)

    Each of i, f, g, o has its own columns, in this order, of `kernel` (W_ih, float[features, 4 units]),
    `recurrent_kernel` (W_hh, float[units, 4 units]) and `bias`.

    Args:
        units: size of h and c.
        **kwargs: all that `keras.layers.LSTMCell` takes; `implementation` is ignored. `dropout` and
            `recurrent_dropout` draw one mask a sequence, the same for all gates.

    Call arguments:
        inputs: float[batch, features].
        states: [h(t-1), c(t-1)], each float[batch, units].

    Returns:
        h(t) float[batch, units], and [h(t), c(t)].
    """

    def __init__(self, units, *args, **kwargs):
        super().__init__(units, *args, **kwargs)
        self.dropout_mask_count = None  # one mask, not Keras's one for each gate

    def call(self, inputs, states, training=False):
        x, (h, c) = inputs, states
        if training and 0 < self.dropout < 1:
            x = x * self.get_dropout_mask(x)
        if training and 0 < self.recurrent_dropout < 1:
            h = h * self.get_recurrent_dropout_mask(h)
        W_hh = self.recurrent_kernel
        i, f, g, o = self.gates(self.input_share(x) + tf.matmul(h, W_hh))
        c = f * c + i * g
        h = o * self.activation(c)
        return h, [h, c]

    def input_share(self, x):
        """W_ih x + b for the four gates: float[..., features] -> float[..., 4 units]."""
        return affine(x, self.kernel, self.bias)

    def gates(self, a):
        """i, f, g, o, each float[..., units], from what arrives at them, float[..., 4 units]."""
        i, f, g, o = tf.split(a, 4, axis=-1)
        sigmoid, tanh = self.recurrent_activation, self.activation
        return sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)

    def output(self, h):
        """y = h: the LSTM has no output map of its own."""
        return h


@keras.saving.register_keras_serializable(package="unfold")
class LSTM(Recurrent, keras.layers.LSTM):
    """The LSTM over a whole sequence: a drop-in for `keras.layers.LSTM`, written to the equations of `LSTMCell`.

    Back-propagation through time is derived by hand for the sigmoid and tanh of the equations (`layers/bptt.py`);
    any other activation takes the slower path of automatic differentiation. Weights have Keras's layout and copy both
    ways. The layer compiles under XLA.

    Args:
        units: size of h and c.
        return_gates: also give the gates. `keras.layers.Bidirectional` cannot pass them on and is refused.
        use_cudnn, implementation: accepted and ignored.
        **kwargs: all else that `keras.layers.LSTM` takes, with the same names and defaults.

    Call arguments:
        sequences: float[batch, time, features].
        initial_state: [h(0), c(0)], each float[batch, units]; zeros when absent.
        mask: bool[batch, time], False where the step is to be skipped.
        training: whether dropout is applied.

    Returns:
        h: float[batch, units] of the last step or, with `return_sequences`, float[batch, time, units];
        with `return_state` followed by h and c of the last step;
        with `return_gates` followed by a dict of `i, f, g, o, c`, each float[batch, time, units] in the order in which
        the steps were made (so reversed with `go_backwards`). At a masked step the gates are zero and c is kept.

    Raises:
        ValueError: `unroll` with an unknown number of steps; a stateful call with another batch size than before;
            `return_gates` inside `keras.layers.Bidirectional`.
    """

    gates_of_a_unit = 4

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        kernel_initializer="glorot_uniform",
        recurrent_initializer="orthogonal",
        bias_initializer="zeros",
        unit_forget_bias=True,
        kernel_regularizer=None,
        recurrent_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        recurrent_constraint=None,
        bias_constraint=None,
        dropout=0.0,
        recurrent_dropout=0.0,
        seed=None,
        return_sequences=False,
        return_state=False,
        go_backwards=False,
        stateful=False,
        unroll=False,
        use_cudnn="auto",
        return_gates=False,
        **kwargs,
    ):
        cell = LSTMCell(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            unit_forget_bias=unit_forget_bias,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            seed=seed,
            implementation=kwargs.pop("implementation", 2),
            dtype=kwargs.get("dtype"),
            trainable=kwargs.get("trainable", True),
            name="lstm_cell",
        )
        # Past the constructor of keras.layers.LSTM, which would make Keras's own cell. It stays a base class all the
        # same: what asks `isinstance(layer, keras.layers.LSTM)`, Bidirectional for one, gets the right answer.
        keras.layers.RNN.__init__(
            self,
            cell,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            activity_regularizer=activity_regularizer,
            **kwargs,
        )
        self.input_spec = keras.layers.InputSpec(ndim=3)
        self.use_cudnn = use_cudnn
        self.return_gates = return_gates

    def __setattr__(self, name, value):
        # Only keras.layers.Bidirectional sets use_cudnn on a finished layer, on the two copies it makes. A property's
        # setter would not hear of it: Keras drops an assignment of the value that is there already.
        if name == "use_cudnn" and getattr(self, "return_gates", False):
            raise ValueError(
                "keras.layers.Bidirectional cannot pass on the gates of an LSTM with return_gates=True: use two LSTM "
                "layers, one of them with go_backwards=True."
            )
        super().__setattr__(name, value)

    @property
    def _as_in_lecture(self):
        cell = self.cell
        return cell.activation is keras.activations.tanh and cell.recurrent_activation is keras.activations.sigmoid

    @property
    def _g_doubled(self):
        """Whether one sigmoid serves all gates: see `unfold_lstm`. To double large weights costs more than it saves."""
        enough_digits = tf.as_dtype(self.compute_dtype).size > 2
        return self._as_in_lecture and enough_digits and small(self.units, self.gates_of_a_unit)

    def _in_groups(self, weights, count):
        """As in `Recurrent`, and the columns of g doubled where `_g_doubled` says so: by way of the weights, which are
        fewer than the steps of a training batch."""
        weights = tf.convert_to_tensor(weights)
        return super()._in_groups(scale_g(weights, 2) if self._g_doubled else weights, count)

    def through_time(self, z, mask, state, dropped, **options):
        """(h float[time, batch, units], [h, c] of the last step, (gates,) or nothing) from z = input_share(x)."""
        h0, c0 = state
        cell = self.cell
        W_hh = self._in_groups(cell.recurrent_kernel, len(z))
        h, c = unfold_lstm(
            z,
            mask,
            h0,
            c0,
            W_hh,
            dropped,
            activations=None if self._as_in_lecture else (cell.activation, cell.recurrent_activation),
            g_doubled=self._g_doubled,
            with_cells=self.return_gates,
            unroll=self.unroll,
            **options,
        )
        if not self.return_gates:
            return h, [h[-1], c], ()
        # Only h and c come out of the recurrence; with them the gates of all steps take one more product of each group.
        h_in = previous(h0, h)
        if dropped is not None:
            h_in *= dropped
        a = [z_group + affine(h_in, W_group, None) for z_group, W_group in zip(z, W_hh, strict=True)]
        each = [cell.gates(scale_g(group, 0.5) if self._g_doubled else group) for group in a]
        gates = {name: join(gate) for name, gate in zip("ifgo", zip(*each, strict=True), strict=True)}
        gates = {name: select(mask, gate, tf.zeros_like(gate)) for name, gate in gates.items()}
        gates = {name: tf.transpose(gate, [1, 0, 2]) for name, gate in (gates | {"c": c}).items()}
        return h, [h[-1], c[-1]], (gates,)

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        shape = super().compute_output_shape(sequences_shape, initial_state_shape)
        if not self.return_gates:
            return shape
        steps = (sequences_shape[0], sequences_shape[1], self.units)
        return *(shape if self.return_state else (shape,)), dict.fromkeys("ifgoc", steps)

    def compute_mask(self, sequences, mask):
        masks = super().compute_mask(sequences, mask)
        if not self.return_gates:
            return masks
        return [*(masks if self.return_state else [masks]), dict.fromkeys("ifgoc")]

    def get_config(self):
        return {**super().get_config(), "return_gates": self.return_gates}

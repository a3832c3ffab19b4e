"""The vanilla recurrent network of the lecture."""

import keras
import tensorflow as tf

from layers.bptt import unfold_rnn
from layers.recurrent import Recurrent, affine


@keras.saving.register_keras_serializable(package="unfold")
class VanillaRNNCell(keras.layers.SimpleRNNCell):
    """One step of the vanilla recurrent network (Elman 1990, "Finding structure in time").

        h(t) = f(W_hh h(t-1) + W_ih x(t) + b)
        y(t) = f_o(W_ho h(t) + b_o)            when `output_units` is given; otherwise y(t) = h(t)

    `kernel` is W_ih, float[features, units]; `recurrent_kernel` is W_hh, float[units, units]; `output_kernel` is W_ho,
    float[units, output_units].

    Args:
        units: size of h.
        output_units: size of y, or None for no output map.
        output_activation: f_o; None is linear.
        **kwargs: all that `keras.layers.SimpleRNNCell` takes. `dropout` and `recurrent_dropout` draw one mask a
            sequence.

    Call arguments:
        inputs: float[batch, features].
        states: [h(t-1)], float[batch, units].

    Returns:
        y(t) float[batch, output_units or units], and [h(t)].
    """

    def __init__(self, units, *args, output_units=None, output_activation=None, **kwargs):
        super().__init__(units, *args, **kwargs)
        if output_units is not None and output_units <= 0:
            raise ValueError(f"output_units must be a positive integer or None. Received: {output_units}")
        self.output_units = output_units
        self.output_activation = keras.activations.get(output_activation)
        self.output_size = output_units or units

    def build(self, input_shape):
        super().build(input_shape)
        if self.output_units is None:
            return
        self.output_kernel = self.add_weight(
            shape=(self.units, self.output_units),
            name="output_kernel",
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self.output_bias = None
        if self.use_bias:
            self.output_bias = self.add_weight(
                shape=(self.output_units,),
                name="output_bias",
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )

    def call(self, inputs, states, training=False):
        (h,) = states if isinstance(states, list | tuple) else (states,)
        x = inputs
        if training and 0 < self.dropout < 1:
            x = x * self.get_dropout_mask(x)
        if training and 0 < self.recurrent_dropout < 1:
            h = h * self.get_recurrent_dropout_mask(h)
        W_hh = self.recurrent_kernel
        h = self.activation(self.input_share(x) + tf.matmul(h, W_hh))
        return self.output(h), [h] if isinstance(states, list | tuple) else h

    def input_share(self, x):
        """W_ih x + b: float[..., features] -> float[..., units]."""
        return affine(x, self.kernel, self.bias)

    def output(self, h):
        """y = f_o(W_ho h + b_o): float[..., units] -> float[..., output_units]; h itself without an output map."""
        if self.output_units is None:
            return h
        return self.output_activation(affine(h, self.output_kernel, self.output_bias))

    def get_config(self):
        return {
            **super().get_config(),
            "output_units": self.output_units,
            "output_activation": keras.activations.serialize(self.output_activation),
        }


@keras.saving.register_keras_serializable(package="unfold")
class VanillaRNN(Recurrent, keras.layers.SimpleRNN):
    """The vanilla recurrent network over a whole sequence: a drop-in for `keras.layers.SimpleRNN`.

        h(t) = f(W_hh h(t-1) + W_ih x(t) + b)
        y(t) = f_o(W_ho h(t) + b_o)            when `output_units` is given; otherwise y(t) = h(t)

    Back-propagation through time is derived by hand for f = tanh (`layers/bptt.py`); any other activation takes the
    slower path of automatic differentiation. Weights have Keras's layout and copy both ways.

    Args:
        units: size of h.
        output_units: size of y, or None for no output map.
        output_activation: f_o; None is linear.
        **kwargs: all that `keras.layers.SimpleRNN` takes, with the same names and defaults.

    Call arguments:
        sequences: float[batch, time, features].
        initial_state: [h(0)], float[batch, units]; zeros when absent.
        mask: bool[batch, time], False where the step is to be skipped.
        training: whether dropout is applied.

    Returns:
        y: float[batch, output_units or units] of the last step or, with `return_sequences`, float[batch, time, ...];
        with `return_state` followed by h of the last step.

    Raises:
        ValueError: `unroll` with an unknown number of steps; a stateful call with another batch size than before.
    """

    gates_of_a_unit = 1

    def __init__(
        self,
        units,
        activation="tanh",
        use_bias=True,
        kernel_initializer="glorot_uniform",
        recurrent_initializer="orthogonal",
        bias_initializer="zeros",
        kernel_regularizer=None,
        recurrent_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        recurrent_constraint=None,
        bias_constraint=None,
        dropout=0.0,
        recurrent_dropout=0.0,
        return_sequences=False,
        return_state=False,
        go_backwards=False,
        stateful=False,
        unroll=False,
        seed=None,
        output_units=None,
        output_activation=None,
        **kwargs,
    ):
        cell = VanillaRNNCell(
            units,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            seed=seed,
            output_units=output_units,
            output_activation=output_activation,
            dtype=kwargs.get("dtype"),
            trainable=kwargs.get("trainable", True),
            name="vanilla_rnn_cell",
        )
        # Past SimpleRNN's constructor, which would make Keras's own cell. It stays a base class all the same: what
        # asks `isinstance(layer, keras.layers.SimpleRNN)` gets the right answer.
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
        self.input_spec = [keras.layers.InputSpec(ndim=3)]

    @property
    def _as_in_lecture(self):
        return self.cell.activation is keras.activations.tanh

    def through_time(self, z, mask, state, dropped, **options):
        """(h float[time, batch, units], [h of the last step], nothing more) from z = input_share(x)."""
        h = unfold_rnn(
            z,
            mask,
            state[0],
            self._in_groups(self.cell.recurrent_kernel, len(z)),
            dropped,
            activation=None if self._as_in_lecture else self.cell.activation,
            unroll=self.unroll,
            **options,
        )
        return h, [h[-1]], ()

    @property
    def output_units(self):
        return self.cell.output_units

    @property
    def output_activation(self):
        return self.cell.output_activation

    def get_config(self):
        return {
            **super().get_config(),
            "output_units": self.output_units,
            "output_activation": keras.activations.serialize(self.output_activation),
        }

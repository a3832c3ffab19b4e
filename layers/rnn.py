"""The vanilla recurrent network: its equations, their gradient, and the Keras cell and layer that compute them.

The simple recurrent network (Elman 1990, "Finding structure in time"):

    h(t) = tanh(W_ih x(t) + W_hh h(t-1) + b)    hidden state
    y(t) = f_o(W_ho h(t) + b_o)                 output, when `output_units` is given; otherwise y(t) = h(t)

Below, dv is the derivative of the loss with respect to v, and z is the argument of tanh. The chain rule, applied from
the last equation to the first and from the last step to the first, is back-propagation through time. dh is the whole
gradient of h(t), from the loss at step t and from step t+1, and the derivative of h = tanh(z) is 1 - h^2:

    dz = dh * (1 - h^2)                    through h = tanh(z)
    dh(t-1) = dz W_hh^T                    through z = W_ih x(t) + W_hh h(t-1) + b
    dW_hh = sum over t of h(t-1)^T dz      likewise dW_ih with x(t), and db = sum over t and batch of dz

In the code, and in the gradients above, a row is one sequence of the batch, so W x is written x W. W_ih is
`kernel`, float[features, units], W_hh is `recurrent_kernel`, float[units, units], and W_ho is `output_kernel`,
float[units, output_units].

`step` is the equation of h. `backward_step` is its gradient, given its `local_gradients`: the factor of dh above.
`layers/bptt.py` runs both over time.
"""

import keras
import tensorflow as tf

from layers.bptt import Recurrence
from layers.recurrent import Recurrent, affine, split_arguments


def step(a, state, W_hh, b=None, tanh=tf.tanh):
    """Returns h(t): the forward equation of one step.

    Args:
        a: float[batch, units], the part of z that does not depend on h(t-1): W_ih x(t), or W_ih x(t) + b.
        state: (h(t-1),), float[batch, units].
        W_hh: float[units, units].
        b: float[units]; None if a contains it, or without a bias.
        tanh: the activation.

    Returns:
        (h(t),) and no gates.
    """
    (h,) = state
    z = a + tf.matmul(h, W_hh)
    if b is not None:
        z = z + b
    h = tanh(z)
    return (h,), ()


def local_gradients(gates, states, previous_states):
    """Returns the factor of dh in the equations of the gradient, for all steps at once.

    Args:
        gates, previous_states: not used; they are there because the LSTM needs them.
        states: (h,), float[time, batch, units].

    Returns:
        (1 - h^2,), float[time, batch, units].
    """
    (h,) = states
    return (1 - h * h,)


def backward_step(d_state, local, W_hh_transposed):
    """Returns dh(t-1) and dz(t): the gradient of one step.

    Args:
        d_state: (dh,), float[batch, units].
        local: the `local_gradients` of this step.
        W_hh_transposed: W_hh^T, float[units, units].

    Returns:
        (dh(t-1),) and dz, each float[batch, units].
    """
    (dh,), (dh_to_dz,) = d_state, local
    dz = dh * dh_to_dz
    return (tf.matmul(dz, W_hh_transposed),), dz


@keras.saving.register_keras_serializable(package="unfold")
class VanillaRNNCell(keras.layers.SimpleRNNCell):
    """One step of the vanilla recurrent network: the equations at the top of this file.

    Args:
        units: size of h.
        output_units: size of y, or None for no output layer.
        output_activation: f_o; None is linear.
        **kwargs: the arguments of `keras.layers.SimpleRNNCell`. `dropout` and `recurrent_dropout` draw one mask per
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

    def load_own_variables(self, store):
        # Loads the weights of a keras.layers.SimpleRNN: a container such as Sequential names the entries of its file
        # after the classes of its layers.
        path = getattr(store, "_h5_entry_path", None)
        if path and not len(store.keys()):
            store = store.get(path.replace("vanilla_rnn", "simple_rnn"))
        super().load_own_variables(store)

    def call(self, inputs, states, training=False):
        (h,) = states if isinstance(states, list | tuple) else (states,)
        x = inputs
        if training and 0 < self.dropout < 1:
            x = x * self.get_dropout_mask(x)
        if training and 0 < self.recurrent_dropout < 1:
            h = h * self.get_recurrent_dropout_mask(h)
        (h,), _ = self.step(tf.matmul(x, self.kernel), (h,), self.recurrent_kernel, self.bias)
        return self.output(h), [h] if isinstance(states, list | tuple) else h

    def step(self, a, state, W_hh, b=None):
        """Calls the function `step` of this file with the activation of this cell."""
        return step(a, state, W_hh, b, self.activation)

    def output(self, h):
        """Returns y = f_o(W_ho h + b_o), float[..., units] -> float[..., output_units]; without an output layer, h."""
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
    """The vanilla recurrent network over a whole sequence: a drop-in replacement for `keras.layers.SimpleRNN`.

    The weights have Keras's layout and copy both ways; a `.weights.h5` of `keras.layers.SimpleRNN` can be loaded. In
    training, tanh uses the gradient of this file; other activations and calls with `training=False` use TensorFlow's
    automatic differentiation, which is slower.

    Args:
        units: size of h.
        output_units: size of y, or None for no output layer.
        output_activation: f_o; None is linear.
        **kwargs: the other arguments of `keras.layers.SimpleRNN`, with the same names and defaults.

    Call arguments:
        sequences: float[batch, time, features].
        initial_state: [h(0)], float[batch, units]; zeros by default.
        mask: bool[batch, time], False where a step is to be skipped.
        training: whether to apply dropout; also chooses how the gradient is computed, as described above.

    Returns:
        y: float[batch, output_units or units] of the last step or, with `return_sequences`, float[batch, time, ...];
        with `return_state` followed by h of the last step.

    Raises:
        ValueError: `unroll` with an unknown number of steps; a stateful call with a different batch size from before; a
            mask of a different size from the input; more than one initial state, or one of another width.
        tf.errors.InvalidArgumentError: a wrong size that is only known when a graph runs.
    """

    recurrence = Recurrence(step, local_gradients, backward_step, gate_count=0)

    def __init__(self, units, *args, output_units=None, output_activation=None, **kwargs):
        cell, layer = split_arguments(keras.layers.SimpleRNN, keras.layers.SimpleRNNCell, units, *args, **kwargs)
        output = {"output_units": output_units, "output_activation": output_activation}
        # Not the constructor of SimpleRNN, which would create Keras's own cell. It is a base class so that
        # `isinstance(layer, keras.layers.SimpleRNN)` is true.
        keras.layers.RNN.__init__(self, VanillaRNNCell(**cell, **output, name="vanilla_rnn_cell"), **layer)
        self.input_spec = [keras.layers.InputSpec(ndim=3)]

    @property
    def _uses_custom_gradient(self):
        return self.cell.activation is keras.activations.tanh

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
            "seed": self.cell.seed,  # SimpleRNN leaves it out; Bidirectional makes its two layers of the configuration
        }

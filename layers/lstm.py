"""The LSTM: its equations, their gradient, and the Keras cell and layer that compute them.

The long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000):

    i(t) = sigmoid(W_xi x(t) + W_hi h(t-1) + b_i)    input gate
    f(t) = sigmoid(W_xf x(t) + W_hf h(t-1) + b_f)    forget gate
    g(t) = tanh(W_xg x(t) + W_hg h(t-1) + b_g)       candidate
    o(t) = sigmoid(W_xo x(t) + W_ho h(t-1) + b_o)    output gate
    c(t) = f(t) * c(t-1) + i(t) * g(t)               cell state
    h(t) = o(t) * tanh(c(t))                         hidden state

Below, dv is the derivative of the loss with respect to v, z_i, z_f, z_g, z_o are the arguments of the four activations,
and a variable without a time is that of step t. Back-propagation through time is the chain rule, applied from the last
equation to the first and from the last step to the first. It enters step t with dh, the whole gradient of h(t) (from
the loss at step t and from step t+1), and with dc', the part of the gradient of c(t) that comes from step t+1. The
derivative of s = sigmoid(z) is s (1 - s), that of u = tanh(z) is 1 - u^2:

    dc   = dc' + dh * o (1 - tanh(c)^2)    through h = o * tanh(c)
    dz_o = dh * tanh(c) o (1 - o)
    dz_i = dc * g i (1 - i)                through c = f * c(t-1) + i * g
    dz_f = dc * c(t-1) f (1 - f)
    dz_g = dc * i (1 - g^2)
    dc(t-1) = dc * f
    dh(t-1) = dz W_h^T                     through z = W_x x(t) + W_h h(t-1) + b
    dW_h = sum over t of h(t-1)^T dz       likewise dW_x with x(t), and db = sum over t and batch of dz

In the code, and in the gradients above, a row is one sequence of the batch, so W x is written x W. The four gates are
concatenated, in the order of Keras:

    z   = [z_i  z_f  z_g  z_o]     float[batch, 4 units]
    W_x = [W_xi W_xf W_xg W_xo]    float[features, 4 units], `kernel`
    W_h = [W_hi W_hf W_hg W_ho]    float[units, 4 units], `recurrent_kernel`
    b   = [b_i  b_f  b_g  b_o]     float[4 units], `bias`

`step` is the forward equations of one step. `backward_step` is the gradient of one step, given its `local_gradients`:
the factors of dc and dh above. `layers/bptt.py` runs both over time.
"""

import keras
import tensorflow as tf

from layers.bptt import Recurrence, select
from layers.recurrent import Recurrent, split_arguments


def step(a, state, W_h, b=None, tanh=tf.tanh, sigmoid=tf.sigmoid):
    """Returns h(t), c(t) and the gates: the forward equations of one step.

    Args:
        a: float[batch, 4 units], the part of z that does not depend on h(t-1): W_x x(t), or W_x x(t) + b.
        state: (h(t-1), c(t-1)), each float[batch, units].
        W_h: float[units, 4 units].
        b: float[4 units]; None if a contains it, or without a bias.
        tanh, sigmoid: the activations.

    Returns:
        (h(t), c(t)) and (i, f, g, o), each float[batch, units].
    """
    h, c = state
    z = a + tf.matmul(h, W_h)
    if b is not None:
        z = z + b
    z_i, z_f, z_g, z_o = tf.split(z, 4, axis=-1)
    i = sigmoid(z_i)
    f = sigmoid(z_f)
    g = tanh(z_g)
    o = sigmoid(z_o)
    c = f * c + i * g
    h = o * tanh(c)
    return (h, c), (i, f, g, o)


def local_gradients(gates, states, previous_states):
    """Returns the factors of dc and dh in the equations of the gradient, for all steps at once.

    They depend on the gates and states of the forward pass alone, so the loop that runs backwards in time does not have
    to compute them step by step.

    Args:
        gates: (i, f, g, o).
        states, previous_states: (h(t), c(t)) and (h(t-1), c(t-1)). All are float[time, batch, units].

    Returns:
        Three tensors: what [dc, dc, dc, dh] is multiplied by in [dz_i, dz_f, dz_g, dz_o], float[time, batch, 4 units];
        what dh is multiplied by in dc; what dc is multiplied by in dc(t-1), each float[time, batch, units].
    """
    i, f, g, o = gates
    (_, c), (_, c_previous) = states, previous_states
    tanh_c = tf.tanh(c)
    dc_to_dz_i = sigmoid_grad(i, g)
    dc_to_dz_f = sigmoid_grad(f, c_previous)
    dc_to_dz_g = tanh_grad(g, i)
    dh_to_dz_o = sigmoid_grad(o, tanh_c)
    dh_to_dc = tanh_grad(tanh_c, o)
    dc_to_dc_previous = f
    return tf.concat([dc_to_dz_i, dc_to_dz_f, dc_to_dz_g, dh_to_dz_o], axis=-1), dh_to_dc, dc_to_dc_previous


def backward_step(d_state, local, W_h_transposed):
    """Returns dh(t-1), dc(t-1) and dz(t): the gradient of one step.

    Args:
        d_state: (dh, dc'), each float[batch, units].
        local: the `local_gradients` of this step.
        W_h_transposed: W_h^T, float[4 units, units].

    Returns:
        (dh(t-1), dc(t-1)), each float[batch, units], and dz = [dz_i, dz_f, dz_g, dz_o], float[batch, 4 units].
    """
    dh, dc = d_state
    to_dz, dh_to_dc, dc_to_dc_previous = local
    dc = dc + dh * dh_to_dc
    dz = tf.concat([dc, dc, dc, dh], axis=-1) * to_dz
    return (tf.matmul(dz, W_h_transposed), dc * dc_to_dc_previous), dz


def sigmoid_grad(y, dy):
    """Returns dz = dy y (1 - y) for y = sigmoid(z)."""
    return tf.raw_ops.SigmoidGrad(y=y, dy=dy)


def tanh_grad(y, dy):
    """Returns dz = dy (1 - y^2) for y = tanh(z)."""
    return tf.raw_ops.TanhGrad(y=y, dy=dy)


@keras.saving.register_keras_serializable(package="unfold")
class LSTMCell(keras.layers.LSTMCell):
    """One step of the LSTM: the equations at the top of this file.

    Args:
        units: size of h and c.
        **kwargs: the arguments of `keras.layers.LSTMCell`; `implementation` is ignored. `dropout` and
            `recurrent_dropout` draw one mask per sequence, the same for all gates.

    Call arguments:
        inputs: float[batch, features].
        states: [h(t-1), c(t-1)], each float[batch, units].

    Returns:
        h(t) float[batch, units], and [h(t), c(t)].
    """

    def __init__(self, units, *args, **kwargs):
        super().__init__(units, *args, **kwargs)
        self.dropout_mask_count = None  # one mask for all gates; Keras: 4, one for each

    def call(self, inputs, states, training=False):
        x, (h, c) = inputs, states
        if training and 0 < self.dropout < 1:
            x = x * self.get_dropout_mask(x)
        if training and 0 < self.recurrent_dropout < 1:
            h = h * self.get_recurrent_dropout_mask(h)
        (h, c), _ = self.step(tf.matmul(x, self.kernel), (h, c), self.recurrent_kernel, self.bias)
        return h, [h, c]

    def step(self, a, state, W_h, b=None):
        """Calls the function `step` of this file with the activations of this cell."""
        return step(a, state, W_h, b, self.activation, self.recurrent_activation)

    def output(self, h):
        """Returns h: the LSTM has no output layer, which `VanillaRNNCell` can have."""
        return h


@keras.saving.register_keras_serializable(package="unfold")
class LSTM(Recurrent, keras.layers.LSTM):
    """The LSTM over a whole sequence: a drop-in replacement for `keras.layers.LSTM`.

    The weights have the layout of Keras: `set_weights` accepts those of its LSTM, and the other way round. XLA can
    compile the layer.

    The gradient is computed by the equations at the top of this file if the layer is called with `training=True`, the
    activations are tanh and sigmoid, and `return_gates` is False. Otherwise TensorFlow's automatic differentiation
    computes the same gradient, more slowly.

    Args:
        units: size of h and c.
        return_gates: whether to return the gates as well. Such a layer cannot be wrapped in
            `keras.layers.Bidirectional`, which would lose them.
        use_cudnn, implementation: accepted and ignored.
        **kwargs: the other arguments of `keras.layers.LSTM`, with the same names and defaults.

    Call arguments:
        sequences: float[batch, time, features].
        initial_state: [h(0), c(0)], each float[batch, units]; zeros by default.
        mask: bool[batch, time], False where a step is to be skipped.
        training: whether to apply dropout; also chooses how the gradient is computed, as described above.

    Returns:
        h: float[batch, units] of the last step or, with `return_sequences`, float[batch, time, units];
        with `return_state` followed by h and c of the last step;
        with `return_gates` followed by a dict of the gates and the cell state, "i", "f", "g", "o" and "c", each
        float[batch, time, units], in the order in which the steps ran (reversed with `go_backwards`). At a masked step
        the gates are zero and c is that of the step before.

    Raises:
        ValueError: `unroll` with an unknown number of steps; a stateful call with a different batch size from before; a
            mask of a different size from the input; initial states that are not two, or not `units` wide;
            `return_gates` inside `keras.layers.Bidirectional`.
        tf.errors.InvalidArgumentError: a wrong size that is only known when a graph runs.
    """

    recurrence = Recurrence(step, local_gradients, backward_step, gate_count=4)

    def __init__(self, units, *args, return_gates=False, **kwargs):
        cell, layer = split_arguments(keras.layers.LSTM, keras.layers.LSTMCell, units, *args, **kwargs)
        use_cudnn = layer.pop("use_cudnn")
        # Not super().__init__: that of keras.layers.LSTM would create Keras's own cell. keras.layers.LSTM is a base
        # class for its properties, such as `units`, and so that Bidirectional treats the layer as an LSTM.
        keras.layers.RNN.__init__(self, LSTMCell(**cell, name="lstm_cell"), **layer)
        self.input_spec = keras.layers.InputSpec(ndim=3)
        self.use_cudnn = use_cudnn
        self.return_gates = return_gates

    def __setattr__(self, name, value):
        # Refuses keras.layers.Bidirectional, whose constructor sets use_cudnn of its two copies of the layer; nothing
        # else in Keras sets it after construction. (The setter of a property would not be called: Keras skips an
        # assignment that leaves the value as it is.)
        if name == "use_cudnn" and getattr(self, "return_gates", False):
            raise ValueError(
                "keras.layers.Bidirectional cannot pass on the gates of an LSTM with return_gates=True: use two LSTM "
                "layers, one of them with go_backwards=True."
            )
        super().__setattr__(name, value)

    @property
    def _uses_custom_gradient(self):
        """Returns whether training computes the gradient by the equations of this file."""
        activations = self.cell.activation, self.cell.recurrent_activation
        return activations == (keras.activations.tanh, keras.activations.sigmoid) and not self.return_gates

    def _gates_by_name(self, over_time, mask):
        """Returns the dict of `return_gates` from (h, c, i, f, g, o), each float[time, batch, units]."""
        _, c, *gates = over_time
        gates = select(mask, gates, [tf.zeros_like(gate) for gate in gates])
        return {name: tf.transpose(value, [1, 0, 2]) for name, value in zip("ifgoc", [*gates, c], strict=True)}

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

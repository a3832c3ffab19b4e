"""Attention pooling: the mean of the states of a text over time, with learned weights.

Yang et al. 2016, "Hierarchical attention networks for document classification", equations 5 to 7. For the states h_t of
one sequence:

    u_t     = tanh(W h_t + b)
    alpha_t = exp(u_t . u_w) / sum_k exp(u_k . u_w)        over the time steps k that are not masked
    s       = sum_t alpha_t h_t

u_w is the context vector, which is learned like W and b. If all time steps are masked, all alpha_t and s are zero.
"""

import keras

from layers.attention import masked_softmax


@keras.saving.register_keras_serializable(package="unfold")
class AttentionPooling(keras.layers.Layer):
    """Returns the weighted mean s of states: float[batch, time, features], bool[batch, time] -> float[batch, features].

    Scores, softmax and sum are computed in at least float32, whatever the precision of the states is.

    Args:
        units: size of u_t.
        return_weights: also return alpha, float[batch, time], in float32 (float64 if the layer has that type).
        kernel_initializer: of W.
        context_initializer: of u_w.
    """

    def __init__(
        self,
        units: int,
        *,
        return_weights: bool = False,
        kernel_initializer="glorot_uniform",
        context_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if units < 1:
            raise ValueError(f"units is {units}, expected at least 1")
        self.units, self.return_weights = units, return_weights
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.context_initializer = keras.initializers.get(context_initializer)
        self.supports_masking = True

    def build(self, states_shape):
        if len(states_shape) != 3 or states_shape[-1] is None:
            raise ValueError(f"the states have the shape {states_shape}, expected [batch, time, features]")
        features = states_shape[-1]
        self.kernel = self.add_weight(shape=(features, self.units), initializer=self.kernel_initializer, name="kernel")
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")
        # Not rounded in mixed precision: the scores are not either.
        self.context = self.add_weight(
            shape=(self.units,), initializer=self.context_initializer, autocast=False, name="context"
        )

    def compute_mask(self, states, previous_mask=None):
        return None  # the result has no time

    def call(self, states, mask=None):
        exact = keras.backend.result_type(self.compute_dtype, "float32")
        u = keras.ops.tanh(keras.ops.matmul(states, self.kernel) + self.bias)  # [batch, time, units]
        scores = keras.ops.matmul(keras.ops.cast(u, exact), keras.ops.cast(self.context, exact))  # [batch, time]
        alpha = keras.ops.softmax(scores) if mask is None else masked_softmax(scores, mask)
        s = keras.ops.matmul(alpha[:, None, :], keras.ops.cast(states, exact))[:, 0]
        s = keras.ops.cast(s, self.compute_dtype)
        return (s, alpha) if self.return_weights else s

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "return_weights": self.return_weights,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "context_initializer": keras.initializers.serialize(self.context_initializer),
        }

"""Pooling over time: the last state, the mean or maximum of the states, or their mean with learned weights."""

import keras
import tensorflow as tf

from layers.attention import masked_softmax


def pool_over_time(states, mask, how: str):
    """Pools states over the time steps that are not masked.

    Args:
        states: float[batch, time, units].
        mask: bool[batch, time], False for padding, which follows the sequence if `how` is "last".
        how: "last", "mean" or "max".

    Returns:
        float[batch, units]; zeros for a sequence of padding only.
    """
    is_real = mask[:, :, None]
    if how == "last":
        last = tf.maximum(tf.reduce_sum(tf.cast(mask, tf.int32), axis=1) - 1, 0)
        pooled = tf.gather(states, last, batch_dims=1)
    elif how == "mean":
        kind = tf.float64 if states.dtype == tf.float64 else tf.float32  # in half precision, counts would be rounded
        weights = tf.cast(is_real, kind)
        total = tf.reduce_sum(tf.cast(states, kind) * weights, axis=1)
        pooled = tf.cast(total / tf.maximum(tf.reduce_sum(weights, axis=1), 1), states.dtype)
    else:
        pooled = tf.reduce_max(tf.where(is_real, states, states.dtype.min), axis=1)
    return tf.where(tf.reduce_any(is_real, axis=1), pooled, tf.zeros_like(pooled))


@keras.saving.register_keras_serializable(package="unfold")
class PoolOverTime(keras.layers.Layer):
    """Returns the mean or maximum over the time steps that are not padding: float[batch, time, units], bool[batch,
    time] -> float[batch, units]."""

    def __init__(self, how: str, **kwargs):
        super().__init__(**kwargs)
        if how not in ("mean", "max"):
            raise ValueError(f"how is {how!r}, expected 'mean' or 'max'")
        self.how = how
        self.supports_masking = True

    def compute_mask(self, inputs, previous_mask=None):
        return None  # the result has no time

    def call(self, states, padding_mask):
        return pool_over_time(states, padding_mask, self.how)

    def get_config(self):
        return {**super().get_config(), "how": self.how}


@keras.saving.register_keras_serializable(package="unfold")
class AttentionPooling(keras.layers.Layer):
    """Returns the weighted mean s of states: float[batch, time, features], bool[batch, time] -> float[batch, features].

    Yang et al. 2016, "Hierarchical attention networks for document classification", equations 5 to 7. For the states
    h_t of one sequence:

        u_t     = tanh(W h_t + b)
        alpha_t = exp(u_t . u_w) / sum_k exp(u_k . u_w)        over the time steps k that are not masked
        s       = sum_t alpha_t h_t

    u_w is the context vector, which is learned like W and b. If all time steps are masked, all alpha_t and s are zero.

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

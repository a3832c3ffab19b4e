"""Parts of the frame classifier over time: its recurrent layers, a refining stage, standardisation, pooling, deltas."""

import keras
import tensorflow as tf

from layers.cells import CELLS
from layers.lstm import LSTM
from pipelines.common.seeds import Seeds


@keras.saving.register_keras_serializable(package="unfold")
class Refinement(keras.layers.Layer):
    """Logits of a stage to those of the next: softmax, dropout of whole labels, bidirectional LSTM, linear map.

    Args:
        units: units of each direction.
        classes: number of labels.
        dropout: share of the LSTM's units that is dropped. Of the labels, half that share is dropped.
    """

    def __init__(self, units: int, classes: int, *, dropout: float, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.units = units
        self.arguments = {"units": units, "classes": classes, "dropout": dropout, "seed": seed}
        seeds = Seeds(seed)

        def direction(name: str, backwards: bool):
            return LSTM(
                units,
                return_sequences=True,
                go_backwards=backwards,
                kernel_initializer=keras.initializers.GlorotUniform(seed=seeds()),
                recurrent_initializer=keras.initializers.Orthogonal(seed=seeds()),
                name=name,
            )

        self.label_dropout = keras.layers.SpatialDropout1D(dropout / 2, seed=seeds())
        self.recurrent = keras.layers.Bidirectional(
            direction("forward", False), backward_layer=direction("backward", True), name="recurrent"
        )
        self.dropout = keras.layers.Dropout(dropout, seed=seeds())
        kernel = keras.initializers.GlorotUniform(seed=seeds())
        self.head = keras.layers.Dense(classes, kernel_initializer=kernel, dtype="float32", name="head")

    def build(self, input_shape):
        self.recurrent.build(input_shape)
        self.head.build((*input_shape[:-1], 2 * self.units))
        super().build(input_shape)

    def call(self, logits, padding_mask=None, training=False):
        x = self.label_dropout(tf.nn.softmax(logits), training=training)
        x = self.recurrent(x, mask=padding_mask, training=training)
        return self.head(self.dropout(x, training=training))

    def get_config(self):
        return {**super().get_config(), **self.arguments}


def make_temporal_layer(
    number: int,
    cell: str,
    units: int,
    output_units: int | None,
    bidirectional: bool,
    recurrent_dropout: float,
    seeds: Seeds,
) -> keras.layers.Layer:
    """Returns a recurrent layer, in one direction or both; or, with the cell "none", a dense layer with ReLU.

    Args:
        number: part of the name.
        output_units: of the output map of a vanilla RNN; those of both directions are added. None: it has no such map.
    """

    def glorot():
        return keras.initializers.GlorotUniform(seed=seeds())

    def direction(name: str, backwards: bool):
        return CELLS[cell](
            units,
            return_sequences=True,
            return_state=not bidirectional,
            go_backwards=backwards,
            recurrent_dropout=recurrent_dropout,
            kernel_initializer=glorot(),
            recurrent_initializer=keras.initializers.Orthogonal(seed=seeds()),
            seed=seeds(),
            name=f"{name}_{number}",
            **({"output_units": output_units} if output_units else {}),
        )

    if cell == "none":
        return keras.layers.Dense(units, "relu", kernel_initializer=glorot(), name=f"dense_{number}")
    forward = direction("forward", False)
    if not bidirectional:
        return forward
    merge, backward = "sum" if output_units else "concat", direction("backward", True)
    return keras.layers.Bidirectional(forward, merge_mode=merge, backward_layer=backward, name=f"recurrent_{number}")


def standardize_video(x, padding_mask=None):
    """Returns the features of each video with mean 0 and standard deviation 1 over its frames, float32.

    Args:
        x: float[batch, time, features] of whole videos.
        padding_mask: bool[batch, time], False past the end of a video; None: there is no padding.
    """
    x = tf.cast(x, tf.float32)
    mask = tf.ones_like(x[:, :, 0]) if padding_mask is None else tf.cast(padding_mask, tf.float32)
    weights = (mask / tf.maximum(tf.reduce_sum(mask, axis=1, keepdims=True), 1))[:, :, None]
    x -= tf.reduce_sum(x * weights, axis=1, keepdims=True)
    variance = tf.reduce_sum(tf.square(x) * weights, axis=1, keepdims=True)
    return x * tf.math.rsqrt(variance + 1e-6) * mask[:, :, None]


def pool_frames(x, padding_mask, pool: int):
    """Returns the mean of each `pool` frames in a row, and which of these steps have frames.

    Args:
        x: float[batch, time, width].
        padding_mask: bool[batch, time], False past the end of a video; None: there is no padding.

    Returns:
        (float[batch, steps, width], bool[batch, steps]) with steps = time / pool, rounded up. The last step of a video
        is the mean of the frames that are left.
    """
    batch, time = x.shape[0] or tf.shape(x)[0], tf.shape(x)[1]  # loops convert to LiteRT only if the batch is known
    mask = tf.ones([batch, time], tf.bool) if padding_mask is None else padding_mask
    steps = (time + pool - 1) // pool  # in ONNX, the division of a negative number is rounded otherwise
    more = [[0, 0], [0, steps * pool - time]]
    weights = tf.cast(tf.reshape(tf.pad(mask, more), [batch, steps, pool, 1]), x.dtype)
    x = tf.reshape(tf.pad(x, [*more, [0, 0]]), [batch, steps, pool, x.shape[-1]])
    counts = tf.reduce_sum(weights, axis=2)
    return tf.reduce_sum(x * weights, axis=2) / tf.maximum(counts, 1), counts[:, :, 0] > 0


def append_deltas(x, before, seen, factor: float, padding_mask):
    """Appends to each frame its difference from the frame before, times `factor`.

    Args:
        x: float[batch, time, width].
        before: the frame before the first one, float[batch, width].
        seen: float[batch, 1], 0 if there is no frame before the first one: its difference is 0.
        padding_mask: bool[batch, time], False past the end of a video; None: there is no padding.

    Returns:
        (float[batch, time, 2 width], [before, seen] for the next window).
    """
    before, seen = tf.cast(before, x.dtype), tf.cast(seen, x.dtype)
    previous = tf.concat([before[:, None], x[:, :-1]], axis=1)
    has_previous = tf.concat([seen[:, None], tf.ones_like(x[:, 1:, :1])], axis=1)
    deltas = (x - previous) * has_previous * tf.cast(factor, x.dtype)
    frames = tf.fill([tf.shape(x)[0]], tf.shape(x)[1])
    if padding_mask is not None:
        frames = tf.reduce_sum(tf.cast(padding_mask, tf.int32), axis=1)
    any_frame = (frames > 0)[:, None]
    last = tf.where(any_frame, tf.gather(x, tf.maximum(frames - 1, 0), batch_dims=1), before)
    return tf.concat([x, deltas], axis=-1), [last, tf.where(any_frame, tf.ones_like(seen), seen)]

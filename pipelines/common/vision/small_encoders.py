"""Small convolutional networks for the pictures of the samples; see encoders.build_encoder."""

import keras
import numpy as np
import tensorflow as tf


def build_small(image_size: int, pooling: str) -> keras.Model:
    """Returns three convolutions of stride 2, for pictures of 48 or 64 pixels; the input of each has two more channels,
    the x and y coordinates (Liu et al. 2018, "An intriguing failing of convolutional neural networks and the CoordConv
    solution")."""
    pixels = keras.Input((image_size, image_size, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scaling")(pixels)
    for number, filters in enumerate((32, 64, 64), start=1):
        x = keras.layers.Concatenate(name=f"with_coordinates_{number}")([x, coordinates(x)])
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu",
                                kernel_initializer="he_normal", name=f"conv_{number}")(x)  # fmt: skip
    if pooling == "avg":
        x = keras.layers.Conv2D(32, 1, activation="relu", kernel_initializer="he_normal", name="narrow")(x)
        x = keras.layers.Flatten(name="all_places")(x)
        x = keras.layers.Dense(256, activation="relu", kernel_initializer="he_normal", name="projection")(x)
    else:
        x = keras.layers.Reshape((-1, 64), name="places")(x)
    return keras.Model(pixels, x, name="encoder")


def build_peaks(image_size: int, pooling: str) -> keras.Model:
    """Returns four convolutions, for pictures of 64 pixels, and the `Peaks` of 96 channels."""
    pixels = keras.Input((image_size, image_size, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scaling")(pixels)
    for number, (filters, strides) in enumerate(((24, 2), (48, 2), (64, 1), (64, 1)), start=1):
        x = keras.layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False,
                                kernel_initializer="he_normal", name=f"conv_{number}")(x)  # fmt: skip
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"norm_{number}")(x)
        x = keras.layers.ReLU(name=f"relu_{number}")(x)
    x = keras.layers.Conv2D(96, 1, activation="relu", kernel_initializer="he_normal", name="detectors")(x)
    x = Peaks(name="peaks")(x) if pooling == "avg" else keras.layers.Reshape((-1, 96), name="places")(x)
    return keras.Model(pixels, x, name="encoder")


@keras.saving.register_keras_serializable(package="unfold")
class Peaks(keras.layers.Layer):
    """Maximum of each channel, in the whole image and its halves, and the position of the maximum.

    float[batch, height, width, channels] -> float[batch, 7 channels]: the maxima over all positions and over the upper,
    lower, left and right half (as in the spatial pyramids of Lazebnik et al. 2006, "Beyond bags of features"); then the
    x and y coordinates of the peak, -1 to 1, the mean position under a softmax over all positions (Levine et al. 2016,
    "End-to-end training of deep visuomotor policies").

    Args:
        sharpness: factor of the channel in that softmax.
    """

    def __init__(self, sharpness: float = 4.0, **kwargs):
        super().__init__(**kwargs)
        self.sharpness = sharpness

    def call(self, x):
        height, width, channels = x.shape[1:]
        rows = tf.reshape(x, [-1, height * width, channels])
        share = tf.nn.softmax(self.sharpness * rows, axis=1)
        place = tf.reshape(grid(height, width), [height * width, 2])
        where = tf.einsum("npc,pd->ncd", share, tf.cast(place, x.dtype))
        down, right = height // 2, width // 2
        parts = (x, x[:, :down], x[:, down:], x[:, :, :right], x[:, :, right:])
        highest = [tf.reduce_max(part, axis=[1, 2]) for part in parts]
        return tf.concat([*highest, where[..., 0], where[..., 1]], axis=1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 7 * input_shape[-1])

    def get_config(self):
        return {**super().get_config(), "sharpness": self.sharpness}


def coordinates(x):
    """Returns the coordinates float32[batch, height, width, 2] of x [batch, height, width, channels]; see `grid`."""
    return keras.ops.zeros_like(x[..., :1]) + grid(*x.shape[1:3])


def grid(height: int, width: int) -> np.ndarray:
    """Returns float32[height, width, 2]: the x and y coordinate of each position, -1 to 1."""
    rows, columns = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    return np.stack([columns, rows], axis=-1).astype("float32")


BUILDERS = {"small": build_small, "peaks": build_peaks}

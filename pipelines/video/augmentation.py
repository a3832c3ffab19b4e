"""Augmentation of video clips: random shifts and permutations of the colour channels."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="unfold")
class Augmentation(keras.layers.Layer):
    """Changes all frames of a video in the same random way during training; float[batch, time, size, size, 3].

    Args:
        shift: frames are moved by up to this share of a side in each direction; the gap is filled with the edge.
        shuffle_colours: the colour channels are put in a random order.
    """

    def __init__(self, shift: float, shuffle_colours: bool, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.shift, self.shuffle_colours, self.seed = shift, shuffle_colours, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, pixels, training=False):
        if not training:
            return pixels
        batch, size = tf.shape(pixels)[0], pixels.shape[2]
        max_shift = round(self.shift * size)
        for axis in (2, 3) if max_shift else ():
            offset = keras.random.randint([batch, 1], -max_shift, max_shift + 1, seed=self.seed_generator)
            indices = tf.clip_by_value(tf.range(size)[None] + offset, 0, size - 1)  # [batch, size]
            pixels = gather_along(pixels, indices, axis)
        if self.shuffle_colours:
            order = tf.argsort(keras.random.uniform([batch, 3], seed=self.seed_generator))
            pixels = gather_along(pixels, order, 4)
        return pixels

    def get_config(self):
        return {**super().get_config(), "shift": self.shift, "shuffle_colours": self.shuffle_colours, "seed": self.seed}


def gather_along(pixels, indices, axis: int):
    """Returns for each example of float[batch, …] its own indices int32[batch, n] along an axis."""
    return tf.gather(pixels, indices, axis=axis, batch_dims=1)

"""Clips that move and change their colours, so that a small set shows more than it has."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="unfold")
class Augmentation(keras.layers.Layer):
    """In training, changes the frames of each video, all in the same way: float[batch, time, size, size, 3] alike.

    Args:
        shift: the picture is moved by up to this share of its side in each direction; its edge fills the gap.
        shuffle_colours: its channels are put in a random order.
    """

    def __init__(self, shift: float, shuffle_colours: bool, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.shift, self.shuffle_colours, self.seed = shift, shuffle_colours, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, pixels, training=False):
        if not training:
            return pixels
        batch, size = tf.shape(pixels)[0], pixels.shape[2]
        most = round(self.shift * size)
        for axis in (2, 3) if most else ():
            moved = keras.random.randint([batch, 1], -most, most + 1, seed=self.seed_generator)
            places = tf.clip_by_value(tf.range(size)[None] + moved, 0, size - 1)  # [batch, size]
            pixels = along(pixels, places, axis)
        if self.shuffle_colours:
            order = tf.argsort(keras.random.uniform([batch, 3], seed=self.seed_generator))
            pixels = along(pixels, order, 4)
        return pixels

    def get_config(self):
        return {**super().get_config(), "shift": self.shift, "shuffle_colours": self.shuffle_colours, "seed": self.seed}


def along(pixels, places, axis: int):
    """For each of float[batch, …] its places int32[batch, n] along an axis."""
    return tf.gather(pixels, places, axis=axis, batch_dims=1)

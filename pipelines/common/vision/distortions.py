"""Changes of images, such as cameras and programs make them.

An image is float32[height, width, 3] from 0 to 255; `greyed` and `shrunk` take any number of them, float32[...,
height, width, 3]. What lies outside an image is black.
"""

from collections.abc import Callable

import tensorflow as tf


def greyed(image):
    """Returns an image without colours."""
    return tf.repeat(tf.image.rgb_to_grayscale(image), 3, axis=-1)


def transformed(image, angle, scale):
    """Returns an image of the same size, turned by `angle`, float32[] in radians, and then scaled by `scale`,
    float32[2] (x, y), about its centre; bilinear."""
    size = tf.shape(image)[:2]
    y, x = tf.unstack((tf.cast(size, tf.float32) - 1) / 2)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    # Each pixel of the result reads the image at (a x + b y + c, d x + e y + f).
    a, b, d, e = cosine / scale[0], -sine / scale[1], sine / scale[0], cosine / scale[1]
    c, f = x - (a * x + b * y), y - (d * x + e * y)
    zero = tf.zeros([])
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[tf.newaxis],
        transforms=tf.stack([a, b, c, d, e, f, zero, zero])[tf.newaxis],
        output_shape=size,
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return tf.ensure_shape(moved[0], image.shape)


def with_bars(image, ratio: float):
    """Returns a whole image between two bars, so that width / height is `ratio`."""
    height, width = tf.unstack(tf.shape(image)[:2])
    wide = tf.cast(tf.round(tf.cast(height, tf.float32) * ratio), tf.int32)
    high = tf.cast(tf.round(tf.cast(width, tf.float32) / ratio), tf.int32)
    return tf.image.resize_with_crop_or_pad(image, tf.maximum(height, high), tf.maximum(width, wide))


def framed(image, share: float):
    """Returns an image in a white frame, whose width is a share of the shorter side."""
    shorter = tf.cast(tf.reduce_min(tf.shape(image)[:2]), tf.float32)
    width = tf.cast(tf.math.ceil(shorter * share), tf.int32)
    return tf.pad(image, [[width, width], [width, width], [0, 0]], constant_values=255.0)


def shrunk(image, factor: int):
    """Returns an image whose sides are `factor` times shorter, at least one pixel, with antialiasing."""
    return tf.image.resize(image, tf.maximum(tf.shape(image)[-3:-1] // factor, 1), antialias=True)


def of_pixels(change: Callable, pixels):
    """Applies a function of images to pixels uint8[..., height, width, 3], and returns pixels."""
    return tf.saturate_cast(tf.round(change(tf.cast(pixels, tf.float32))), tf.uint8)

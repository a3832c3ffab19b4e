"""Images as people's cameras and programs leave them: random ones for `train --distort`, fixed for `evaluate --robust`.

An image is float32[height, width, 3] from 0 to 255. What lies outside it is black.
"""

import functools
import math
from collections.abc import Callable

import tensorflow as tf

from pipelines.common.evaluation.robustness import Distortion

ANGLE = math.pi / 36  # 5 degrees
BRIGHTNESS = 0.4
WIDE, TALL = 16 / 9, 9 / 16  # width / height of a screen, and of a telephone
FRAME = 0.1  # width of a frame, as a share of the shorter side
SHRINK = 4


def distorted(image, seed):
    """Returns an image changed at random: greyed, darkened (0.2 to 0.7 of its brightness), turned by up to 10 degrees,
    or narrower or lower (0.5 to 0.9) between two bars.

    Args:
        image: float32[height, width, 3].
        seed: int64[2].
    """
    kind, amount, side = tf.unstack(tf.random.stateless_uniform([3], seed))

    def narrowed():
        factor, one = 0.5 + 0.4 * amount, tf.constant(1.0)
        scale = tf.where(side < 0.5, tf.stack([factor, one]), tf.stack([one, factor]))
        return transformed(image, angle=0.0, scale=scale)

    return tf.switch_case(
        tf.cast(kind * 4, tf.int32),
        [
            lambda: greyed(image),
            lambda: image * (0.2 + 0.5 * amount),
            lambda: transformed(image, angle=(2 * amount - 1) * math.pi / 18, scale=tf.ones([2])),
            narrowed,
        ],
    )


def greyed(image):
    """Returns an image without colours."""
    return tf.repeat(tf.image.rgb_to_grayscale(image), 3, axis=2)


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
    return tf.image.resize(image, tf.maximum(tf.shape(image)[:2] // factor, 1), antialias=True)


def of_pixels(change, pixels):
    """Applies a function of images to pixels uint8[height, width, 3], and returns pixels."""
    return tf.saturate_cast(tf.round(change(tf.cast(pixels, tf.float32))), tf.uint8)


def distortion(name: str, meaning: str, change: Callable) -> Distortion:
    return Distortion(name, meaning, functools.partial(of_pixels, change))


# Each changes pixels uint8[height, width, 3], as a file has them.
DISTORTIONS = (
    distortion("grey", "without colours", greyed),
    distortion("dark", f"{BRIGHTNESS:.0%} of the brightness", lambda image: BRIGHTNESS * image),
    distortion("turned", "turned by 5 degrees", lambda image: transformed(image, ANGLE, tf.ones([2]))),
    distortion("wide", "16:9 by black bars", lambda image: with_bars(image, WIDE)),
    distortion("tall", "9:16 by black bars", lambda image: with_bars(image, TALL)),
    distortion("framed", "in a white frame", lambda image: framed(image, FRAME)),
    distortion("small", "a quarter of the width", lambda image: shrunk(image, SHRINK)),
)

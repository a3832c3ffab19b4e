"""Distortions of images: random ones for `train --distort`, fixed ones for `evaluate --robust`.

An image is float32[height, width, 3] from 0 to 255.
"""

import functools
import math
from collections.abc import Callable

import tensorflow as tf

from pipelines.common.evaluation.robustness import Distortion
from pipelines.common.vision.distortions import framed, greyed, of_pixels, shrunk, transformed, with_bars

ANGLE = math.pi / 36  # 5 degrees
BRIGHTNESS = 0.4
WIDE, TALL = 16 / 9, 9 / 16  # width / height of a screen, and of a telephone
FRAME = 0.1  # width of a frame, as a share of the shorter side
SHRINK = 4


def distorted(image, seed):
    """Returns an image changed at random: greyed (half of them), darkened (0.2 to 0.7 of its brightness), turned by up
    to 10 degrees, or narrower or lower (0.5 to 0.9) between two bars (a sixth each).

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
        tf.cast(kind * 6, tf.int32),
        [
            *3 * [lambda: greyed(image)],  # of these changes, the loss of colours makes captions worst
            lambda: image * (0.2 + 0.5 * amount),
            lambda: transformed(image, angle=(2 * amount - 1) * math.pi / 18, scale=tf.ones([2])),
            narrowed,
        ],
    )


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

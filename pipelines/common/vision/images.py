"""Decoding of images to pixels: one function for training, evaluation and the exported graph, equal to the last bit.

Supported are JPEG (baseline, progressive, greyscale, CMYK) and PNG (any depth and colour type; the upper 8 of 16 bits;
the first picture of an animation). Other formats such as GIF and BMP are refused, and so are truncated images and those
with more pixels than a limit: the header is checked first, so that a small file cannot take a lot of memory.

* Transparent pixels are blended with white: the colour of a transparent pixel is arbitrary, and often black.
* The Exif orientation is applied (exif.py); tf.io.decode_image does not do so.
* Colour profiles and gamma are not applied.

Everything is implemented with core TensorFlow operations.
"""

import pathlib
from collections.abc import Callable

import tensorflow as tf

from pipelines.common.data.loading import without_autograph, without_autotune, without_rewriting
from pipelines.common.vision.exif import JPEG, PNG, begins_with, orientation, turn


def scale(images, size: int, fit: str):
    """Resizes an image or a batch of them with antialiased bilinear interpolation.

    Args:
        images: a number [..., height, width, 3].
        fit: "squeeze" changes the aspect ratio and keeps the whole image; "crop" takes the largest square from its
            middle and keeps the aspect ratio.

    Returns:
        float32[..., size, size, 3].

    Raises:
        ValueError: `fit` has another value.
    """
    if fit not in ("squeeze", "crop"):
        raise ValueError(f"fit is {fit!r}, expected 'squeeze' or 'crop'")
    if fit == "crop":
        height, width = tf.unstack(tf.shape(images)[-3:-1])
        side = tf.minimum(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        images = images[..., top : top + side, left : left + side, :]
    return tf.cast(tf.image.resize(images, [size, size], method="bilinear", antialias=True), tf.float32)


def decode_one(encoded, *, size: int, fit: str, pixel_limit: int, change: Callable | None = None):
    """Decodes one image: string[] -> float32[size, size, 3] from 0 to 255.

    Args:
        change: function of the upright pixels uint8[height, width, 3] that returns those to scale.

    Raises:
        tf.errors.InvalidArgumentError: The image cannot be read (see `refusal`). Raised when the operation runs.
    """
    return upright_and_scaled(read_channels(encoded, pixel_limit), encoded, size, fit, change)


def decode(encoded, *, size: int, fit: str, pixel_limit: int):
    """Decodes a batch: string[batch] -> (float32[batch, size, size, 3], bool[batch]: is it readable).

    An unreadable image is black and does not affect the others: an error of an operation fails its whole graph, but
    within tf.data only the element. Works in the signature of a SavedModel.

    The graph of a dataset is set up anew in every call, in a time that grows with its operations: 0.3 s of one core if
    it also rotates and scales. So it only has what may fail, the rest is in the loop over its elements. They are read
    one by one, as the pixels of a batch of photos may need gigabytes before they are scaled.
    """

    def read(index, encoded):
        return index, read_channels(encoded, pixel_limit)

    images = without_rewriting(without_autotune(tf.data.Dataset.from_tensor_slices(encoded))).enumerate()
    images = images.map(without_autograph(read), num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
    iterator = iter(images.ignore_errors())
    count = tf.size(encoded)

    def add(image, pixels, valid):
        index, channels = image.get_value()
        # Images that are not written are zeros.
        pixels = pixels.write(tf.cast(index, tf.int32), upright_and_scaled(channels, encoded[index], size, fit))
        valid = tf.tensor_scatter_nd_update(valid, index[None, None], [True])
        return iterator.get_next_as_optional(), pixels, valid

    start = (
        iterator.get_next_as_optional(),
        tf.TensorArray(tf.float32, count, element_shape=[size, size, 3]),
        tf.zeros([count], tf.bool),
    )
    _, pixels, valid = tf.while_loop(lambda image, *_: image.has_value(), add, start, parallel_iterations=1)
    return tf.ensure_shape(pixels.stack(), [None, size, size, 3]), tf.ensure_shape(valid, [None])


def upright_and_scaled(channels, encoded, size: int, fit: str, change: Callable | None = None):
    """Converts what `read_channels` returns for the bytes of an image to float32[size, size, 3]; never fails. `change`
    is that of `decode_one`."""
    pixels = turn(without_alpha(channels, encoded), orientation(encoded))
    if change is not None:
        pixels = change(pixels)
    return tf.ensure_shape(scale(pixels, size, fit), [size, size, 3])


def check(path, pixel_limit: int) -> str | None:
    """Returns why a file cannot be used as an image, as the end of a sentence ("is empty"), or None.

    The file is decoded, as the header of a truncated or damaged file may be valid.
    """
    content = read(path)
    return content if isinstance(content, str) else refusal(content, pixel_limit)


def read(path) -> bytes | str:
    """Returns the content of a file, or the reason why it cannot be read, as the end of a sentence."""
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        return f"could not be read: {error.strerror or error}"


def refusal(encoded: bytes, pixel_limit: int) -> str | None:
    """Returns why `decode` does not read these bytes, as the end of a sentence, or None if it does."""
    if not encoded:
        return "is empty"
    if not encoded.startswith((JPEG, PNG)):
        return f"is not a JPEG or PNG image: it begins with {encoded[:8]!r}"
    try:
        height, width = (int(side) for side in shape_in_header(encoded))
        if height * width > pixel_limit:
            return f"has {width} x {height} pixels: expected at most {pixel_limit}"
        read_pixels(encoded, pixel_limit)
    except tf.errors.OpError:
        return "is truncated or damaged"
    return None


def read_pixels(encoded, pixel_limit: int):
    """Decodes string[] to uint8[height, width, 3] without rotating it; raises tf.errors.InvalidArgumentError."""
    return without_alpha(read_channels(encoded, pixel_limit), encoded)


def read_channels(encoded, pixel_limit: int):
    """Decodes a JPEG to uint8[height, width, 3] and a PNG to uint8[height, width, 4], as they are in the file.

    Raises:
        tf.errors.InvalidArgumentError: The image cannot be read. This is the only function of a decoding that may fail.
    """

    def limited(shape, is_image=True):
        # The decoders refuse an empty string, and sizes below 1. Their input depends on the check, so they cannot run
        # before it.
        return tf.where(is_image & (tf.reduce_prod(shape) <= pixel_limit), encoded, "")

    def jpeg():
        shape = tf.io.extract_jpeg_shape(encoded, tf.int64)[:2]
        return tf.io.decode_jpeg(limited(shape), channels=3, dct_method="INTEGER_ACCURATE")

    def png():
        return tf.io.decode_png(limited(shape_in_png_header(encoded), begins_with(encoded, PNG)), channels=4)

    return tf.cond(begins_with(encoded, JPEG), jpeg, png)


def without_alpha(channels, encoded):
    """Returns uint8[height, width, 3] of what `read_channels` returns for these bytes: a PNG is blended with white."""
    pixels = tf.cond(
        tf.shape(channels)[2] == 4, lambda: on_white(channels, opaque_alpha(encoded)), lambda: channels[..., :3]
    )
    return tf.ensure_shape(pixels, [None, None, 3])


def shape_in_header(encoded):
    """Returns int64[2], the height and width of the bytes of a JPEG or PNG image; raises tf.errors.InvalidArgumentError
    for a JPEG without a header."""
    return tf.cond(
        begins_with(encoded, JPEG),
        lambda: tf.io.extract_jpeg_shape(encoded, tf.int64)[:2],
        lambda: shape_in_png_header(encoded),
    )


def shape_in_png_header(encoded):
    """Returns int64[2], the height and width; zeros after the end of the file."""
    width_and_height = tf.io.decode_raw(png_header(encoded, 16, 8), tf.int32, little_endian=False)
    return tf.cast(tf.ensure_shape(width_and_height, [2])[::-1], tf.int64)


def png_header(encoded, at: int, length: int):
    """Returns string[], some bytes of the header; zeros after the end of the file."""
    return tf.strings.substr(tf.strings.join([tf.strings.substr(encoded, 0, 32), bytes(32)]), at, length)


def opaque_alpha(encoded):
    """Returns uint8[], the alpha that tf.io.decode_png returns for the pixels of a PNG without transparency.

    It should be 255, but with fewer than 8 bits per channel (as with a palette of 16 colours) it is the largest number
    of this many bits, such as 15 for 4 bits.
    """
    depth = tf.cast(tf.io.decode_raw(png_header(encoded, 24, 1), tf.uint8)[0], tf.int32)
    return tf.cast(tf.bitwise.left_shift(1, tf.minimum(depth, 8)) - 1, tf.uint8)


def on_white(rgba, opaque):
    """Blends uint8[height, width, 4] with white to uint8[height, width, 3]; unchanged if every alpha is 255 or
    `opaque`."""

    def blend():
        colour, alpha = tf.cast(rgba[..., :3], tf.uint16), tf.cast(rgba[..., 3:], tf.uint16)
        most = tf.constant(255, tf.uint16)
        total = colour * alpha + most * (most - alpha)  # at most 255 * 255, to which 127 can be added in 16 bits
        return tf.cast((total + tf.constant(127, tf.uint16)) // most, tf.uint8)

    alpha = rgba[..., 3]
    return tf.cond(tf.reduce_all(alpha == 255) | tf.reduce_all(alpha == opaque), lambda: rgba[..., :3], blend)

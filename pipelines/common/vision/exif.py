"""The orientation of images in their Exif data: cameras store photos in the orientation of the sensor.

Exif 2.32, section 4.6.4, tag 0x0112; in a PNG, the chunk eXIf. Implemented with core TensorFlow operations.
"""

import tensorflow as tf

JPEG = b"\xff\xd8\xff"
PNG = b"\x89PNG\r\n\x1a\n"
MAX_SEGMENTS = 1000  # that are searched for Exif data; real files contain it in one of the first few


def begins_with(encoded, magic: bytes):
    return tf.strings.substr(encoded, 0, len(magic)) == magic


def turn(image, orientation):
    """Rotates an image [height, width, channels] by its Exif orientation, int64[] from 1 (upright) to 8."""

    def turned():
        # In 5 to 8 rows and columns are exchanged. After that, 3, 4, 7 and 8 are flipped vertically, and 2, 3, 6 and 7
        # horizontally.
        upright = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
        flipped = tf.stack([(orientation - 1) // 2 % 2 == 1, orientation // 2 % 2 == 1])
        return tf.reverse(upright, tf.boolean_mask(tf.constant([0, 1]), flipped))

    return tf.cond(orientation == 1, lambda: image, turned)


@tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)  # traced once for all graphs
def orientation(encoded):
    """Returns the Exif orientation of the bytes of an image, int64[] from 1 to 8; 1 if there is none."""

    def from_exif():
        raw = tf.io.decode_raw(tf.strings.join([encoded, bytes(16)]), tf.uint8)  # zeros after the end
        start = tf.cond(begins_with(encoded, JPEG), lambda: exif_of_jpeg(raw), lambda: exif_of_png(raw))
        return tf.cond(start < 0, upright, lambda: orientation_tag(raw, start))

    def upright():
        return tf.constant(1, tf.int64)

    # Searching for these letters, which most files do not contain, is faster than reading all segments.
    has_letters = tf.strings.regex_replace(encoded, "Exif|eXIf", "", replace_global=False) != encoded
    return tf.cond(has_letters, from_exif, upright)


def number(raw, at, length: int, big_endian=True):
    """Returns the unsigned integers int64[...] of `length` bytes at positions `at` int64[...] of raw uint8[bytes]."""
    last = tf.size(raw, tf.int64) - 1
    places = tf.clip_by_value(at[..., None] + tf.range(length, dtype=tf.int64), 0, last)
    values = tf.constant([256**power for power in range(length)], tf.int64)
    values = tf.where(big_endian, values[::-1], values)
    return tf.reduce_sum(tf.cast(tf.gather(raw, places), tf.int64) * values, axis=-1)


def as_number(letters: bytes) -> int:
    return int.from_bytes(letters, "big")


def exif_of_jpeg(raw):
    """Returns the position of the Exif data of a JPEG uint8[bytes], in a segment APP1 before the scan, or -1."""

    def in_header(at, found):
        marker = number(raw, at, 2)
        return (found < 0) & (marker >= 0xFF01) & (marker != 0xFFDA) & (marker != 0xFFD9)

    def next_segment(at, found):
        marker, length = number(raw, at, 2), number(raw, at + 2, 2)
        exif = (marker == 0xFFE1) & (number(raw, at + 4, 6) == as_number(b"Exif\0\0"))
        # 0xFF may be repeated before the code of a marker.
        return tf.where(marker == 0xFFFF, at + 1, at + 2 + length), tf.where(exif, at + 10, found)

    return find_segment(in_header, next_segment, first=2)


def exif_of_png(raw):
    """Returns the position of the Exif data of a PNG uint8[bytes], in the chunk eXIf before the pixels, or -1."""

    def in_header(at, found):
        kind = number(raw, at + 4, 4)
        return (found < 0) & (kind != 0) & (kind != as_number(b"IDAT"))

    def next_chunk(at, found):
        exif = number(raw, at + 4, 4) == as_number(b"eXIf")
        return at + 12 + number(raw, at, 4), tf.where(exif, at + 8, found)

    return find_segment(in_header, next_chunk, first=len(PNG))


def find_segment(condition, body, first: int):
    """Iterates over segments with the loop variables (position, found), and returns `found`, int64[]; -1 at first."""
    start = tf.constant(first, tf.int64), tf.constant(-1, tf.int64)
    return tf.while_loop(condition, body, start, maximum_iterations=MAX_SEGMENTS)[1]


def orientation_tag(raw, start):
    """Returns the orientation in the Exif data at `start` (a TIFF header and its first directory), or 1."""
    order = number(raw, start, 2)
    big = order == as_number(b"MM")
    directory = start + number(raw, start + 4, 4, big)
    entries = directory + 2 + 12 * tf.range(number(raw, directory, 2, big))  # of 12 bytes: tag, type, count, value
    wanted = (number(raw, entries, 2, big) == 0x0112) & (number(raw, entries + 2, 2, big) == 3)  # 3: 16 bits
    value = tf.concat([tf.boolean_mask(number(raw, entries + 8, 2, big), wanted), [1]], axis=0)[0]
    known = (big | (order == as_number(b"II"))) & (value >= 1) & (value <= 8)
    return tf.where(known, value, 1)

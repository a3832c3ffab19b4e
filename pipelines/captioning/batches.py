"""Batches of images with captions.

Where the CNN rests, training reads the features of an image, computed once (`feature_batches`: captions of similar
length meet). Where it learns, or never does and images are augmented, it reads pixels (`image_batches`: an image
with all its captions, so that the CNN runs once for all of them).

A batch is a dict: `image`, features float32[rows, units] or pixels number[rows, size, size, 3]; `target`
int32[rows, captions, time], padded; `real` float32[rows, captions], 0 for a caption that only fills up.
"""

import sys

import numpy as np
import tensorflow as tf

from layers.text import PADDING
from pipelines.captioning.dataset import Captions, Images
from pipelines.captioning.preprocessing import Preprocessing
from pipelines.common.data.batching import FILLER, plan_batches
from pipelines.common.data.loading import without_autograph, without_autotune


def feature_batches(
    captions: Captions,
    features: np.ndarray,
    *,
    batch_pairs: int,
    seed: int | None = None,
    epoch: int = 0,
    xla: bool = False,
) -> tf.data.Dataset:
    """Batches of captions of similar length, one a row, each with the features of its image.

    Args:
        features: float32[images, units].
        seed: with `epoch`, decides the order of the batches and which captions meet in one; None: longest first.
        xla: let fewer shapes occur, as each is compiled.
    """
    lengths = captions.lengths
    plan = plan_batches(lengths, max_rows=batch_pairs, max_steps=sys.maxsize, seed=seed, epoch=epoch)
    sizes = [len(rows) for rows, _ in plan]
    rows = tf.RaggedTensor.from_row_lengths(np.concatenate([np.zeros(0, np.int64), *(rows for rows, _ in plan)]), sizes)
    features, owners = tf.constant(features), tf.constant(captions.owners)

    def batch(rows):
        real = rows != FILLER
        known = tf.where(real, rows, 0)
        target = padded(tf.gather(captions.ids, known), xla) * tf.cast(real, tf.int32)[:, None]
        image = tf.gather(features, tf.gather(owners, known))
        return {"image": image, "target": target[:, None], "real": tf.cast(real, tf.float32)[:, None]}

    return (
        without_autotune(tf.data.Dataset.from_tensor_slices(rows))
        .map(without_autograph(batch), num_parallel_calls=2)
        .prefetch(4)
    )


def padded(sentences: tf.RaggedTensor, xla: bool):
    """int32[rows, time]: as long as the longest, with `xla` rounded up to a multiple of eight."""
    longest = tf.maximum(tf.reduce_max(sentences.row_lengths()), 1)
    if xla:
        longest = -(-longest // 8) * 8
    return sentences.to_tensor(PADDING, shape=tf.stack([sentences.nrows(), longest]))


def image_batches(
    captions: Captions,
    found: Images,
    preprocessing: Preprocessing,
    *,
    batch_images: int,
    seed: int | None = None,
    epoch: int = 0,
    augment: float = 0.0,
    xla: bool = False,
) -> tf.data.Dataset:
    """Batches of images, each with all its captions; images without any are left out.

    Args:
        seed: with `epoch`, decides the order and the augmentation; None: in the order of the data.
        augment: see `augmented`.
        xla: let fewer shapes occur, as each is compiled.
    """
    counts = np.bincount(captions.owners, minlength=captions.images)
    order = np.flatnonzero(counts)
    if seed is not None:
        order = np.random.default_rng((seed, epoch)).permutation(order)
    pixels = pixel_rows(found, preprocessing, order)
    if augment:
        rows = without_autotune(tf.data.Dataset.from_tensor_slices(order))
        seeds = rows.map(without_autograph(lambda row: tf.stack([row, (seed or 0) * 10_000 + epoch])))
        pixels = tf.data.Dataset.zip(pixels, seeds).map(
            without_autograph(lambda image, seed: augmented(image, seed, augment)), num_parallel_calls=2
        )
    by_image = captions.by_image()
    most = int(counts.max())

    def targets(rows):
        chosen = tf.gather(by_image, rows)
        count = tf.cast(most if xla else tf.maximum(tf.reduce_max(chosen.row_lengths()), 1), tf.int64)
        longest = tf.cast(tf.maximum(tf.reduce_max(chosen.values.row_lengths()), 1), tf.int64)
        if xla:
            longest = -(-longest // 8) * 8
        target = chosen.to_tensor(PADDING, shape=tf.stack([tf.size(rows, tf.int64), count, longest]))
        real = tf.sequence_mask(chosen.row_lengths(), count, tf.float32)
        return {"target": target, "real": real}

    texts = (
        without_autotune(tf.data.Dataset.from_tensor_slices(order)).batch(batch_images).map(without_autograph(targets))
    )
    both = tf.data.Dataset.zip(pixels.batch(batch_images), texts)
    return both.map(without_autograph(lambda image, texts: {"image": image, **texts})).prefetch(2)


def pixel_rows(found: Images, preprocessing: Preprocessing, order: np.ndarray) -> tf.data.Dataset:
    """The pixels of the images `order`, number[size, size, 3] each."""
    rows = without_autotune(tf.data.Dataset.from_tensor_slices(order))
    if found.pixels is not None:
        pixels = tf.constant(found.pixels)
        return rows.map(without_autograph(lambda row: tf.gather(pixels, row)), num_parallel_calls=2)
    paths = tf.constant([str(path) for path in found.captioned.paths.values()])
    return rows.map(
        without_autograph(lambda row: preprocessing.pixels_of_one(tf.io.read_file(tf.gather(paths, row)))),
        num_parallel_calls=2,
    )


def augmented(pixels, seed, most: float):
    """number[size, size, 3] moved by up to `most` of its side (the edge is mirrored) and up to so much brighter or
    darker: float32[size, size, 3], by the seed int[2] alone."""
    size = pixels.shape[0]
    pixels = tf.cast(pixels, tf.float32)
    reach = round(most * size)
    draws = tf.random.stateless_uniform([3], tf.cast(seed, tf.int64), -1.0, 1.0)
    top, left = tf.unstack(tf.cast(tf.round(draws[:2] * reach), tf.int32) + reach)
    wide = tf.pad(pixels, [[reach, reach], [reach, reach], [0, 0]], mode="SYMMETRIC")
    moved = tf.slice(wide, [top, left, 0], [size, size, 3])
    return tf.clip_by_value(moved * (1 + draws[2] * most), 0, 255)

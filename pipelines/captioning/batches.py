"""Batches of images with captions.

While the CNN is frozen, training reads the features of images, which are computed once (`feature_batches`: captions of
similar length are in a batch). While it is trained, or if images are augmented, training reads pixels (`image_batches`:
an image comes with all of its captions, so that the CNN encodes it once).

A batch is a dict of `image`, features float32[rows, features] or pixels number[rows, size, size, 3]; `target`
int32[rows, captions, time], padded; `real` float32[rows, captions], 0 for a caption that only fills the batch.
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
    """Returns batches of captions of similar length, one per row, each with the features of its image.

    Args:
        features: float32[images, features].
        seed: with `epoch`, determines the batches and their order; None: longest first.
        xla: use fewer shapes, as XLA compiles each one.
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
    """Returns int32[rows, time], padded to the longest sentence; with `xla` to a multiple of eight."""
    longest = tf.maximum(tf.reduce_max(sentences.row_lengths()), 1)
    if xla:
        longest = -(-longest // 8) * 8
    return sentences.to_tensor(PADDING, shape=tf.stack([sentences.nrows(), longest]))


def image_batches(
    captions: Captions,
    images: Images,
    preprocessing: Preprocessing,
    *,
    batch_images: int,
    seed: int | None = None,
    epoch: int = 0,
    augment: float = 0.0,
    xla: bool = False,
) -> tf.data.Dataset:
    """Returns batches of images, each with all of its captions; images without captions are left out.

    Args:
        seed: with `epoch`, determines the order and the augmentation; None: the order of the data.
        augment: see `augmented`.
        xla: use fewer shapes, as XLA compiles each one.
    """
    counts = np.bincount(captions.owners, minlength=captions.images)
    order = np.flatnonzero(counts)
    if seed is not None:
        order = np.random.default_rng((seed, epoch)).permutation(order)
    pixels = pixel_rows(images, preprocessing, order)
    if augment:
        rows = without_autotune(tf.data.Dataset.from_tensor_slices(order))
        seeds = rows.map(without_autograph(lambda row: tf.stack([row, (seed or 0) * 10_000 + epoch])))
        pixels = tf.data.Dataset.zip(pixels, seeds).map(
            without_autograph(lambda image, seed: augmented(image, seed, augment)), num_parallel_calls=2
        )
    by_image = captions.by_image()
    max_count = int(counts.max())

    def targets(rows):
        chosen = tf.gather(by_image, rows)
        count = tf.cast(max_count if xla else tf.maximum(tf.reduce_max(chosen.row_lengths()), 1), tf.int64)
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


def pixel_rows(images: Images, preprocessing: Preprocessing, order: np.ndarray) -> tf.data.Dataset:
    """Returns the pixels of images in the given order, a number[size, size, 3] each."""
    rows = without_autotune(tf.data.Dataset.from_tensor_slices(order))
    if images.pixels is not None:
        pixels = tf.constant(images.pixels)
        return rows.map(without_autograph(lambda row: tf.gather(pixels, row)), num_parallel_calls=2)
    paths = tf.constant([str(path) for path in images.captioned.paths.values()])
    return rows.map(
        without_autograph(lambda row: preprocessing.pixels_of_one(tf.io.read_file(tf.gather(paths, row)))),
        num_parallel_calls=2,
    )


def augmented(pixels, seed, strength: float):
    """Returns an image shifted by up to `strength` of its side (the edge is mirrored), and brighter or darker by up to
    this share: float32[size, size, 3] for a number[size, size, 3] and a seed int[2]."""
    size = pixels.shape[0]
    pixels = tf.cast(pixels, tf.float32)
    limit = round(strength * size)
    draws = tf.random.stateless_uniform([3], tf.cast(seed, tf.int64), -1.0, 1.0)
    top, left = tf.unstack(tf.cast(tf.round(draws[:2] * limit), tf.int32) + limit)
    padded_image = tf.pad(pixels, [[limit, limit], [limit, limit], [0, 0]], mode="SYMMETRIC")
    shifted = tf.slice(padded_image, [top, left, 0], [size, size, 3])
    return tf.clip_by_value(shifted * (1 + draws[2] * strength), 0, 255)

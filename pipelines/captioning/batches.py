"""Batches of images with captions.

While the CNN is frozen, training reads the features of images, which are computed once (`feature_batches`: captions of
similar length are in a batch). While it is trained, or if images are augmented, training reads pixels (`image_batches`:
an image comes with all of its captions, so that the CNN encodes it once).

The maps of a model with attention are large: `map_batches` reads those of a batch from the disk, and an image comes
with all of its captions as well.

A batch is a dict of `image`, features float32[rows, features], maps float16[rows, positions, channels] or pixels
number[rows, size, size, 3]; `target` int32[rows, captions, time], padded; `real` float32[rows, captions], 0 for a
caption that only fills the batch; `rows` int64[rows], the number of the image.
"""

import sys
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from layers.text import PADDING
from pipelines.captioning.config import DataConfig
from pipelines.captioning.dataset import Captions, Images
from pipelines.captioning.distortions import distorted
from pipelines.captioning.preprocessing import Preprocessing
from pipelines.common.data.loading import ALL_ROWS, FILLER, own_rows, plan_batches, without_autograph, without_autotune
from pipelines.common.vision.feature_maps import FeatureMaps


def of_features(captions: Captions, features: np.ndarray | FeatureMaps, data: DataConfig, **options) -> tf.data.Dataset:
    """Returns `feature_batches` or `map_batches` of the sizes in the configuration."""
    if isinstance(features, FeatureMaps):
        return map_batches(captions, features, batch_images=data.batch_images, **options)
    return feature_batches(captions, features, batch_pairs=data.batch_pairs, **options)


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
    rows = stacked_rows(plan, batch_pairs)
    features, owners = tf.constant(features), tf.constant(captions.owners)

    def batch(rows):
        real = rows != FILLER
        known = tf.where(real, rows, 0)
        target = padded(tf.gather(captions.ids, known), xla) * tf.cast(real, tf.int32)[:, None]
        image = tf.gather(features, tf.gather(owners, known))
        real = tf.cast(real, tf.float32)[:, None]
        return {"image": image, "target": target[:, None], "real": real, "rows": tf.gather(owners, known)}

    return (
        without_autotune(tf.data.Dataset.from_tensor_slices(rows))
        .map(without_autograph(batch), num_parallel_calls=2)
        .prefetch(4)
    )


def padded(sentences: tf.RaggedTensor, xla: bool):
    """Returns int32[rows, time], padded to the longest sentence; with `xla` to a multiple of eight."""
    longest = longest_of(sentences.row_lengths(), xla)
    return sentences.to_tensor(PADDING, shape=tf.stack([sentences.nrows(), longest]))


def longest_of(lengths, xla: bool):
    """Returns the largest of int64[rows], at least 1; with `xla` rounded up to a multiple of eight."""
    longest = tf.maximum(tf.reduce_max(lengths), 1)
    return -(-longest // 8) * 8 if xla else longest


def stacked_rows(plan: Sequence[tuple[np.ndarray, int]], size: int) -> np.ndarray:
    """Returns the rows of all batches of a plan, int64[batches, size]: batches without a limit of steps are equally
    large."""
    return np.stack([rows for rows, _ in plan]) if plan else np.zeros([0, size], np.int64)


def image_batches(
    captions: Captions,
    images: Images,
    preprocessing: Preprocessing,
    *,
    batch_images: int,
    seed: int | None = None,
    epoch: int = 0,
    augment: float = 0.0,
    mirror: bool = False,
    distort: float = 0.0,
    part: tuple[int, int] = ALL_ROWS,
    xla: bool = False,
) -> tf.data.Dataset:
    """Returns batches of images, each with all of its captions; images without captions are left out.

    Args:
        seed: with `epoch`, determines the order and the augmentation; None: the order of the data.
        augment, mirror, distort: see `augmented`.
        part: of several workers; the pixels of rows that others train on are zeros, as decoding them takes long.
        xla: use fewer shapes, as XLA compiles each one.
    """
    counts = np.bincount(captions.owners, minlength=captions.images)
    order = np.flatnonzero(counts)
    if seed is not None:
        order = np.random.default_rng((seed, epoch)).permutation(order)
    read = pixel_reader(images, preprocessing)

    def read_augmented(row):
        if not (augment or mirror or distort):
            return read(row)
        return augmented(read(row), tf.stack([row, (seed or 0) * 10_000 + epoch]), augment, mirror, distort)

    pixels = of_rows(order, read_augmented)
    if part != ALL_ROWS:
        pixels = of_own_rows(order, read_augmented, pixels.element_spec, batch_images, part)
    texts = without_autotune(tf.data.Dataset.from_tensor_slices(order)).batch(batch_images)
    texts = texts.map(without_autograph(targets_of(captions, xla)))
    both = tf.data.Dataset.zip(pixels.batch(batch_images), texts)
    return both.map(without_autograph(lambda image, texts: {"image": image, **texts})).prefetch(2)


def map_batches(
    captions: Captions,
    maps: FeatureMaps,
    *,
    batch_images: int,
    seed: int | None = None,
    epoch: int = 0,
    xla: bool = False,
) -> tf.data.Dataset:
    """Returns batches of images whose longest captions are of similar length, each image with its map and all of its
    captions; images without captions are left out.

    Args:
        seed: with `epoch`, determines the batches and their order; None: longest first.
        xla: use fewer shapes, as XLA compiles each one.
    """
    longest = np.zeros(captions.images, np.int64)
    np.maximum.at(longest, captions.owners, captions.lengths)
    order = np.flatnonzero(longest)
    plan = plan_batches(longest[order], max_rows=batch_images, max_steps=sys.maxsize, seed=seed, epoch=epoch)
    targets = targets_of(captions, xla)
    order = tf.constant(order)

    def batch(rows):
        real = rows != FILLER
        images = tf.gather(order, tf.where(real, rows, 0))
        image = tf.numpy_function(maps.__getitem__, [images], tf.as_dtype(maps.dtype), stateful=False)
        texts = targets(images)
        image.set_shape([None, *maps.shape[1:]])
        return {"image": image, **texts, "real": texts["real"] * tf.cast(real, tf.float32)[:, None]}

    rows = without_autotune(tf.data.Dataset.from_tensor_slices(stacked_rows(plan, batch_images)))
    return rows.map(without_autograph(batch), num_parallel_calls=2).prefetch(2)


def targets_of(captions: Captions, xla: bool):
    """Returns a function of the numbers of images int64[rows] that returns them as `rows`, with `target` and `real` of
    their captions."""
    by_image = captions.by_image()
    max_count = int(np.bincount(captions.owners, minlength=captions.images).max())

    def targets(rows):
        chosen = tf.gather(by_image, rows)
        count = tf.cast(max_count if xla else tf.maximum(tf.reduce_max(chosen.row_lengths()), 1), tf.int64)
        longest = longest_of(chosen.values.row_lengths(), xla)
        target = chosen.to_tensor(PADDING, shape=tf.stack([tf.size(rows, tf.int64), count, longest]))
        real = tf.sequence_mask(chosen.row_lengths(), count, tf.float32)
        return {"target": target, "real": real, "rows": rows}

    return targets


def pixel_rows(
    images: Images, preprocessing: Preprocessing, order: np.ndarray, change: Callable | None = None
) -> tf.data.Dataset:
    """Returns the pixels of images in the given order, a number[size, size, 3] each.

    Args:
        change: changes the pixels of the files before they are scaled, see `Preprocessing.pixels_of_one`.
    """
    return of_rows(order, pixel_reader(images, preprocessing, change))


def pixel_reader(images: Images, preprocessing: Preprocessing, change: Callable | None = None) -> Callable:
    """Returns the function from the number of an image to its pixels; see `pixel_rows`."""
    if images.pixels is not None and change is None:
        pixels = tf.constant(images.pixels)
        return lambda row: tf.gather(pixels, row)
    paths = tf.constant([str(path) for path in images.captioned.paths.values()])
    return lambda row: preprocessing.pixels_of_one(tf.io.read_file(tf.gather(paths, row)), change)


def of_rows(order: np.ndarray, read: Callable) -> tf.data.Dataset:
    """Returns read(row) for the rows int64[images], in their order."""
    rows = without_autotune(tf.data.Dataset.from_tensor_slices(order))
    return rows.map(without_autograph(read), num_parallel_calls=2)


def of_own_rows(
    order: np.ndarray, read: Callable, spec: tf.TensorSpec, batch_images: int, part: tuple[int, int]
) -> tf.data.Dataset:
    """Returns read(row) as `of_rows` does, but zeros for rows of the batches that other workers train on.

    The first row of each batch is read in any case: a replica without rows computes with it (`rows_of`).
    """
    own = np.zeros(len(order), bool)
    for start in range(0, len(order), batch_images):
        rows = own_rows(min(batch_images, len(order) - start), part)
        own[[start, *(start + row for row in rows)]] = True

    def read_own(row, is_own):
        return tf.cond(is_own, lambda: read(row), lambda: tf.zeros(spec.shape, spec.dtype))

    rows = without_autotune(tf.data.Dataset.from_tensor_slices((order, own)))
    return rows.map(without_autograph(read_own), num_parallel_calls=2)


def augmented(pixels, seed, strength: float, mirror: bool = False, distort: float = 0.0):
    """Returns an image shifted by up to `strength` of its side (the edge is mirrored), and brighter or darker by up to
    this share; with `mirror` half of all images are mirrored, with `distort` this share is `distorted`.
    float32[size, size, 3] for a number[size, size, 3] and a seed int[2]."""
    size = pixels.shape[0]
    seed = tf.cast(seed, tf.int64)
    pixels = tf.cast(pixels, tf.float32)
    limit = round(strength * size)
    draws = tf.random.stateless_uniform([3], seed, -1.0, 1.0)
    top, left = tf.unstack(tf.cast(tf.round(draws[:2] * limit), tf.int32) + limit)
    padded_image = tf.pad(pixels, [[limit, limit], [limit, limit], [0, 0]], mode="SYMMETRIC")
    shifted = tf.slice(padded_image, [top, left, 0], [size, size, 3])
    if mirror:
        draw = tf.random.stateless_uniform([], tf.random.fold_in(seed, 1))
        shifted = tf.where(draw < 0.5, tf.reverse(shifted, [1]), shifted)
    if distort:
        draw = tf.random.stateless_uniform([], tf.random.fold_in(seed, 2))
        shifted = tf.cond(draw < distort, lambda: distorted(shifted, tf.random.fold_in(seed, 3)), lambda: shifted)
    return tf.clip_by_value(shifted * (1 + draws[2] * strength), 0, 255)

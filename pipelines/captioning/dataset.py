"""Images and captions made ready for the model: split, the bad images found, captions read as ids."""

import dataclasses
import functools
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

from pipelines.captioning.captions import (
    PARTS,
    Captioned,
    list_of_validation,
    own_parts,
    read,
    without_captions,
)
from pipelines.captioning.config import Config
from pipelines.captioning.preprocessing import Preprocessing
from pipelines.common.data import sources
from pipelines.common.data.loading import text_batches, without_autograph, without_autotune
from pipelines.common.data.splits import split
from pipelines.common.errors import UserError
from pipelines.common.files import write_tsv
from pipelines.common.vision import encoders, feature_cache, images

NAMED = {"flickr8k": ("", "https://github.com/jbrownlee/Datasets/releases/tag/Flickr8k (see data/README.md)")}
IMAGES_AT_ONCE = 32
KEPT_BYTES = 2**29  # of decoded images that may stay in memory
MOST_BAD, FROM_IMAGES = 0.01, 100  # the share of bad images that stops, and from how many images on


# Parts --------------------------------------------------------------------------------------------------------------


def locate(config: Config) -> pathlib.Path | str:
    return sources.locate(config.data, "captioning", NAMED)


def load(config: Config) -> dict[str, Captioned]:
    """What the config's data holds, by part: train, and validation and test, which are made where they are missing.

    Of data with a validation part and no test, the first half of the validation images validates and the rest tests,
    in the order of `dev_all.txt` where there is one, as it is in Flickr8k. Of data with neither, shares of the training
    images are drawn by the split's seed. So a later call finds the same parts.
    """
    where = locate(config)
    own = own_parts(where, config)
    if "train" not in own:
        raise UserError(f"--data {config.data} has no part train: it has {', '.join(own)}")
    parts = {part: read(where, part, config) for part in own}
    if "validation" in parts and "test" not in parts:
        parts["validation"], parts["test"] = halves(parts["validation"], where, config)
    for part in ("test", "validation"):
        share = getattr(config, f"{part}_share")
        if part not in parts and share:
            names = list(parts["train"].paths)
            size, expected = round(share * len(names)), "two images with captions or more"
            rows = split(range(len(names)), size, config.split_seed, config.data, expected)
            parts["train"], parts[part] = (parts["train"].take(names[row] for row in some) for some in rows)
    return parts


def load_part(config: Config, part: str) -> Captioned:
    """One part of the config's data: train, validation, test, or NAME of a file captions_NAME."""
    where = locate(config)
    if part not in PARTS:
        return read(where, part, config)
    if own_parts(where, config) == PARTS:
        return read(where, part, config)
    parts = load(config)
    if part not in parts:
        raise UserError(f"--data {config.data} has no part {part}: it has {', '.join(parts)}")
    return parts[part]


def load_all(config: Config, part: str) -> Captioned:
    """The captions of data that no run was trained on: a file as a whole, of a folder the part, or all where it has
    one part alone."""
    where = locate(config)
    if isinstance(where, pathlib.Path) and where.is_file():
        return read(where, "train", config)
    own = own_parts(where, config)
    if part in PARTS and part not in own and len(own) > 1:
        return load_part(config, part)
    return read(where, own[0] if part in PARTS and part not in own else part, config)


def halves(validation: Captioned, where: pathlib.Path | str, config: Config) -> tuple[Captioned, Captioned]:
    listed = list_of_validation(where) if isinstance(where, pathlib.Path) else []
    names = [name for name in listed if name in validation.paths] or list(validation.paths)
    if len(names) < 2:
        raise UserError(f"--data {config.data} has one image for validation and test: expected two or more")
    middle = len(names) // 2
    return validation.take(names[:middle]), validation.take(names[middle:])


def report_without_captions(parts: dict[str, Captioned]):
    """Says on standard error how many images beside those of the data have no caption."""
    count = without_captions(parts.values())
    if count:
        print(f"{count:,} images beside those with captions have none, and are not used", file=sys.stderr)


# Images -------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Images:
    """The images of a part that can be used.

    Attributes:
        captioned: they and their captions.
        left_out: the others -> why, as the end of a sentence.
        features: float32[images, units], or None where the CNN has not seen them.
        pixels: uint8 or float32 [images, size, size, 3], or None: then they are decoded as they are used.
    """

    captioned: Captioned
    left_out: dict[str, str]
    features: np.ndarray | None = None
    pixels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.captioned)


def with_features(captioned: Captioned, encoder: keras.Model, config: Config) -> Images:
    """The images with what the CNN says of each; from the cache where it was computed before."""
    options = {"size": config.image_size, "fit": config.fit, "pixel_limit": config.pixel_limit}
    found = feature_cache.fill(
        config.cache,
        {"encoder": config.encoder, "weights": encoders.digest(encoder), **options},
        captioned.paths,
        functools.partial(encoders.encode_files, encoder, **options),
        log=lambda line: print(line, file=sys.stderr),
    )
    good = usable(captioned, found.failures, config)
    return Images(good, found.failures, features=np.concatenate([found[name] for name in good.paths]))


def with_pixels(captioned: Captioned, preprocessing: Preprocessing, config: Config) -> Images:
    """The images, each decoded once to see whether it can be; kept in memory where all of them are small."""
    names, size = list(captioned.paths), config.image_size
    kept = None
    if len(names) * size * size * 3 <= KEPT_BYTES:
        kept = np.zeros([len(names), size, size, 3], np.uint8)
    # One pipeline for all: `preprocessing.pixels` sets one up in every call, which takes longer than small images do.
    paths = without_autotune(tf.data.Dataset.from_tensor_slices([str(path) for path in captioned.paths.values()]))
    pixels = paths.enumerate().map(
        without_autograph(lambda number, path: (number, preprocessing.pixels_of_one(tf.io.read_file(path)))),
        num_parallel_calls=2,
        deterministic=False,
    )
    good = np.zeros(len(names), bool)
    for numbers, batch in pixels.ignore_errors().batch(IMAGES_AT_ONCE).as_numpy_iterator():
        good[numbers] = True
        # An image that is resized has pixels between two whole numbers: rounding them would train on other pixels than
        # the export sees.
        if kept is not None and kept.dtype == np.uint8 and (batch != np.rint(batch)).any():
            kept = kept.astype(np.float32) if 4 * kept.nbytes <= KEPT_BYTES else None
        if kept is not None:
            kept[numbers] = batch
    left_out = {
        name: images.check(captioned.paths[name], config.pixel_limit) or "could not be decoded"
        for name, was_good in zip(names, good, strict=True)
        if not was_good
    }
    usable_ones = usable(captioned, left_out, config)
    return Images(usable_ones, left_out, pixels=kept if kept is None or good.all() else kept[good])


def usable(captioned: Captioned, left_out: dict[str, str], config: Config) -> Captioned:
    """The images that are not left out; UserError when those are too many, or all."""
    good = captioned.take(name for name in captioned.paths if name not in left_out)
    share = len(left_out) / max(len(captioned), 1)
    if not len(good) or (len(captioned) >= FROM_IMAGES and share > MOST_BAD):
        name, reason = next(iter(left_out.items()))
        raise UserError(
            f"--data {config.data}: {len(left_out):,} of {len(captioned):,} images cannot be used, {share:.1%},"
            f" expected at most {MOST_BAD:.0%}; the first, {captioned.paths[name]}, {reason}"
        )
    return good


def report_left_out(part: str, found: Images):
    if found.left_out:
        name, reason = next(iter(found.left_out.items()))
        total = len(found) + len(found.left_out)
        print(
            f"{part}: left out {len(found.left_out):,} of {total:,} images; the first, {name}, {reason}",
            file=sys.stderr,
        )


def write_left_out(path: pathlib.Path, parts: dict[str, Images]):
    """Writes a table of the images left out, with the reasons."""
    write_tsv(path, "image reason", [row for images in parts.values() for row in images.left_out.items()])


# Captions -----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Captions:
    """The captions of some images as ids.

    Attributes:
        ids: int32[captions, (words)], those of an image behind each other.
        owners: int64[captions], the number of each one's image.
        images: how many images there are.
        dropped: why captions were left out -> how many.
    """

    ids: tf.RaggedTensor
    owners: np.ndarray
    images: int
    dropped: dict[str, int]

    def __len__(self) -> int:
        return len(self.owners)

    @property
    def lengths(self) -> np.ndarray:
        """int64[captions]: words of each caption."""
        return np.asarray(self.ids.row_lengths())

    def by_image(self) -> tf.RaggedTensor:
        """int32[images, (captions), (words)]."""
        counts = np.bincount(self.owners, minlength=self.images)
        return tf.RaggedTensor.from_row_lengths(self.ids, counts, validate=False)


def encode(captioned: Captioned, preprocessing: Preprocessing) -> Captions:
    """Captions as ids, without those that have no word or are longer than the limits."""
    texts = captioned.captions
    counts = [len(each) for each in captioned.references.values()]
    owners = np.repeat(np.arange(len(counts)), counts)
    read = list(text_batches(texts).map(without_autograph(preprocessing.encode), num_parallel_calls=2))
    ids = tf.concat([found for found, _ in read], axis=0)
    cut = np.concatenate([was_cut.numpy() for _, was_cut in read])
    empty = np.asarray(ids.row_lengths()) == 0
    dropped = {"without a word": int(empty.sum()), "too long": int((cut & ~empty).sum())}
    good = np.flatnonzero(~cut & ~empty)
    return Captions(tf.gather(ids, good), owners[good], len(counts), {reason: n for reason, n in dropped.items() if n})

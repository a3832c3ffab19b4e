"""Images and captions prepared for the model: split, checked, and encoded as ids."""

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
from pipelines.captioning.config import Config, DataConfig
from pipelines.captioning.preprocessing import Preprocessing
from pipelines.common.data import sources
from pipelines.common.data.loading import encode_texts, without_autograph, without_autotune
from pipelines.common.data.splits import require_part, split
from pipelines.common.errors import UserError
from pipelines.common.files import write_tsv
from pipelines.common.vision import encoders, feature_cache
from pipelines.common.vision import images as image_files
from pipelines.common.vision.feature_maps import FeatureMaps

NAMED = {"flickr8k": ("", "https://github.com/jbrownlee/Datasets/releases/tag/Flickr8k (see data/README.md)")}
BATCH_IMAGES = 32
MAX_BYTES = 2**29  # of decoded images in memory
MAX_BAD_SHARE, MIN_IMAGES = 0.01, 100  # maximum share of unusable images, in data of at least so many images


# Parts --------------------------------------------------------------------------------------------------------------


def locate(data: DataConfig) -> pathlib.Path | str:
    return sources.locate(data.location, "captioning", NAMED)


def load(data: DataConfig) -> dict[str, Captioned]:
    """Returns the parts of the data: train, and validation and test, which are split off if they are missing.

    If the data has a validation part but no test part, the first half of the validation images is used for validation
    and the rest for the test, in the order of `dev_all.txt` if there is one, as in Flickr8k. If it has neither, shares
    of the training images are drawn by the split seed only, so that a later call finds the same parts.
    """
    where = locate(data)
    own = own_parts(where, data)
    require_part("train", own, data.location)
    parts = {part: read(where, part, data) for part in own}
    if "validation" in parts and "test" not in parts:
        parts["validation"], parts["test"] = halves(parts["validation"], where, data)
    for part, share in (("test", data.test_share), ("validation", data.validation_share)):
        if part not in parts and share:
            names = list(parts["train"].paths)
            size, expected = round(share * len(names)), "two images with captions or more"
            rows = split(range(len(names)), size, data.split_seed, data.location, expected)
            parts["train"], parts[part] = (parts["train"].take(names[row] for row in some) for some in rows)
    return parts


def load_part(data: DataConfig, part: str) -> Captioned:
    """Returns one part of the data: train, validation, test, or NAME of a file captions_NAME."""
    where = locate(data)
    if part not in PARTS or own_parts(where, data) == PARTS:
        return read(where, part, data)
    parts = load(data)
    require_part(part, parts, data.location)
    return parts[part]


def load_all(data: DataConfig, part: str) -> Captioned:
    """Returns the captions of data that was not used in training: a file as a whole; of a folder the part, or
    everything if it has only one part."""
    where = locate(data)
    if isinstance(where, pathlib.Path) and where.is_file():
        return read(where, "train", data)
    own = own_parts(where, data)
    if part in PARTS and part not in own and len(own) > 1:
        return load_part(data, part)
    return read(where, own[0] if part in PARTS and part not in own else part, data)


def halves(validation: Captioned, where: pathlib.Path | str, data: DataConfig) -> tuple[Captioned, Captioned]:
    listed = list_of_validation(where) if isinstance(where, pathlib.Path) else []
    names = [name for name in listed if name in validation.paths] or list(validation.paths)
    if len(names) < 2:
        raise UserError(f"--data {data.location} has one image for validation and test: expected two or more")
    middle = len(names) // 2
    return validation.take(names[:middle]), validation.take(names[middle:])


def report_without_captions(parts: dict[str, Captioned]):
    """Prints to standard error how many images in the folders of the data have no caption."""
    count = without_captions(parts.values())
    if count:
        print(f"{count:,} images without captions are not used", file=sys.stderr)


# Images -------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Images:
    """The usable images of a part, with features or pixels.

    Attributes:
        captioned: these images and their captions.
        left_out: the name of each other image -> the reason, as the end of a sentence.
        features: float32[images, features], or the maps float16[images, positions, channels] of a model with
            attention; empty until they are computed.
        pixels: uint8 or float32 [images, size, size, 3], or None: then images are decoded as they are used.
    """

    captioned: Captioned
    left_out: dict[str, str]
    features: np.ndarray | FeatureMaps = dataclasses.field(default_factory=lambda: np.zeros([0, 0], np.float32))
    pixels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.captioned)


def with_features(captioned: Captioned, encoder: keras.Model, config: Config) -> Images:
    """Returns the images with their features, which are read from the cache if they were computed before. Maps stay on
    the disk until they are used."""
    images, maps = config.images, config.model.image == "attend"
    options: dict = {"size": images.image_size, "fit": images.fit, "pixel_limit": images.pixel_limit}
    key = {"encoder": config.model.encoder, "weights": encoders.digest(encoder), **options}
    features = feature_cache.fill(
        config.data.cache,
        {**key, "pooling": "none"} if maps else key,
        captioned.paths,
        functools.partial(encoders.encode_files, encoder, **options),
        dtype="float16" if maps else "float32",
        log=lambda line: print(line, file=sys.stderr),
    )
    good = usable(captioned, features.failures, config.data.location)
    found = [features[name] for name in good.paths]
    return Images(good, features.failures, features=FeatureMaps(found) if maps else np.concatenate(found))


def with_pixels(captioned: Captioned, preprocessing: Preprocessing, config: Config) -> Images:
    """Returns the images after decoding each one as a check; with their pixels if these fit into memory."""
    names, size = list(captioned.paths), config.images.image_size
    stored = None
    if len(names) * size * size * 3 <= MAX_BYTES:
        stored = np.zeros([len(names), size, size, 3], np.uint8)
    # One dataset for all images: `preprocessing.pixels` creates one in every call, which is slow for small images.
    paths = without_autotune(tf.data.Dataset.from_tensor_slices([str(path) for path in captioned.paths.values()]))
    pixels = paths.enumerate().map(
        without_autograph(lambda number, path: (number, preprocessing.pixels_of_one(tf.io.read_file(path)))),
        num_parallel_calls=2,
        deterministic=False,
    )
    good = np.zeros(len(names), bool)
    for numbers, batch in pixels.ignore_errors().batch(BATCH_IMAGES).as_numpy_iterator():
        good[numbers] = True
        # The pixels of a resized image are not integers: rounding them would train on other pixels than the export
        # computes.
        if stored is not None and stored.dtype == np.uint8 and (batch != np.rint(batch)).any():
            stored = stored.astype(np.float32) if 4 * stored.nbytes <= MAX_BYTES else None
        if stored is not None:
            stored[numbers] = batch
    left_out = {
        name: image_files.check(captioned.paths[name], config.images.pixel_limit) or "could not be decoded"
        for name, decoded in zip(names, good, strict=True)
        if not decoded
    }
    pixels = stored if stored is None or good.all() else stored[good]
    return Images(usable(captioned, left_out, config.data.location), left_out, pixels=pixels)


def usable(captioned: Captioned, left_out: dict[str, str], location: str) -> Captioned:
    """Returns the images that are not left out; raises UserError when too many are, or all."""
    good = captioned.take(name for name in captioned.paths if name not in left_out)
    share = len(left_out) / max(len(captioned), 1)
    if not len(good) or (len(captioned) >= MIN_IMAGES and share > MAX_BAD_SHARE):
        name, reason = next(iter(left_out.items()))
        raise UserError(
            f"--data {location}: {len(left_out):,} of {len(captioned):,} images cannot be used, {share:.1%},"
            f" expected at most {MAX_BAD_SHARE:.0%}; the first, {captioned.paths[name]}, {reason}"
        )
    return good


def report_left_out(part: str, images: Images):
    """Prints to standard error how many images of a part were left out."""
    if images.left_out:
        name, reason = next(iter(images.left_out.items()))
        total = len(images) + len(images.left_out)
        print(
            f"{part}: left out {len(images.left_out):,} of {total:,} images; the first, {name}, {reason}",
            file=sys.stderr,
        )


def write_left_out(path: pathlib.Path, parts: dict[str, Images]):
    """Writes a table of the images left out, with the reasons."""
    write_tsv(path, "image reason", [row for images in parts.values() for row in images.left_out.items()])


# Captions -----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Captions:
    """The captions of images as ids.

    Attributes:
        ids: int32[captions, (words)], those of an image one after the other.
        owners: int64[captions], the number of the image of each caption.
        images: number of images.
        left_out: the reason why captions were left out -> how many.
    """

    ids: tf.RaggedTensor
    owners: np.ndarray
    images: int
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.owners)

    @property
    def lengths(self) -> np.ndarray:
        """int64[captions]: number of words of each caption."""
        return np.asarray(self.ids.row_lengths())

    def by_image(self) -> tf.RaggedTensor:
        """Returns int32[images, (captions), (words)]."""
        counts = np.bincount(self.owners, minlength=self.images)
        return tf.RaggedTensor.from_row_lengths(self.ids, counts, validate=False)


def encode(captioned: Captioned, preprocessing: Preprocessing) -> Captions:
    """Encodes captions as ids; those without a word or longer than the limits are left out."""
    counts = [len(each) for each in captioned.references.values()]
    owners = np.repeat(np.arange(len(counts)), counts)
    ids, splits, cut = encode_texts(captioned.captions, preprocessing.encode)
    empty = np.diff(splits) == 0
    left_out = {"without a word": int(empty.sum()), "too long": int((cut & ~empty).sum())}
    good = np.flatnonzero(~cut & ~empty)
    kept = tf.gather(tf.RaggedTensor.from_row_splits(ids, splits, validate=False), good)
    return Captions(kept, owners[good], len(counts), {reason: n for reason, n in left_out.items() if n})

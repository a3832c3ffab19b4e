"""The inputs of the model for each clip: features of a frozen encoder, cached on disk; pixels; or features of files."""

import abc
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.vision import encoders, feature_cache
from pipelines.common.vision.feature_files import check_finite, frames_of, open_features
from pipelines.common.vision.videos import READING, Unreadable, stacks
from pipelines.video.annotations import open_clip
from pipelines.video.clips import Clip
from pipelines.video.config import DataConfig
from pipelines.video.preprocessing import Preprocessing

PIECE_FRAMES = 1024  # frames of one item of the cache, so that the length of a video does not take memory
ENCODER_BATCH = 32
MAX_BYTES = 2**29  # of pixels in memory; further clips are decoded each time they are read
MAX_LISTED = 5


class Piece(os.PathLike):
    """The frames `start` to `end` of a clip (None: to its end). Its path is that of the clip."""

    def __init__(self, source: os.PathLike, start: int, end: int | None):
        self.source, self.start, self.end = source, start, end

    def __fspath__(self) -> str:
        return os.fspath(self.source)


class Inputs(abc.ABC):
    """The inputs of clips by name.

    Attributes:
        lengths: frames of each clip.
        rates: frames per second of each clip.
        failures: for each clip that cannot be read the reason, as the end of a sentence.
    """

    def __init__(self):
        self.lengths: dict[str, int] = {}
        self.rates: dict[str, float] = {}
        self.failures: dict[str, str] = {}

    @abc.abstractmethod
    def chunks(self, name: str) -> Iterator[np.ndarray]:
        """Yields the inputs of a clip in chunks, float32[frames, …], which are read as they are used."""

    def report(self, what: str):
        """Lists the clips that are left out on standard error; raises UserError if none is left."""
        if not self.lengths and self.failures:
            name, reason = next(iter(self.failures.items()))
            raise UserError(f"none of the {len(self.failures)} clips of {what} can be read: {name} {reason}")
        if self.failures:
            total = len(self.lengths) + len(self.failures)
            listed = [f"{name} {reason}" for name, reason in itertools.islice(self.failures.items(), MAX_LISTED)]
            more = f"; and {len(self.failures) - MAX_LISTED} more" if len(self.failures) > MAX_LISTED else ""
            print(
                f"left out {len(self.failures)} of {total} clips of {what}: {'; '.join(listed)}{more}", file=sys.stderr
            )


class FeatureInputs(Inputs):
    """Features float32[frames, features] of a frozen encoder, mapped from the disk cache."""

    def __init__(self, clips: Iterable[Clip], data: DataConfig, name: str, encoder, preprocessing: Preprocessing):
        super().__init__()
        pieces, encode = {}, make_encode(encoder, preprocessing)
        for clip in clips:
            try:
                video = open_clip(clip.source, data)
            except Unreadable as error:
                self.failures[clip.name] = error.reason
                continue
            self.rates[clip.name] = float(video.rate)
            # The last piece takes the rest, so that the length in the header may be wrong by up to a tenth.
            count = max(int(0.9 * (video.expected or 0)) // PIECE_FRAMES, 1)
            for number in range(count):
                end = (number + 1) * PIECE_FRAMES if number < count - 1 else None
                pieces[f"{clip.name}#{number}"] = Piece(clip.source, number * PIECE_FRAMES, end)
        key = {
            "encoder": name, "weights": encoders.digest(encoder), "size": preprocessing.image_size,
            "fit": preprocessing.fit, "fps": data.fps, "folder_fps": data.folder_fps, "piece": PIECE_FRAMES,
            "reading": READING,
        }  # fmt: skip
        self.features = feature_cache.fill(
            data.cache, key, pieces, lambda missing: compute(missing, data, encode), log=log
        )
        self.pieces: dict[str, list[str]] = {}
        for item in pieces:
            name = item.rpartition("#")[0]
            self.pieces.setdefault(name, []).append(item)
            if item in self.features.failures:
                self.failures[name] = self.features.failures[item]
        for name, items in self.pieces.items():
            if name not in self.failures:
                self.lengths[name] = sum(len(self.features[item]) for item in items)

    def chunks(self, name: str) -> Iterator[np.ndarray]:
        for item in self.pieces[name]:
            yield self.features[item]


def log(line: str):
    print(line, file=sys.stderr)


def make_encode(encoder, preprocessing: Preprocessing) -> Callable:
    """Returns a compiled function uint8[frames, height, width, 3] -> float32[frames, features]."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)], autograph=False)
    def encode(frames):
        return encoder(preprocessing(frames), training=False)

    return encode


def compute(pieces: list[Piece], data: DataConfig, encode: Callable) -> Iterator[np.ndarray | str]:
    """Yields the features of each piece, float32[frames, features], or the reason why there are none; consecutive
    pieces of a clip are read in one pass."""
    source, frames = None, iter(())
    position: int | None = 0
    for piece in pieces:
        try:
            if piece.source is not source or piece.start != position:
                source, position = piece.source, piece.start
                frames = itertools.islice(iter(open_clip(source, data)), position, None)
            some = frames if piece.end is None else itertools.islice(frames, piece.end - piece.start)
            features = [encode(stack).numpy() for stack in stacks(some, ENCODER_BATCH)]
        except Unreadable as error:
            source = None
            yield error.reason
            continue
        position = piece.end
        if features:
            yield np.concatenate(features)
        else:
            yield "has fewer frames than its header says"


class PixelInputs(Inputs):
    """Pixels float32[frames, size, size, 3], for an encoder that is trained.

    Short clips are stored in memory as long as they fit; a clip of more than PIECE_FRAMES is decoded each time, so that
    its length does not take memory.
    """

    def __init__(
        self,
        clips: Iterable[Clip],
        data: DataConfig,
        preprocessing: Preprocessing,
        change: Callable = lambda video: video,
    ):
        """
        Args:
            change: changes a video, an object that iterates over the frames of a clip with their rate.
        """
        super().__init__()
        self.data, self.preprocessing, self.change = data, preprocessing, change
        self.sources = {clip.name: clip.source for clip in clips}
        self.stored: dict[str, list[np.ndarray]] = {}
        room = MAX_BYTES
        for name, source in self.sources.items():
            try:
                video = self.open(source)
                frames: list[np.ndarray] | None = []
                length = 0
                for chunk in self.read(video):
                    length += len(chunk)
                    if frames is not None:
                        frames.append(chunk)
                        fits = length <= PIECE_FRAMES and sum(each.nbytes for each in frames) <= room
                        frames = frames if fits else None
            except Unreadable as error:
                self.failures[name] = error.reason
                continue
            self.rates[name], self.lengths[name] = float(video.rate), length
            if frames is not None:
                self.stored[name] = frames
                room -= sum(each.nbytes for each in frames)

    def open(self, source: os.PathLike):
        return self.change(open_clip(source, self.data))

    def read(self, video) -> Iterator[np.ndarray]:
        for stack in stacks(video):
            yield self.preprocessing(stack).numpy()

    def chunks(self, name: str) -> Iterator[np.ndarray]:
        if name in self.stored:
            yield from self.stored[name]
        else:
            yield from self.read(self.open(self.sources[name]))


class ArrayInputs(Inputs):
    """The features of clips in .npy files, which are read as they are used.

    Raises:
        UserError: A file cannot be read, is not float[features, frames], has another number of frames than labels or
            another number of features than the model, or contains numbers that are not finite.
    """

    def __init__(self, clips: Iterable[Clip], fps: float, size: int):
        """
        Args:
            fps: frames per second of the features.
            size: number of features that the model takes.
        """
        super().__init__()
        self.arrays: dict[str, np.ndarray] = {}
        for clip in clips:
            array = self.arrays[clip.name] = open_features(clip.source)
            features, frames = array.shape
            if frames != len(clip.frames):
                raise UserError(
                    f"{clip.source} has {frames} frames (its shape is {list(array.shape)}, expected [features, frames])"
                    f" and {len(clip.frames)} labels in groundTruth/{clip.name}.txt: expected as many"
                )
            if features != size:
                raise UserError(f"{clip.source} has {features} features for each frame, but the model takes {size}")
            self.lengths[clip.name], self.rates[clip.name] = frames, fps
            for start in range(0, frames, PIECE_FRAMES):
                check_finite(clip.source, frames_of(array, start, start + PIECE_FRAMES), start)

    def chunks(self, name: str) -> Iterator[np.ndarray]:
        """Yields the features of a clip in chunks, float32[frames, features]."""
        for start in range(0, self.lengths[name], PIECE_FRAMES):
            yield frames_of(self.arrays[name], start, start + PIECE_FRAMES)

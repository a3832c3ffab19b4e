"""What the model is given of each clip: features of a frozen encoder, kept on the disk, or the pixels of its frames."""

import abc
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.vision import encoders, feature_cache
from pipelines.common.vision.videos import Unreadable, stacks
from pipelines.video.annotations import Clip, open_clip
from pipelines.video.config import Config
from pipelines.video.preprocessing import Preprocessing

PIECE_FRAMES = 1024  # features of so many frames are one item of the cache, so that a long video needs no more memory
ENCODED_AT_ONCE = 32
MEMORY = 2**29  # bytes of pixels that are held; beyond, clips are decoded each time they are read
LISTED = 5


class Piece(os.PathLike):
    """Frames `start` to `end` of a clip (None: to its end); as a path it is the clip's file."""

    def __init__(self, source: os.PathLike, start: int, end: int | None):
        self.source, self.start, self.end = source, start, end

    def __fspath__(self) -> str:
        return os.fspath(self.source)


class Inputs(abc.ABC):
    """Clips by name: `lengths` in frames, `rates` in frames a second, and `chunks`.

    `failures` says for clips that cannot be read why, as the end of a sentence.
    """

    def __init__(self):
        self.lengths: dict[str, int] = {}
        self.rates: dict[str, float] = {}
        self.failures: dict[str, str] = {}

    @abc.abstractmethod
    def chunks(self, name: str) -> Iterator[np.ndarray]:
        """The clip in pieces, float32[frames, …], read as they are used."""

    def report(self, what: str):
        """Says on standard error which clips are left out; UserError when none is left."""
        if not self.lengths and self.failures:
            name, reason = next(iter(self.failures.items()))
            raise UserError(f"none of the {len(self.failures)} clips of {what} can be read: {name} {reason}")
        if self.failures:
            total = len(self.lengths) + len(self.failures)
            listed = [f"{name} {reason}" for name, reason in itertools.islice(self.failures.items(), LISTED)]
            more = f"; and {len(self.failures) - LISTED} more" if len(self.failures) > LISTED else ""
            print(
                f"left out {len(self.failures)} of {total} clips of {what}: {'; '.join(listed)}{more}", file=sys.stderr
            )


class FeatureInputs(Inputs):
    """Features float32[frames, features] of a frozen encoder, mapped from the disk."""

    def __init__(self, clips: Iterable[Clip], config: Config, encoder, preprocessing: Preprocessing):
        super().__init__()
        pieces, encode = {}, make_encode(encoder, preprocessing)
        for clip in clips:
            try:
                video = open_clip(clip.source, config)
            except Unreadable as error:
                self.failures[clip.name] = error.reason
                continue
            self.rates[clip.name] = float(video.rate)
            # The last piece takes what is left, so a header may err; by less than the tenth that is allowed for.
            count = max(int(0.9 * (video.expected or 0)) // PIECE_FRAMES, 1)
            for number in range(count):
                end = (number + 1) * PIECE_FRAMES if number < count - 1 else None
                pieces[f"{clip.name}#{number}"] = Piece(clip.source, number * PIECE_FRAMES, end)
        key = {
            "encoder": config.encoder, "weights": encoders.digest(encoder), "size": preprocessing.size,
            "fit": preprocessing.fit, "fps": config.fps, "folder_fps": config.folder_fps, "piece": PIECE_FRAMES,
        }  # fmt: skip
        self.features = feature_cache.fill(
            config.cache, key, pieces, lambda wanted: compute(wanted, config, encode), say=say
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


def say(line: str):
    print(line, file=sys.stderr)


def make_encode(encoder, preprocessing: Preprocessing) -> Callable:
    """uint8[frames, height, width, 3] -> float32[frames, features], compiled once."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)], autograph=False)
    def encode(frames):
        return encoder(preprocessing(frames), training=False)

    return encode


def compute(pieces: list[Piece], config: Config, encode: Callable) -> Iterator[np.ndarray | str]:
    """The features of each piece, float32[frames, features], or why there are none; pieces of a clip that follow each
    other are read in one go."""
    source, frames, at = None, iter(()), 0
    for piece in pieces:
        try:
            if piece.source is not source or piece.start != at:
                source, at = piece.source, piece.start
                frames = itertools.islice(iter(open_clip(source, config)), at, None)
            some = frames if piece.end is None else itertools.islice(frames, piece.end - piece.start)
            found = [encode(stack).numpy() for stack in stacks(some, ENCODED_AT_ONCE)]
        except Unreadable as error:
            source = None
            yield error.reason
            continue
        at = piece.end
        if found:
            yield np.concatenate(found)
        else:
            yield "has fewer frames than it says"


class PixelInputs(Inputs):
    """Pixels float32[frames, size, size, 3], for an encoder that is trained. Those of short clips are held in memory as
    far as they fit; a clip of more than PIECE_FRAMES is decoded each time, so that its length takes no memory."""

    def __init__(self, clips: Iterable[Clip], config: Config, preprocessing: Preprocessing):
        super().__init__()
        self.config, self.preprocessing = config, preprocessing
        self.sources = {clip.name: clip.source for clip in clips}
        self.held: dict[str, list[np.ndarray]] = {}
        room = MEMORY
        for name, source in self.sources.items():
            try:
                video = open_clip(source, config)
                held, length = [], 0
                for chunk in self.read(video):
                    length += len(chunk)
                    if held is not None:
                        held.append(chunk)
                        fits = length <= PIECE_FRAMES and sum(each.nbytes for each in held) <= room
                        held = held if fits else None
            except Unreadable as error:
                self.failures[name] = error.reason
                continue
            self.rates[name], self.lengths[name] = float(video.rate), length
            if held is not None:
                self.held[name] = held
                room -= sum(each.nbytes for each in held)

    def read(self, video) -> Iterator[np.ndarray]:
        for stack in stacks(video):
            yield self.preprocessing(stack).numpy()

    def chunks(self, name: str) -> Iterator[np.ndarray]:
        if name in self.held:
            yield from self.held[name]
        else:
            yield from self.read(open_clip(self.sources[name], self.config))

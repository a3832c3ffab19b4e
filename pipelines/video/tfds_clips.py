"""Clips of tensorflow-datasets, read as video files are."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator

import numpy as np

from pipelines.common.data.loading import without_autotune
from pipelines.common.vision.videos import as_rate, resample

TFDS_FPS = 25  # the frame rate of UCF101, which tensorflow-datasets does not pass on


@dataclasses.dataclass(frozen=True)
class TfdsClip(os.PathLike):
    """A clip of a prepared data set. As a path it is the file that tells which preparation it is."""

    builder: object = dataclasses.field(repr=False, compare=False)
    part: str
    number: int

    def __fspath__(self) -> str:
        return os.fspath(pathlib.Path(str(self.builder.data_path)) / "dataset_info.json")

    def __str__(self) -> str:
        return f"tfds:{self.builder.info.full_name}, example {self.number} of {self.part}"

    def open(self, fps: float) -> "TfdsVideo":
        return TfdsVideo(self, fps)


class TfdsVideo:
    """What videos.Video is for a file: frames uint8[height, width, 3], at a rate."""

    def __init__(self, clip: TfdsClip, fps: float):
        self.clip = clip
        self.rate = as_rate(fps or TFDS_FPS)
        self.expected = None

    def __iter__(self) -> Iterator[np.ndarray]:
        clip = self.clip
        found = without_autotune(clip.builder.as_dataset(split=f"{clip.part}[{clip.number}:{clip.number + 1}]"))
        (row,) = found.as_numpy_iterator()
        frames = ((number / TFDS_FPS, frame) for number, frame in enumerate(row["video"]))
        return resample(frames, self.rate, as_rate(TFDS_FPS))

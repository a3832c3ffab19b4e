"""Clips of tensorflow-datasets, with the interface of video files."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from pipelines.common.data.loading import without_autotune
from pipelines.common.vision.videos import as_rate, resample

TFDS_FPS = 25  # the frame rate of UCF101, which tensorflow-datasets does not provide


@dataclasses.dataclass(frozen=True)
class TfdsClip(os.PathLike):
    """A clip of a prepared data set. Its path is that of dataset_info.json, which identifies the prepared data."""

    builder: Any = dataclasses.field(repr=False, compare=False)
    part: str
    number: int

    def __fspath__(self) -> str:
        return os.fspath(pathlib.Path(str(self.builder.data_path)) / "dataset_info.json")

    def __str__(self) -> str:
        return f"tfds:{self.builder.info.full_name}, example {self.number} of {self.part}"

    def open(self, fps: float) -> "TfdsVideo":
        return TfdsVideo(self, fps)


class TfdsVideo:
    """The frames of a TfdsClip, uint8[height, width, 3], at a rate: the interface of videos.Video."""

    def __init__(self, clip: TfdsClip, fps: float):
        self.clip = clip
        self.rate = as_rate(fps or TFDS_FPS)
        self.expected = None

    def __iter__(self) -> Iterator[np.ndarray]:
        clip = self.clip
        rows = without_autotune(clip.builder.as_dataset(split=f"{clip.part}[{clip.number}:{clip.number + 1}]"))
        (row,) = rows.as_numpy_iterator()
        frames = ((number / TFDS_FPS, frame) for number, frame in enumerate(row["video"]))
        return resample(frames, self.rate, as_rate(TFDS_FPS))

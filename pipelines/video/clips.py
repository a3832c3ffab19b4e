"""The videos of a data set: their clips, labels, groups and parts."""

import dataclasses
import os

PARTS = ("train", "validation", "test")
PART_NAMES = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
    "dev": "validation", "test": "test",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Segment:
    """A label from `start` to `end` (exclusive), in seconds; `place` is where it was read, for error messages."""

    start: float
    end: float
    label: str
    place: str


@dataclasses.dataclass(frozen=True)
class Clip:
    """A video file with one label or with segments, or a file of features with `frames`, the label of each frame."""

    name: str
    source: os.PathLike
    label: str | None
    segments: tuple[Segment, ...] = ()
    frames: tuple[str, ...] = ()

    @property
    def labels(self) -> set[str]:
        if self.frames:
            return set(self.frames)
        return {self.label} if self.label is not None else {segment.label for segment in self.segments}


@dataclasses.dataclass(frozen=True)
class Video:
    """One clip or several in a row; `group` and `part` are None if the data does not name them."""

    name: str
    clips: tuple[Clip, ...]
    group: str | None
    part: str | None
    place: str

    @property
    def labels(self) -> set[str]:
        return set().union(*(clip.labels for clip in self.clips))

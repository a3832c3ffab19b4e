"""Videos with a label for each frame, and the inputs of the model for them."""

import dataclasses
import sys
from collections.abc import Iterator

import numpy as np

from pipelines.common.data.tables import as_name
from pipelines.common.errors import UserError
from pipelines.video.annotations import frame_labels
from pipelines.video.clips import Video
from pipelines.video.config import DataConfig
from pipelines.video.inputs import Inputs


@dataclasses.dataclass(frozen=True)
class Track:
    """A video with a label for each frame.

    Attributes:
        labels: int32[frames].
        clips: names of the clips that it consists of.
        bounds: the frame at which each clip begins, and the end: len(clips) + 1 numbers.
        rate: frames per second.
    """

    name: str
    labels: np.ndarray
    clips: tuple[str, ...]
    bounds: tuple[int, ...]
    rate: float

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Tracks:
    """Tracks, and the inputs of the model for their clips."""

    tracks: list[Track]
    inputs: Inputs

    def __len__(self) -> int:
        return len(self.tracks)

    @property
    def lengths(self) -> np.ndarray:
        """int64[tracks]: number of frames of each track."""
        return np.array([len(track) for track in self.tracks], np.int64)

    @property
    def labels(self) -> np.ndarray:
        """int32[frames]: the labels of all tracks."""
        return np.concatenate([np.zeros(0, np.int32), *(track.labels for track in self.tracks)])

    def chunks(self, number: int) -> Iterator[np.ndarray]:
        """Yields the inputs of a track in chunks, float32[frames, …]."""
        for clip in self.tracks[number].clips:
            yield from self.inputs.chunks(clip)


def make_tracks(videos: list[Video], inputs: Inputs, names: tuple[str, ...], data: DataConfig, part: str) -> Tracks:
    """Labels each frame. Videos with an unreadable clip are left out, and counted on standard error.

    Raises:
        UserError: A label is not among `names`, a segment ends after its clip, a frame has no label, or no video is
            left.
    """
    ids = {as_name(name): number for number, name in enumerate(names)}

    def index(label: str, place: str) -> int:
        number = ids.get(as_name(label))
        if number is None:
            raise UserError(f"{place}: the label is {label!r}, expected one of {', '.join(names)}")
        return number

    tracks, left_out = [], 0
    for video in videos:
        if any(clip.name in inputs.failures for clip in video.clips):
            left_out += 1
            continue
        rate, *others = sorted({inputs.rates[clip.name] for clip in video.clips})
        if others:
            raise UserError(
                f"{video.place}: the clips of {video.name} have {' and '.join(f'{each:g}' for each in (rate, *others))}"
                " frames a second; choose one rate for all with --fps"
            )
        labels = [frame_labels(clip, inputs.lengths[clip.name], rate, index, data.background) for clip in video.clips]
        bounds = (0, *np.cumsum([len(each) for each in labels]).tolist())
        clips = tuple(clip.name for clip in video.clips)
        tracks.append(Track(video.name, np.concatenate(labels), clips, bounds, rate))
    if not tracks:
        raise UserError(f"--data {data.location} has no readable video in the part {part}")
    if left_out and left_out != len(inputs.failures):
        print(f"left out {left_out} of {len(videos)} videos of the part {part} for that reason", file=sys.stderr)
    return Tracks(tracks, inputs)


def moments(tracks: Tracks) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean and the standard deviation of each feature over all frames, float32[features] each."""
    count, total, squares = 0, 0.0, 0.0
    for number in range(len(tracks)):
        for chunk in tracks.chunks(number):
            count += len(chunk)
            total = total + chunk.sum(axis=0, dtype=np.float64)
            squares = squares + np.square(chunk, dtype=np.float64).sum(axis=0)
    mean = np.asarray(total / count)
    deviation = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
    return mean.astype(np.float32), deviation.astype(np.float32)

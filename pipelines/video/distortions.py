"""Videos as people's cameras and programs leave them, and features with faults: for `evaluate --robust`."""

import dataclasses
import functools
import zlib
from collections.abc import Callable, Iterator

import numpy as np

from pipelines.common.evaluation.robustness import Distortion
from pipelines.common.vision.distortions import greyed, of_pixels, shrunk
from pipelines.common.vision.videos import as_rate, resample, stacks
from pipelines.video.clips import Clip, Video
from pipelines.video.inputs import ArrayInputs, Inputs

DARK, BRIGHT = 0.4, 1.6
SHRINK = 4


class ChangedFrames:
    """The frames of a video, uint8[height, width, 3] each, changed by a function of uint8[frames, height, width, 3]:
    the interface of videos.Video."""

    def __init__(self, video, change: Callable):
        self.video, self.change = video, change
        self.rate, self.expected = video.rate, video.expected

    def __iter__(self) -> Iterator[np.ndarray]:
        for stack in stacks(self.video):
            yield from self.change(stack).numpy()


class ChangedRate:
    """The frames of a video at another rate: left out, or repeated. The interface of videos.Video."""

    def __init__(self, video, factor: float):
        self.video = video
        self.rate = as_rate(video.rate * factor)
        self.expected = None if video.expected is None else round(video.expected * factor)

    def __iter__(self) -> Iterator[np.ndarray]:
        frames = ((float(number / self.video.rate), frame) for number, frame in enumerate(self.video))
        return resample(frames, self.rate, self.video.rate)


@dataclasses.dataclass(frozen=True)
class FeatureChange:
    """A fault of features: only every `step`-th frame, or Gaussian noise, in standard deviations of each feature."""

    step: int = 1
    noise: float = 0.0

    def of_clip(self, clip: Clip) -> Clip:
        """Returns a clip with the labels of the frames that are left."""
        return dataclasses.replace(clip, frames=clip.frames[:: self.step])


class ChangedArrays(Inputs):
    """The features of clips in files, changed as they are read. The noise is the same each time.

    Args:
        arrays: the features as they are.
        deviation: float[features], the standard deviation of each feature.
    """

    def __init__(self, arrays: ArrayInputs, change: FeatureChange, deviation: np.ndarray):
        super().__init__()
        self.arrays, self.change, self.deviation = arrays, change, deviation
        self.lengths = {name: -(-length // change.step) for name, length in arrays.lengths.items()}
        self.rates = {name: rate / change.step for name, rate in arrays.rates.items()}

    def chunks(self, name: str) -> Iterator[np.ndarray]:
        draw, start = np.random.default_rng(zlib.crc32(name.encode())), 0
        for chunk in self.arrays.chunks(name):
            first = -start % self.change.step  # the first frame of the chunk that is left
            start += len(chunk)
            chunk = chunk[first :: self.change.step]
            noise = draw.normal(size=chunk.shape) * (self.change.noise * self.deviation)
            yield (chunk + noise).astype(np.float32)


def changed_clips(videos: list[Video], change: FeatureChange) -> list[Video]:
    """Returns videos of features with the labels of the frames that are left."""
    return [dataclasses.replace(video, clips=tuple(change.of_clip(clip) for clip in video.clips)) for video in videos]


def of_frames(name: str, meaning: str, change: Callable) -> Distortion:
    frames = functools.partial(of_pixels, change)
    return Distortion(name, meaning, lambda video: ChangedFrames(video, frames))


# Each changes a video, an object that iterates over frames with their rate.
VIDEO_DISTORTIONS = (
    of_frames("dark", f"{DARK:.0%} of the brightness", lambda images: DARK * images),
    of_frames("bright", f"{BRIGHT:.0%} of the brightness", lambda images: BRIGHT * images),
    of_frames("grey", "without colours", greyed),
    of_frames("small", "a quarter of the width", lambda images: shrunk(images, SHRINK)),
    Distortion("half_rate", "every second frame only", lambda video: ChangedRate(video, 0.5)),
    Distortion("double_rate", "every frame twice", lambda video: ChangedRate(video, 2.0)),
)
FEATURE_DISTORTIONS = (
    Distortion("half_rate", "every second frame only", FeatureChange(step=2)),
    Distortion("noise", "noise of half a deviation", FeatureChange(noise=0.5)),
    Distortion("more_noise", "noise of one deviation", FeatureChange(noise=1.0)),
)

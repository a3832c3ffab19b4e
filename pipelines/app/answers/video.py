"""The answer of videos: the labels over time, the segments, and the video with its labels."""

import pathlib
from collections.abc import Iterator

import numpy as np

from pipelines.app import limits, markup
from pipelines.app.files import Folder, require_size
from pipelines.common.errors import UserError
from pipelines.common.pictures.timelines import Strip, Timeline, draw_timelines
from pipelines.common.vision.videos import Unreadable, Video, write
from pipelines.video import predict


class Bounded(Video):
    """The frames of a video that is not too long. Raises UserError, in iteration as well, if it is."""

    def __init__(self, path: pathlib.Path, fps: float):
        super().__init__(path, fps)
        self.limit = min(limits.FRAMES, round(limits.SECONDS * self.rate))
        if self.expected is not None and self.expected > self.limit:
            self.refuse(f"about {self.expected:,}")

    def refuse(self, number: str):
        raise UserError(
            f"{self.path.name} is too long: it has {number} frames at {float(self.rate):g} frames per second, expected"
            f" at most {limits.SECONDS} s and {limits.FRAMES:,} frames"
        )

    def __iter__(self) -> Iterator[np.ndarray]:
        for number, frame in enumerate(super().__iter__()):
            if number >= self.limit:
                self.refuse(f"more than {self.limit:,}")
            yield frame


def label_clip(loaded, clip: str | None, folder: Folder) -> tuple[str, str, str]:
    """Returns the segments (HTML), the labelled video, and the timeline. Raises UserError if there is no video, or it
    cannot be read or is too long."""
    path = require_size(clip, limits.VIDEO, "video")
    fps, names = settings(loaded)
    strip = Strip()
    try:
        own, source = Bounded(path, 0.0), Bounded(path, fps)
        labels, confidence = predict.label(loaded, source, strip)
        written = folder.new("labelled.mp4")
        write(written, predict.labelled(own, labels, source, names), own.rate)
    except Unreadable as error:
        raise UserError(f"{path.name} {error.reason}") from error
    table, picture = show(path.name, float(source.rate), labels, confidence, names, strip, folder)
    return table, str(written), picture


def label_features(loaded, array: str | None, folder: Folder) -> tuple[str, None, str]:
    """Returns the segments (HTML) and the timeline of a file of features."""
    path = require_size(array, limits.VIDEO, "file of features")
    fps, names = settings(loaded)
    try:
        labels, confidence = predict.label_features(loaded, str(path))
    except UserError as error:
        raise UserError(str(error).replace(str(path), path.name)) from error
    table, picture = show(path.name, fps or 25.0, labels, confidence, names, Strip(), folder)
    return table, None, picture


def settings(loaded) -> tuple[float, list[str]]:
    """Returns the frames per second at which a model reads videos (0: their own rate), and its labels."""
    found = {name: value.numpy() for name, value in loaded.signatures["settings"]().items()}
    return float(found["fps"]), [name.decode() for name in found["classes"]]


def show(name: str, fps: float, labels, confidence, names, strip, folder: Folder) -> tuple[str, str]:
    """Returns the table of segments (HTML) and the timeline."""
    timeline = folder.new("timeline.png")
    draw_timelines([Timeline(name, fps, {"predicted": labels}, strip.kept)], names, timeline)
    segments = predict.answer(name, fps, labels, confidence)["segments"]
    header = ["start", "end", "label", *(["confidence"] if confidence else [])]
    rows = [
        [f"{each['start']:.2f} s", f"{each['end']:.2f} s", each["label"]]
        + ([f"{each['confidence']:.0%}"] if confidence else [])
        for each in segments
    ]
    return markup.table(header, rows, ["start", "end", "confidence"]), str(timeline)

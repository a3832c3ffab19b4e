"""Videos as frames, read one after the other in bounded memory: files that PyAV reads, and folders of pictures.

Time comes from the presentation times of the frames. A video is read at a rate: its frame k is what is on the screen at
the time k / rate, that is the newest frame that is no later. With the file's own rate that is every frame of it; at
another rate, and where the times of the file are irregular, frames are left out or repeated.

Frames are turned upright where the file says that the camera lay on its side. They may change in size on the way:
`stacks` gives those of one size together.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np

from pipelines.common.errors import UserError
from pipelines.common.files import atomic_path
from pipelines.common.vision import images

PICTURES = (".jpg", ".jpeg", ".png")
MOST_PIXELS = 2**25  # of a frame; 8K video has as many
SLACK = 1.5e-3  # seconds; Matroska rounds times to milliseconds
SHORTEST = 0.95  # of what a header promises; a file with fewer frames is cut off
STACK_FRAMES = 64
STACK_BYTES = 2**24


class Unreadable(UserError):
    """A video that cannot be read; `reason` is the end of a sentence, such as "is no video"."""

    def __init__(self, path, reason: str):
        super().__init__(f"{path} {reason}")
        self.reason = reason


class Video:
    """The frames of a file or folder, uint8[height, width, 3] each; every iteration reads from the start.

    Attributes:
        rate: frames a second, a Fraction.
        expected: about how many frames there are, by the header; None where it does not say.
    """

    def __init__(self, path, fps: float = 0.0, folder_fps: float = 25.0):
        """
        Args:
            path: a video file, or a folder of JPEG and PNG pictures, read in the order of their names.
            fps: frames a second to read; 0: the file's own.
            folder_fps: frames a second that the pictures of a folder were taken at.

        Raises:
            Unreadable: there is no such thing, or it is no video. Iterating raises it where a frame is damaged or the
                file cut off.
        """
        self.path = pathlib.Path(path)
        self.pictures = None
        if self.path.is_dir():
            self.pictures = sorted(each for each in self.path.iterdir() if each.suffix.lower() in PICTURES)
            if not self.pictures:
                raise Unreadable(path, "is a folder without pictures: expected files .jpg or .png")
            self.own_rate = as_rate(folder_fps)
            seconds: float | None = len(self.pictures) / folder_fps
        else:
            with opened(self.path) as (_, stream):
                self.own_rate, seconds = own_rate(stream), length(stream)
        self.rate = as_rate(fps) if fps else self.own_rate
        self.expected = None if seconds is None else round(seconds * self.rate)

    def __iter__(self) -> Iterator[np.ndarray]:
        if self.pictures is not None:
            frames = ((float(number / self.own_rate), picture(path)) for number, path in enumerate(self.pictures))
            return resample(frames, self.rate, self.own_rate)
        return resample(decode(self.path, self.own_rate), self.rate, self.own_rate)


def as_rate(fps: float) -> Fraction:
    return Fraction(fps).limit_denominator(1001)


@contextlib.contextmanager
def opened(path):
    """(container, video stream) of a file; what PyAV says of a bad one becomes Unreadable, while it is read, too."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise Unreadable(path, "has no video in it")
            stream = container.streams.video[0]
            if stream.codec_context is None or not stream.codec_context.width:
                raise Unreadable(path, "is no video: it names no size of its frames")
            refuse_large(path, stream.codec_context.width, stream.codec_context.height)
            yield container, stream
    except av.error.InvalidDataError as error:
        empty = os.path.isfile(path) and not os.path.getsize(path)
        raise Unreadable(path, "is empty" if empty else "is no video, or is truncated or damaged") from error
    except av.error.EOFError as error:
        raise Unreadable(path, "has no frames") from error
    except av.FFmpegError as error:
        raise Unreadable(path, f"could not be read: {error.strerror or error}") from error


def refuse_large(path, width: int, height: int):
    if width * height > MOST_PIXELS:
        raise Unreadable(path, f"has frames of {width} x {height} pixels: expected at most {MOST_PIXELS}")


def own_rate(stream) -> Fraction:
    """The regular rate of the stream where its frames keep to one, else their average."""
    average, base = stream.average_rate, stream.base_rate
    if average and base and abs(base / average - 1) < 0.1:
        return Fraction(base)  # the average of a short file may count its last frame wrongly
    return Fraction(average or base or 25)


def length(stream) -> float | None:
    """Seconds, by the header."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if stream.container.duration:
        return stream.container.duration / av.time_base
    return None


def decode(path, rate: Fraction) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds since the first frame, uint8[height, width, 3]) of each frame of a file.

    Raises Unreadable at the end of a file that is shorter than it says, or has no frame.
    """
    with opened(path) as (container, stream):
        first, last, count = 0.0, -1 / float(rate), 0
        for frame in container.decode(stream):
            if frame.is_corrupt:
                raise Unreadable(path, f"is truncated or damaged at frame {count}")
            refuse_large(path, frame.width, frame.height)
            time = last + 1 / float(rate) if frame.time is None else frame.time
            if not count:
                first = last = time
            last = max(time, last)
            yield last - first, upright(frame)
            count += 1
        if not count:
            raise Unreadable(path, "has no frames")
        # Matroska counts its length from zero, however late the first frame comes; others count from that frame.
        seconds, ends = length(stream), max(last, last - first) + 1 / float(rate)
        # Where the header counts no frames, its length may be that of the sound.
        fewer = count < SHORTEST * stream.frames if stream.frames else len(container.streams) == 1
        if fewer and seconds is not None and ends < SHORTEST * seconds:
            raise Unreadable(path, f"is truncated: it ends at {ends:.2f} s of the {seconds:.2f} s that it promises")


def upright(frame) -> np.ndarray:
    """uint8[height, width, 3] as it is meant to be seen: `rotation` are degrees against the clock to the stored one."""
    pixels = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def picture(path) -> np.ndarray:
    """uint8[height, width, 3] of a picture of a folder."""
    content = images.read(path)
    reason = content if isinstance(content, str) else images.refusal(content, MOST_PIXELS)
    if reason:
        raise Unreadable(path, reason)
    return images.turn(images.read_pixels(content, MOST_PIXELS), images.orientation(content)).numpy()


def resample(frames: Iterable, rate: Fraction, own: Fraction) -> Iterator[np.ndarray]:
    """What is on the screen at 0, 1 / rate, 2 / rate, … of frames (seconds, pixels); the last is shown for 1 / own."""
    number, shown, ends = 0, None, 0.0
    for time, pixels in frames:
        while shown is not None and number / rate < time - SLACK:
            yield shown
            number += 1
        shown, ends = pixels, time + 1 / own
    while shown is not None and number / rate < ends - SLACK:
        yield shown
        number += 1


def stacks(frames: Iterable[np.ndarray], most: int = STACK_FRAMES) -> Iterator[np.ndarray]:
    """Consecutive frames of one size together: uint8[frames, height, width, 3], at most `most` of them, and fewer where
    they are large, so that a stack takes bounded memory."""
    stack: list[np.ndarray] = []
    for frame in frames:
        full = len(stack) >= max(1, min(most, STACK_BYTES // max(frame.nbytes, 1)))
        if stack and (full or frame.shape != stack[0].shape):
            yield np.stack(stack)
            stack = []
        stack.append(frame)
    if stack:
        yield np.stack(stack)


def write(path, frames: Iterable[np.ndarray], rate: Fraction):
    """Writes an H.264 video, whole or not at all. Frames uint8[height, width, 3] of another size than the first are
    scaled to it; an odd last row or column, which the format has no place for, is left out."""
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format=container_of(path)) as container:
        stream = None
        for frame in frames:
            if stream is None:
                stream = container.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast"})
                stream.height, stream.width = (max(side // 2 * 2, 2) for side in frame.shape[:2])
                stream.pix_fmt = "yuv420p"
            if frame.shape[:2] == (stream.height, stream.width):
                fitting = av.VideoFrame.from_ndarray(frame, format="rgb24")
            elif all(
                0 <= have - want <= 1 for have, want in zip(frame.shape, (stream.height, stream.width), strict=False)
            ):
                cut = np.ascontiguousarray(frame[: stream.height, : stream.width])
                fitting = av.VideoFrame.from_ndarray(cut, format="rgb24")
            else:
                whole = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
                fitting = whole.reformat(width=stream.width, height=stream.height)
            container.mux(stream.encode(fitting))
        if stream is None:
            raise UserError(f"{path} cannot be written: there is no frame")
        container.mux(stream.encode())


def container_of(path) -> str:
    """The format of a video file by its name; UserError for another."""
    formats = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
    ending = pathlib.Path(path).suffix.lower()
    if ending not in formats:
        raise UserError(f"{path} is no name for a video: expected one that ends in {', '.join(formats)}")
    return formats[ending]

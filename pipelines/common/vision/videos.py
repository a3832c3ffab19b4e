"""Reads the frames of videos one by one, in bounded memory: files that PyAV reads, and folders of pictures.

The times of frames are their presentation times. A video is read at a rate: frame k is the newest frame that is not
later than k / rate. At the rate of the file these are all of its frames; at another rate, or if the times in the file
are irregular, frames are left out or repeated.

Frames are turned and mirrored as the file says that they are to be shown. Their size may change within a video:
`stacks` groups frames of the same size.
"""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.stream import Disposition

from pipelines.common.errors import UserError
from pipelines.common.files import atomic_path, data_files
from pipelines.common.vision import exif, images

PICTURES = (".jpg", ".jpeg", ".png")
MAX_PIXELS = 2**25  # of a frame, as in 8K video
MAX_JITTER = 1.0  # seconds by which the times may go back without starting again
SLACK = 1.5e-3  # seconds, and at most half a frame; Matroska rounds times to milliseconds
MAX_GAP = 600  # seconds between two frames
READING = 3  # version of what a file's frames are, for the keys of caches
MIN_SHARE = 0.95  # of the frames that the header promises; a file with fewer is truncated
PICTURE_STREAMS = Disposition.attached_pic | Disposition.timed_thumbnails
STACK_FRAMES = 64
STACK_BYTES = 2**24


class Unreadable(UserError):
    """A video cannot be read; `reason` is the end of a sentence, such as "is not a video"."""

    def __init__(self, path, reason: str):
        super().__init__(f"{path} {reason}")
        self.reason = reason


class Video:
    """The frames of a file or folder, uint8[height, width, 3] each; every iteration reads from the start.

    Attributes:
        rate: frames per second, a Fraction.
        expected: approximate number of frames according to the header, or None.
    """

    def __init__(self, path, fps: float = 0.0, folder_fps: float = 25.0):
        """
        Args:
            path: a video file, or a folder of JPEG and PNG pictures, read in the order of their names, in which numbers
                count as numbers: f2.jpg is before f10.jpg.
            fps: frames per second to read; 0: the rate of the file.
            folder_fps: frames per second at which the pictures of a folder were taken.

        Raises:
            Unreadable: The file does not exist or is not a video. Also raised by iteration, if a frame is damaged or
                the file is truncated.
        """
        self.path = pathlib.Path(path)
        self.pictures = None
        if os.path.isdir(path):
            pictures = (each for each in data_files(self.path) if each.suffix.lower() in PICTURES)
            self.pictures = sorted(pictures, key=natural_order)
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


def natural_order(path: pathlib.Path) -> tuple:
    """Returns a key that sorts paths by their names, in which runs of digits are compared as numbers."""
    parts = re.split(r"(\d+)", path.stem)  # the odd ones are digits
    return [int(part) if number % 2 else part for number, part in enumerate(parts)], path.name


def as_rate(fps: float) -> Fraction:
    return Fraction(fps).limit_denominator(1001)


@contextlib.contextmanager
def opened(path):
    """Yields (container, video stream) of a file; errors of PyAV in the `with` block are raised as Unreadable."""
    try:
        with av.open(str(path), metadata_errors="replace") as container:  # titles may be in another encoding
            streams = [each for each in container.streams.video if not each.disposition & PICTURE_STREAMS]
            if not streams:
                only = ", only a cover picture" if container.streams.video else ""
                raise Unreadable(path, f"has no video in it{only}")
            stream = streams[0]
            if stream.codec_context is None or not stream.codec_context.width:
                raise Unreadable(path, "is not a video: it has no frame size")
            refuse_large(path, stream.codec_context.width, stream.codec_context.height)
            yield container, stream
    except av.error.InvalidDataError as error:
        empty = os.path.isfile(path) and not os.path.getsize(path)
        raise Unreadable(path, "is empty" if empty else "is not a video, or is truncated or damaged") from error
    except av.error.EOFError as error:
        raise Unreadable(path, "has no frames") from error
    except av.FFmpegError as error:
        raise Unreadable(path, f"could not be read: {error.strerror or error}") from error


def refuse_large(path, width: int, height: int):
    if width * height > MAX_PIXELS:
        raise Unreadable(path, f"has frames of {width} x {height} pixels: expected at most {MAX_PIXELS}")


def own_rate(stream) -> Fraction:
    """Returns the regular frame rate of the stream, or the average rate if it is irregular."""
    average, base = stream.average_rate, stream.base_rate
    if average and base and abs(base / average - 1) < 0.1:
        return Fraction(base)  # the average rate of a short file may be wrong by its last frame
    return Fraction(average or base or 25)


def length(stream) -> float | None:
    """Returns the length in seconds according to the header."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if stream.container.duration:
        return stream.container.duration / av.time_base
    return None


def decode(path, rate: Fraction) -> Iterator[tuple[float, np.ndarray]]:
    """Yields (seconds since the first frame, uint8[height, width, 3]) for each frame of a file.

    Raises Unreadable at the end of a file that is shorter than its header says, or that has no frames.
    """
    with opened(path) as (container, stream):
        first, last, count, shift = 0.0, -1 / float(rate), 0, 0.0
        for frame in container.decode(stream):
            if frame.is_corrupt:
                raise Unreadable(path, f"is truncated or damaged at frame {count}")
            refuse_large(path, frame.width, frame.height)
            following = last + 1 / float(rate)
            time = following if frame.time is None else frame.time + shift
            if time < last - MAX_JITTER:  # times that start again, as where MPEG-TS files were joined
                shift += following - time
                time = following
            if not count:
                first = last = time
            if time - last > MAX_GAP:
                gap = f"has a gap of {time - last:.0f} s in its times before frame {count}"
                raise Unreadable(path, f"{gap}: expected at most {MAX_GAP} s")
            last = max(time, last)
            yield last - first, upright(frame)
            count += 1
        if not count:
            raise Unreadable(path, "has no frames")
        # The length of a Matroska file is counted from zero, of other files from the first frame.
        seconds, ends = length(stream), max(last, last - first) + 1 / float(rate)
        # Without a number of frames in the header, its length may be that of the sound.
        fewer = count < MIN_SHARE * stream.frames if stream.frames else len(container.streams) == 1
        if fewer and seconds is not None and ends < MIN_SHARE * seconds:
            raise Unreadable(path, f"is truncated: it ends at {ends:.2f} s of the {seconds:.2f} s that it promises")


def upright(frame) -> np.ndarray:
    """Returns a frame as a player shows it, uint8[height, width, 3]: turned by quarters and mirrored as its display
    matrix says.

    The matrix has the rows (a, b, u), (c, d, v), (x, y, w): a pixel is shown at (a x + c y, b x + d y), where x is to
    the right and y down. One that is not invertible is ignored.
    """
    pixels = frame.to_ndarray(format="rgb24")
    matrix = frame.side_data.get(SideData.DISPLAYMATRIX)
    if matrix is None:
        return pixels
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), "<i4").tolist()
    if a * d == b * c:
        return pixels
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def picture(path) -> np.ndarray:
    """Reads a picture of a folder, uint8[height, width, 3]."""
    content = images.read(path)
    reason = content if isinstance(content, str) else images.refusal(content, MAX_PIXELS)
    if reason:
        raise Unreadable(path, reason)
    return exif.turn(images.read_pixels(content, MAX_PIXELS), exif.orientation(content)).numpy()


def resample(frames: Iterable, rate: Fraction, own: Fraction) -> Iterator[np.ndarray]:
    """Yields the pixels at the times 0, 1 / rate, 2 / rate, … of frames (seconds, pixels); the last lasts 1 / own."""
    number, shown, ends = 0, None, 0.0
    slack = min(SLACK, float(1 / (2 * max(rate, own))))
    for time, pixels in frames:
        while shown is not None and number / rate < time - slack:
            yield shown
            number += 1
        shown, ends = pixels, time + 1 / own
    while shown is not None and number / rate < ends - slack:
        yield shown
        number += 1


def stacks(frames: Iterable[np.ndarray], max_frames: int = STACK_FRAMES) -> Iterator[np.ndarray]:
    """Yields stacks of consecutive frames of the same size, uint8[frames, height, width, 3]: at most `max_frames`, and
    fewer large ones, so that a stack takes bounded memory."""
    stack: list[np.ndarray] = []
    for frame in frames:
        full = len(stack) >= max(1, min(max_frames, STACK_BYTES // max(frame.nbytes, 1)))
        if stack and (full or frame.shape != stack[0].shape):
            yield np.stack(stack)
            stack = []
        stack.append(frame)
    if stack:
        yield np.stack(stack)


def write(path, frames: Iterable[np.ndarray], rate: Fraction):
    """Writes an H.264 video atomically. Frames uint8[height, width, 3] are scaled to the size of the first one; an odd
    last row or column, which the format does not support, is left out."""
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
            raise UserError(f"{path} cannot be written: there are no frames")
        container.mux(stream.encode())


def container_of(path) -> str:
    """Returns the format of a video file by its name; raises UserError for an unknown one."""
    formats = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
    ending = pathlib.Path(path).suffix.lower()
    if ending not in formats:
        raise UserError(f"{path} is not a name for a video: expected one that ends in {', '.join(formats)}")
    return formats[ending]

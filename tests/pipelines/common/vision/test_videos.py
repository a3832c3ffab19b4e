"""Reading of real files, made here with PyAV; the grey of a frame tells its number."""

import itertools
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from pipelines.common.errors import UserError
from pipelines.common.vision import videos
from pipelines.common.vision.videos import Unreadable, Video


def grey(number: int, size=(24, 32)) -> np.ndarray:
    return np.full((*size, 3), 10 + 8 * number, np.uint8)


def make(path, frames, fps=10, times=None, container_format=None, **stream_options):
    """Writes frames as H.264; `times` are milliseconds."""
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "10", "bf": "0"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        for name, value in stream_options.items():
            getattr(stream, name)(value)
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            if times:
                picture.pts, picture.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def numbers(video) -> list[int]:
    return [round((float(frame.mean()) - 10) / 8) for frame in video]


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".avi", ".mov"])
def test_every_frame_at_the_rate_of_the_file(tmp_path, ending):
    video = Video(make(tmp_path / f"a{ending}", [grey(n) for n in range(12)], fps=30))
    assert (video.rate, video.expected) == (30, 12)
    assert numbers(video) == numbers(video) == list(range(12))
    assert next(iter(video)).shape == (24, 32, 3)


def test_another_rate_leaves_frames_out_or_repeats_them(tmp_path):
    path = make(tmp_path / "a.mp4", [grey(n) for n in range(10)], fps=10)
    assert numbers(Video(path, fps=5)) == [0, 2, 4, 6, 8]
    assert numbers(Video(path, fps=4)) == [0, 2, 5, 7]  # what is on the screen at 0, 0.25, 0.5 and 0.75 s
    assert numbers(Video(path, fps=20)) == [number // 2 for number in range(20)]
    assert numbers(Video(path, fps=1)) == [0]
    assert Video(path, fps=29.97).rate == Fraction(2997, 100)


def test_irregular_presentation_times(tmp_path):
    """Frames at 0, 100, 500 and 600 ms: the second stays on the screen for 400 ms."""
    path = make(tmp_path / "a.mkv", [grey(n) for n in range(4)], times=[0, 100, 500, 600])
    assert numbers(Video(path, fps=10)) == [0, 1, 1, 1, 1, 2, 3]


def test_times_that_do_not_start_at_zero(tmp_path):
    path = make(tmp_path / "a.mkv", [grey(n) for n in range(4)], times=[700, 800, 900, 1000])
    assert numbers(Video(path, fps=10)) == [0, 1, 2, 3]


def test_frames_are_rotated(tmp_path):
    frame = np.zeros((32, 64, 3), np.uint8)
    frame[:, :32] = 255
    left = next(iter(Video(make(tmp_path / "a.mp4", [frame] * 3))))
    assert left[:, :24].mean() > 200
    turned = make(tmp_path / "b.mp4", [frame] * 3, set_display_rotation=90)
    shown = next(iter(Video(turned)))
    with av.open(str(turned)) as container:
        assert next(container.decode(video=0)).rotation == 90
    assert shown.shape == (64, 32, 3)
    assert shown[40:].mean() > 200 and shown[:24].mean() < 50  # 90 degrees against the clock: left is below


SIGNS = list(itertools.product((-1, 1), repeat=2))
STRAIGHT, SWAPPED = [(a, 0, 0, d) for a, d in SIGNS], [(0, b, c, 0) for b, c in SIGNS]
NONSENSE = [(0, 0, 0, 0), (-1, 0, 0, 0), (1, -1, 1, -1)]


@pytest.mark.parametrize("matrix", [None, *STRAIGHT, *SWAPPED, *NONSENSE, (0.7, 0.1, -0.2, -0.9)])
def test_frames_are_turned_and_mirrored_as_the_display_matrix_says(tmp_path, matrix):
    """A pixel (x, y) is shown at (a x + c y, b x + d y); a matrix that cannot be inverted is ignored."""
    frame = np.zeros((32, 64, 3), np.uint8)
    frame[:16, :32] = 255  # top left
    a, b, c, d = matrix or (1, 0, 0, 1)
    whole = [int(65536 * value) for value in (a, b, 0, c, d, 0, 0, 0)]
    shown = next(iter(Video(make(tmp_path / "a.mp4", [frame] * 2, set_display_matrix=[*whole, 2**30]))))
    if a * d == b * c:
        a, b, c, d = 1, 0, 0, 1
    swapped = abs(b) + abs(c) > abs(a) + abs(d)
    right, down = (c < 0, b < 0) if swapped else (a < 0, d < 0)
    assert shown.shape == ((64, 32, 3) if swapped else (32, 64, 3))
    parts = [[part.mean() > 100 for part in np.split(row, 2, axis=1)] for row in np.split(shown, 2)]
    assert parts == [[(x, y) == (right, down) for x in (False, True)] for y in (False, True)]


@pytest.mark.parametrize("fps", [333, 500, 667, 1000, 2000])
def test_every_frame_at_a_very_high_rate(tmp_path, fps):
    assert numbers(Video(make(tmp_path / "a.mp4", [grey(n) for n in range(12)], fps=fps))) == list(range(12))


def test_a_higher_rate_than_that_of_the_file_does_not_show_frames_early(tmp_path):
    path = make(tmp_path / "a.mp4", [grey(n) for n in range(3)], fps=10)
    assert numbers(Video(path, fps=1000)) == [0] * 100 + [1] * 100 + [2] * 100


@pytest.mark.parametrize("fps", [5, 10, 20])
def test_times_that_start_again(tmp_path, fps):
    """MPEG-TS files are joined by appending one to the other."""
    part = make(tmp_path / "part.ts", [grey(n) for n in range(20)], container_format="mpegts")
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part.read_bytes() * 3)
    once = numbers(Video(part, fps=fps))
    assert len(once) == 2 * fps and numbers(Video(joined, fps=fps)) == 3 * once


def test_a_gap_in_the_times(tmp_path):
    hours = make(tmp_path / "hours.mkv", [grey(n) for n in range(4)], times=[0, 100, 7_200_000, 7_200_100])
    with pytest.raises(Unreadable, match="has a gap of 7200 s in its times before frame 2: expected at most 600 s"):
        list(Video(hours, fps=10))
    minutes = make(tmp_path / "minutes.mkv", [grey(n) for n in range(3)], times=[0, 100, 500_000])
    assert len(numbers(Video(minutes, fps=1))) == 501


@pytest.mark.parametrize(("ending", "codec"), [(".mp3", "mp3"), (".mp4", "aac"), (".mp4", "libx264")])
def test_a_cover_picture_is_not_a_video(tmp_path, ending, codec):
    path = tmp_path / f"song{ending}"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt, cover.disposition = 16, 16, "rgb24", Disposition.attached_pic
        stream = container.add_stream(codec, rate=44100 if codec != "libx264" else 10)
        if codec == "libx264":
            stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
            frame = av.VideoFrame.from_ndarray(grey(3), format="rgb24")
        else:
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 44100
        container.mux(cover.encode(av.VideoFrame.from_ndarray(grey(20, (16, 16)), format="rgb24")))
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    if codec == "libx264":
        assert numbers(Video(path)) == [3]
    else:
        with pytest.raises(Unreadable, match="has no video in it, only a cover picture"):
            Video(path)


@pytest.mark.parametrize("ending", ["avi", "mkv", "mp4"])
def test_tags_in_another_encoding(tmp_path, ending):
    content = make(tmp_path / f"a.{ending}", [grey(number) for number in range(3)]).read_bytes()
    assert b"Lavf" in content  # the tag of the program that wrote the file
    (tmp_path / f"b.{ending}").write_bytes(content.replace(b"Lavf", "Lävf".encode("latin-1")))
    assert numbers(Video(tmp_path / f"b.{ending}")) == [0, 1, 2]


def test_frames_that_change_in_size(tmp_path):
    parts = [
        make(tmp_path / f"{n}.ts", [grey(n, size)] * 4, container_format="mpegts")
        for n, size in ((0, (24, 32)), (1, (48, 64)))
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    with av.open(str(joined)) as container:
        shapes = [(frame.height, frame.width) for frame in container.decode(video=0)]
    assert set(shapes) == {(24, 32), (48, 64)}
    found = [stack.shape for stack in videos.stacks(Video(joined))]
    assert [shape[1:] for shape in found] == [(24, 32, 3), (48, 64, 3)]


def test_stacks_are_bounded():
    shapes = [stack.shape[0] for stack in videos.stacks([grey(0)] * 150)]
    assert shapes == [64, 64, 22]
    large = np.zeros((1024, 2048, 3), np.uint8)
    assert [len(stack) for stack in videos.stacks([large] * 5)] == [2, 2, 1]
    assert list(videos.stacks([])) == []


def test_a_folder_of_pictures(tmp_path):
    for number in range(6):
        Image.fromarray(grey(number)).save(tmp_path / f"{number:03d}.{'png' if number % 2 else 'jpg'}")
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "._003.png").write_bytes(b"\0\5\26\7")  # left by macOS: not data
    video = Video(tmp_path)
    assert (video.rate, video.expected, numbers(video)) == (25, 6, [0, 1, 2, 3, 4, 5])
    assert numbers(Video(tmp_path, fps=5, folder_fps=10)) == [0, 2, 4]
    (tmp_path / "003.png").write_bytes((tmp_path / "003.png").read_bytes()[:40])
    with pytest.raises(Unreadable, match=r"003.png is truncated or damaged"):
        list(Video(tmp_path))


def test_pictures_are_sorted_as_people_count(tmp_path):
    for number, name in enumerate(["f", "f1", "f02", "f2", "f2b", "f10", "f10 2", "f10 10", "g1"]):
        Image.fromarray(grey(number)).save(tmp_path / f"{name}.png")
    assert numbers(Video(tmp_path)) == list(range(9))


def test_files_that_are_not_a_video(tmp_path):
    def reason(path):
        with pytest.raises(Unreadable) as caught:
            list(Video(path))
        assert str(path) in str(caught.value) and isinstance(caught.value, UserError)
        return caught.value.reason

    assert reason(tmp_path / "none.mp4") == "could not be read: No such file or directory"
    (tmp_path / "text.mp4").write_bytes(b"this is no video at all" * 50)
    assert reason(tmp_path / "text.mp4") == "is not a video, or is truncated or damaged"
    (tmp_path / "empty.mp4").touch()
    assert reason(tmp_path / "empty.mp4") == "is empty"
    (tmp_path / "folder").mkdir()
    assert reason(tmp_path / "folder") == "is a folder without pictures: expected files .jpg or .png"
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    assert reason(tmp_path / "sound.mp4") == "has no video in it"


def test_a_file_without_frames(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        container.start_encoding()
    with pytest.raises(Unreadable, match="has no frames"):
        list(Video(tmp_path / "a.mkv"))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".avi"])
def test_a_truncated_file_is_refused(tmp_path, share, ending):
    noise = np.random.default_rng(0).integers(0, 256, (30, 24, 32, 3)).astype(np.uint8)
    path = make(tmp_path / f"a{ending}", list(noise))
    content = path.read_bytes()
    if ending == ".mp4":  # with the index in front, as on the web: else the file could not even be opened
        path = tmp_path / "fast.mp4"
        with av.open(str(tmp_path / "a.mp4")) as given, av.open(
            str(path), "w", options={"movflags": "faststart"}
        ) as taken:  # fmt: skip
            stream = taken.add_stream_from_template(given.streams.video[0])
            for packet in given.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    taken.mux(packet)
        content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(Unreadable, match="truncated"):
        list(Video(path))


def test_frames_that_are_too_large(tmp_path, monkeypatch):
    path = make(tmp_path / "a.mp4", [grey(0)] * 2)
    monkeypatch.setattr(videos, "MAX_PIXELS", 500)
    with pytest.raises(Unreadable, match="has frames of 32 x 24 pixels: expected at most 500"):
        Video(path)


def test_writing(tmp_path):
    frames = [grey(n, (25, 33)) for n in range(5)]
    videos.write(tmp_path / "a.mp4", [*frames, grey(5, (48, 64))], Fraction(30000, 1001))
    video = Video(tmp_path / "a.mp4")
    assert video.rate == Fraction(30000, 1001)
    found = list(video)
    assert {frame.shape for frame in found} == {(24, 32, 3)}
    assert numbers(found) == [0, 1, 2, 3, 4, 5]
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    with pytest.raises(UserError, match=r"a.gif is not a name for a video: expected one that ends in .mp4"):
        videos.write(tmp_path / "a.gif", frames, Fraction(10))
    with pytest.raises(UserError, match="there are no frames"):
        videos.write(tmp_path / "b.mp4", [], Fraction(10))
    assert not (tmp_path / "b.mp4").exists()

import numpy as np
import pytest
from PIL import Image

from pipelines.common.pictures import timelines
from pipelines.common.pictures.timelines import (
    MAX_FRAMES,
    Strip,
    Timeline,
    colours_of,
    draw_timelines,
    runs_of,
    write_label,
)


def test_runs():
    assert runs_of(list("aabba")) == [("a", 0, 2), ("b", 2, 4), ("a", 4, 5)]
    assert runs_of([]) == []


@pytest.mark.parametrize("frames", [1, 5, MAX_FRAMES, MAX_FRAMES + 1, 100, 1000])
def test_a_strip_is_spread_over_a_video_of_any_length(frames):
    strip = Strip()
    for number in range(frames):
        strip.add(np.full((40, 80, 3), number % 256, np.uint8))
    places = [place for place, _ in strip.kept]
    assert places[0] == 0 and len(places) <= MAX_FRAMES
    assert len(places) == frames or len(places) > MAX_FRAMES // 2 - 1
    assert len(set(np.diff(places))) <= 1
    for place, pixels in strip.kept:
        assert (pixels == place % 256).all() and pixels.shape == (timelines.THUMBNAIL, 2 * timelines.THUMBNAIL, 3)


def test_colours_differ():
    names = [str(number) for number in range(16)]
    assert len(set(colours_of(names).values())) == 16


def test_bands_have_the_colours_of_their_labels(tmp_path):
    """In the picture that is written: left half one colour, right half another, in the band and nowhere between."""
    labels = ["a"] * 50 + ["b"] * 50
    draw_timelines([Timeline("t", 10, {"true": labels, "predicted": ["b"] * 100})], ["a", "b"], tmp_path / "a.png")
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).astype(int)
    a, b = (np.round(np.array(colour) * 255) for colour in colours_of(["a", "b"]).values())
    shares = []
    for row in pixels:
        shares.append([(np.abs(row - colour).max(axis=1) <= 2).mean() for colour in (a, b)])
    shares = np.array(shares)
    assert ((shares[:, 0] > 0.35) & (shares[:, 1] > 0.35)).sum() > 20  # the true band
    assert (shares[:, 1] > 0.75).sum() > 20  # the predicted band


def test_many_labels_several_videos_and_nothing_at_all(tmp_path):
    names = [f"label number {number}" for number in range(20)]
    strip = [(number, np.zeros((96, 128, 3), np.uint8)) for number in range(0, 60, 5)]
    given = [Timeline("$x$ " * 60, 29.97, {"predicted": [names[n // 3] for n in range(60)]}, strip) for _ in range(3)]
    draw_timelines([*given, Timeline("empty", 10, {"predicted": []})], names, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("size", [(24, 32), (240, 320), (4, 4)])
def test_a_label_is_written_into_the_corner(size):
    frame = np.full((*size, 3), 100, np.uint8)
    found = write_label(frame, "left", ["left", "right"])
    assert found.shape == frame.shape and found.dtype == np.uint8
    assert (frame == 100).all()
    assert (found[-1, 0] != 100).any()
    if size[0] > 100:
        assert (found[: size[0] // 2] == 100).all()

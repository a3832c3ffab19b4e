"""Features and pixels of real clips, made here."""

import numpy as np
import pytest

from pipelines.common.errors import UserError
from pipelines.common.vision import encoders, videos
from pipelines.video import inputs as inputs_module
from pipelines.video.clips import Clip
from pipelines.video.config import DataConfig
from pipelines.video.inputs import FeatureInputs, PixelInputs
from pipelines.video.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(image_size=16, fit="squeeze")


@pytest.fixture(scope="module")
def encoder():
    return encoders.build_encoder("small", weights="none", image_size=16)


@pytest.fixture(scope="module")
def clips(tmp_path_factory, make):
    folder = tmp_path_factory.mktemp("clips")
    found = {}
    for name, frames in (("short.mp4", 5), ("long.mp4", 50)):
        found[name] = Clip(name, make.clip(folder / name, make.moving([1, -1] * (frames // 2) + [1])), "left")
    (folder / "text.mp4").write_text("no video")
    return {**found, "text.mp4": Clip("text.mp4", folder / "text.mp4", "left")}


def data(tmp_path, **changes):
    return DataConfig(cache=tmp_path / "cache", **changes)


def features_of(clips, data, encoder) -> FeatureInputs:
    return FeatureInputs(clips, data, "small", encoder, PREPROCESSING)


def whole(inputs, name) -> np.ndarray:
    return np.concatenate(list(inputs.chunks(name)))


def test_features_are_those_of_the_encoder_and_are_cached(tmp_path, encoder, clips, monkeypatch):
    found = features_of(clips.values(), data(tmp_path), encoder)
    assert found.lengths == {"short.mp4": 5, "long.mp4": 51}
    assert found.rates["short.mp4"] == 10
    assert found.failures == {"text.mp4": "is not a video, or is truncated or damaged"}
    frames = np.stack(list(videos.Video(clips["long.mp4"].source)))
    np.testing.assert_allclose(whole(found, "long.mp4"), encoder(PREPROCESSING(frames)), atol=1e-5)
    monkeypatch.setattr(inputs_module, "compute", lambda wanted, *rest: iter(["computed again"] * len(wanted)))
    again = features_of(clips.values(), data(tmp_path), encoder)
    np.testing.assert_array_equal(whole(again, "long.mp4"), whole(found, "long.mp4"))
    other = features_of(clips.values(), data(tmp_path, fps=5.0), encoder)
    assert other.failures["short.mp4"] == "computed again"  # another rate is another key


def test_a_long_clip_is_cached_in_pieces(tmp_path, encoder, clips, monkeypatch):
    """So that an hour of video takes the memory of one piece; each continues after the one before."""
    expected = whole(features_of([clips["long.mp4"]], data(tmp_path), encoder), "long.mp4")
    monkeypatch.setattr(inputs_module, "PIECE_FRAMES", 10)
    found = features_of([clips["long.mp4"]], data(tmp_path), encoder)
    lengths = [len(chunk) for chunk in found.chunks("long.mp4")]
    assert lengths == [10, 10, 10, 21]
    np.testing.assert_allclose(whole(found, "long.mp4"), expected, atol=1e-5)
    piece = inputs_module.Piece(clips["long.mp4"].source, 20, 30)  # as after a kill: earlier ones are there already
    encode = inputs_module.make_encode(encoder, PREPROCESSING)
    (some,) = inputs_module.compute([piece], data(tmp_path), encode)
    np.testing.assert_allclose(some, expected[20:30], atol=1e-5)


def test_pixels_are_stored_while_they_fit_into_memory(tmp_path, clips, monkeypatch):
    found = PixelInputs(clips.values(), data(tmp_path), PREPROCESSING)
    assert found.lengths == {"short.mp4": 5, "long.mp4": 51} and set(found.stored) == {"short.mp4", "long.mp4"}
    frames = np.stack(list(videos.Video(clips["short.mp4"].source)))
    np.testing.assert_array_equal(whole(found, "short.mp4"), PREPROCESSING(frames))
    monkeypatch.setattr(inputs_module, "MAX_BYTES", 10 * 16 * 16 * 3 * 4)
    less = PixelInputs(clips.values(), data(tmp_path), PREPROCESSING)
    assert set(less.stored) == {"short.mp4"}
    np.testing.assert_array_equal(whole(less, "long.mp4"), whole(found, "long.mp4"))
    monkeypatch.undo()
    monkeypatch.setattr(inputs_module, "PIECE_FRAMES", 50)  # long ones never, whatever room there is
    assert set(PixelInputs(clips.values(), data(tmp_path), PREPROCESSING).stored) == {"short.mp4"}


def test_unreadable_clips_are_listed(tmp_path, clips, capsys):
    PixelInputs(clips.values(), data(tmp_path), PREPROCESSING).report("the data")
    message = capsys.readouterr().err
    assert message == "left out 1 of 3 clips of the data: text.mp4 is not a video, or is truncated or damaged\n"
    with pytest.raises(UserError, match=r"none of the 1 clips of the data can be read: text.mp4 is not a video"):
        PixelInputs([clips["text.mp4"]], data(tmp_path), PREPROCESSING).report("the data")

import json

import numpy as np
import pytest

from pipelines.common.vision.videos import Video
from pipelines.video import dataset
from pipelines.video.clips import Clip
from pipelines.video.clips import Video as LabelledVideo
from pipelines.video.config import DataConfig
from pipelines.video.distortions import (
    FEATURE_DISTORTIONS,
    VIDEO_DISTORTIONS,
    ChangedArrays,
    FeatureChange,
    changed_clips,
)
from pipelines.video.inputs import ArrayInputs, PixelInputs
from pipelines.video.preprocessing import Preprocessing
from pipelines.video.tracks import make_tracks

CHANGES = {each.name: each.change for each in VIDEO_DISTORTIONS}


@pytest.fixture(scope="module")
def clip(make, tmp_path_factory):
    return make.clip(tmp_path_factory.mktemp("clip") / "a.mp4", make.moving([2, 2, -2, 2, 2, 2, -2]))


def test_frames_are_changed_one_by_one(clip):
    frames = np.stack(list(Video(clip))).astype(float)
    found = {name: np.stack(list(CHANGES[name](Video(clip)))) for name in ("dark", "bright", "grey", "small")}
    assert {name: (images.dtype, images.shape) for name, images in found.items()} == {
        **dict.fromkeys(("dark", "bright", "grey"), (np.uint8, (7, 24, 32, 3))),
        "small": (np.uint8, (7, 6, 8, 3)),
    }
    np.testing.assert_allclose(found["dark"], 0.4 * frames, atol=0.51)
    np.testing.assert_allclose(found["bright"], np.minimum(1.6 * frames, 255), atol=0.51)
    assert (found["bright"] == 255).any() and (found["grey"] == found["grey"][..., :1]).all()
    np.testing.assert_allclose(found["small"].mean((1, 2)), frames.mean((1, 2)), atol=3)


@pytest.mark.parametrize(("name", "rate", "kept"), [("half_rate", 5, [0, 2, 4, 6]), ("double_rate", 20, range(14))])
def test_another_rate_leaves_out_or_repeats_frames(clip, name, rate, kept):
    video = CHANGES[name](Video(clip))
    assert video.rate == rate
    frames = list(Video(clip))
    expected = [frames[number] if rate == 5 else frames[number // 2] for number in kept]
    np.testing.assert_array_equal(np.stack(list(video)), np.stack(expected))


def test_labels_follow_the_rate(make, tmp_path):
    """A segment ends at the same second, whatever the rate."""
    folder = make.data(tmp_path / "data", clips=2, split=False)
    videos = dataset.read(folder, DataConfig())
    clips = [clip for video in videos for clip in video.clips]
    labels = {}
    for name, change in {"as it is": lambda video: video, **CHANGES}.items():
        inputs = PixelInputs(clips, DataConfig(), Preprocessing(image_size=8, fit="squeeze"), change)
        tracks = make_tracks(videos, inputs, ("left", "right"), DataConfig(), "test")
        assert [len(np.concatenate(list(tracks.chunks(row)))) for row in range(2)] == tracks.lengths.tolist()
        labels[name] = tracks.tracks[0].labels
    assert len(labels["dark"]) == 9
    np.testing.assert_array_equal(labels["half_rate"], labels["as it is"][::2])
    np.testing.assert_array_equal(labels["double_rate"], np.repeat(labels["as it is"], 2))


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """(Videos of features with a label for each frame, their inputs)."""
    folder, draw, clips = tmp_path_factory.mktemp("features"), np.random.default_rng(0), []
    for name, frames in (("a", 7), ("b", 2050)):
        np.save(folder / f"{name}.npy", draw.normal(size=(3, frames)).astype(np.float32) * [[1], [1], [100]])
        labels = tuple("left" if number % 3 else "right" for number in range(frames))
        clips.append(Clip(name, folder / f"{name}.npy", None, frames=labels))
    videos = [LabelledVideo(clip.name, (clip,), None, None, clip.name) for clip in clips]
    return videos, ArrayInputs(clips, 5.0, 3)


def read(inputs, name):
    return np.concatenate(list(inputs.chunks(name)))


@pytest.mark.parametrize("step", [2, 3])
def test_every_other_frame_of_features_with_its_label(arrays, step):
    """Also across the pieces in which a long file is read."""
    videos, whole = arrays
    inputs = ChangedArrays(whole, FeatureChange(step=step), np.ones(3))
    names = ("left", "right")
    changed = changed_clips(videos, FeatureChange(step=step))
    tracks = make_tracks(changed, inputs, names, DataConfig(background=""), "test")
    before = make_tracks(videos, whole, names, DataConfig(background=""), "test")
    for row, name in enumerate("ab"):
        np.testing.assert_array_equal(read(inputs, name), read(whole, name)[::step])
        np.testing.assert_array_equal(tracks.tracks[row].labels, before.tracks[row].labels[::step])
    assert tracks.tracks[0].rate == 5 / step


def test_noise_in_deviations_of_each_feature_and_the_same_each_time(arrays):
    _, whole = arrays
    deviation = np.array([1.0, 1.0, 100.0])
    inputs = ChangedArrays(whole, FeatureChange(noise=0.5), deviation)
    found = read(inputs, "b")
    np.testing.assert_array_equal(found, read(inputs, "b"))
    assert found.dtype == np.float32
    np.testing.assert_allclose((found - read(whole, "b")).std(axis=0), 0.5 * deviation, rtol=0.1)
    assert np.abs(read(inputs, "a") - read(whole, "a")).max() > 1


@pytest.mark.extra
def test_evaluate_robust(shared, command, capsys):
    assert command("evaluate", "--run", shared.run, "--robust") == 0
    out = capsys.readouterr().out
    scores = json.loads((shared.run / "metrics.json").read_text())
    assert list(scores["robust"]) == ["unchanged", *CHANGES]
    assert scores["robust"]["unchanged"]["accuracy"] == scores["accuracy"]
    assert "every second frame only" in out and "F1@50" in out
    assert (shared.run / "robustness.png").read_bytes().startswith(b"\x89PNG")


def test_the_names_of_distortions_differ():
    for distortions in (VIDEO_DISTORTIONS, FEATURE_DISTORTIONS):
        for names in ([each.name for each in distortions], [each.meaning for each in distortions]):
            assert len(set(names)) == len(distortions)

import dataclasses

import numpy as np
import pytest

from pipelines.common.config import from_json
from pipelines.common.errors import UserError
from pipelines.common.runs import Run
from pipelines.video import dataset
from pipelines.video.clips import Clip, Segment, Video
from pipelines.video.config import Config, DataConfig
from pipelines.video.inputs import Inputs
from pipelines.video.presets import PRESETS
from pipelines.video.tracks import Track, Tracks, make_tracks


class Numbers(Inputs):
    """Clips whose frame t is (clip number, t), given in pieces of three frames."""

    def __init__(self, lengths):
        super().__init__()
        self.lengths = {str(number): length for number, length in enumerate(lengths)}
        self.rates = dict.fromkeys(self.lengths, 10.0)

    def chunks(self, name):
        whole = np.stack([np.full(self.lengths[name], int(name)), np.arange(self.lengths[name])], axis=1)
        yield from (whole[at : at + 3].astype(np.float32) for at in range(0, len(whole), 3))


def tracks_of(lengths) -> Tracks:
    inputs = Numbers(lengths)
    return Tracks(
        [Track(name, np.arange(n, dtype=np.int32) % 2, (name,), (0, n), 10.0) for name, n in inputs.lengths.items()],
        inputs,
    )


def write(folder, rows, header="file,label,group"):
    for row in rows:
        path = folder / row.split(",")[0]
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    return DataConfig(location=str(folder), test_share=0.2, validation_share=0.25)


def grouped(number):
    return [f"{n}.mp4,{'left' if n % 2 else 'right'},scene {n // 4}" for n in range(number)]


def test_groups_stay_together_and_the_split_is_always_the_same(tmp_path):
    config = write(tmp_path, grouped(80))
    parts = dataset.load(config)
    assert {part: len(videos) for part, videos in parts.items()} == {"train": 48, "test": 16, "validation": 16}
    groups = [{video.group for video in videos} for videos in parts.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 20
    for part, videos in parts.items():
        assert dataset.load_part(config, part) == videos
    assert dataset.load(dataclasses.replace(config, split_seed=5)) != parts
    assert len(dataset.load_all(config, "test")) == 80


def test_a_random_split_of_grouped_data_is_refused(tmp_path):
    config = write(tmp_path, grouped(20))
    with pytest.raises(UserError, match=r"--split-by clip is refused, as --data .* names groups: clips of the same"):
        dataset.load(dataclasses.replace(config, split_by="clip"))
    plain = write(tmp_path, [row.rpartition(",")[0] for row in grouped(20)], "file,label")
    assert len(dataset.load(plain)["train"]) == 12
    assert len(dataset.load(dataclasses.replace(plain, split_by="clip"))["train"]) == 12
    with pytest.raises(UserError, match="--split-by group needs the column group"):
        dataset.load(dataclasses.replace(plain, split_by="group"))


def test_videos_that_share_a_clip_stay_together():
    clips = [Clip(str(n), None, "left") for n in range(5)]
    uses = [[0, 1], [2], [1, 3], [4], [3]]
    videos = [Video(str(n), tuple(clips[i] for i in used), None, None, "") for n, used in enumerate(uses)]
    keys = dataset.split_groups(videos, DataConfig())
    assert keys[0] == keys[2] == keys[4] and len(set(keys)) == 3


def test_a_validation_part_is_split_off_the_training_groups(tmp_path):
    rows = [f"{n}.mp4,left,scene {n // 2},{'test' if n >= 16 else 'train'}" for n in range(20)]
    parts = dataset.load(write(tmp_path, rows, "file,label,group,split"))
    assert [video.name for video in parts["test"]] == ["16.mp4", "17.mp4", "18.mp4", "19.mp4"]
    assert (len(parts["train"]), len(parts["validation"])) == (12, 4)
    only = write(tmp_path, [row for row in rows if row.endswith("test")], "file,label,group,split")
    with pytest.raises(UserError, match="has no part train: it has test"):
        dataset.load(only)
    with pytest.raises(UserError, match="has no part validation: it has test"):
        dataset.load_all(only, "validation")


def test_one_group_cannot_be_split(tmp_path):
    with pytest.raises(UserError, match="cannot be split: expected training videos of two groups"):
        dataset.load(write(tmp_path, grouped(3)))


def test_tfds_is_not_split_at_random_by_itself(monkeypatch):
    videos = [Video(str(n), (Clip(str(n), None, "left"),), None, "train", "") for n in range(8)]
    monkeypatch.setattr(dataset, "read", lambda where, config: videos)
    config = DataConfig(location="tfds:ucf101", test_share=0.0)
    with pytest.raises(UserError, match=r"does not say which videos are of one group: .* give --split-by clip"):
        dataset.load(config)
    assert len(dataset.load(dataclasses.replace(config, split_by="clip"))["validation"]) == 1


def test_names_of_labels():
    clip = Clip("a", None, None, (Segment(0, 1, "right", ""), Segment(1, 2, "left", "")))
    videos = [Video("a", (clip,), None, None, "")]
    assert dataset.name_labels(videos, DataConfig()) == ("left", "right")
    assert dataset.name_labels(videos, DataConfig(background="still")) == ("left", "right", "still")
    assert dataset.name_labels(videos, DataConfig(label_names=("right", "left"))) == ("right", "left")


def test_tracks_of_joined_clips(capsys):
    inputs = Numbers([4, 3, 5])
    inputs.failures["3"] = "is no video"
    videos = [
        Video("joined", (Clip("0", None, "a"), Clip("1", None, "b")), None, None, "line 2"),
        Video("lost", (Clip("2", None, "a"), Clip("3", None, "b")), None, None, "line 3"),
    ]
    found = make_tracks(videos, inputs, ("a", "b"), DataConfig(), "train")
    (track,) = found.tracks
    assert (track.labels.tolist(), track.bounds, track.clips) == ([0] * 4 + [1] * 3, (0, 4, 7), ("0", "1"))
    np.testing.assert_array_equal(np.concatenate(list(found.chunks(0)))[:, 0], [0] * 4 + [1] * 3)
    with pytest.raises(UserError, match=r"0: the label is 'a', expected one of b, c"):
        make_tracks(videos, inputs, ("b", "c"), DataConfig(), "train")
    inputs.rates["1"] = 25.0
    with pytest.raises(UserError, match=r"line 2: the clips of joined have 10 and 25 frames a second; .* --fps"):
        make_tracks(videos, inputs, ("a", "b"), DataConfig(), "train")
    with pytest.raises(UserError, match="has no readable video in the part train"):
        make_tracks(videos[1:], inputs, ("a", "b"), DataConfig(), "train")


def test_every_frame_is_in_one_batch():
    tracks = tracks_of([5, 9, 1, 30, 12, 7, 8])
    seen = []
    for batch in dataset.batches(tracks, batch_videos=3, batch_frames=40, seed=1, epoch=2):
        inputs, labels, weights, rows = (batch[name].numpy() for name in ("inputs", "labels", "weights", "rows"))
        assert len(rows) <= 3 and inputs.shape[:2] == labels.shape == weights.shape
        for row, values, targets, kept in zip(rows, inputs, labels, weights, strict=True):
            length = 0 if row < 0 else tracks.lengths[row]
            assert kept.tolist() == [1] * length + [0] * (len(kept) - length)
            np.testing.assert_array_equal(values[:length, 1], np.arange(length))
            assert (values[:length, 0] == row).all() and not values[length:].any()
            np.testing.assert_array_equal(targets[:length], np.arange(length) % 2)
        seen += rows[rows >= 0].tolist()
    assert sorted(seen) == list(range(7))


def test_a_worker_reads_the_videos_of_its_rows():
    """And the first one, for a worker without rows."""
    tracks = tracks_of([5, 9, 1, 30, 12, 7, 8])
    options = {"batch_videos": 3, "batch_frames": 40, "seed": 1, "epoch": 2}
    whole = list(dataset.batches(tracks, **options))
    for worker in range(2):
        for batch, part in zip(whole, dataset.batches(tracks, **options, part=(worker, 2)), strict=True):
            rows = len(batch["rows"])
            read = sorted({0, *range(rows * worker // 2, rows * (worker + 1) // 2)})
            expected = np.zeros_like(batch["inputs"])
            expected[read] = batch["inputs"].numpy()[read]
            np.testing.assert_array_equal(part["inputs"], expected)
            for name in ("labels", "weights", "rows"):
                np.testing.assert_array_equal(part[name], batch[name])


def test_batches_can_be_skipped_to_the_same_place():
    tracks = tracks_of(list(range(1, 30)))

    def order(skipped, epoch=3):
        given = dataset.batches(tracks, batch_videos=4, batch_frames=60, seed=1, epoch=epoch).skip(skipped)
        return [batch["rows"].numpy().tolist() for batch in given]

    assert order(0)[3:] == order(3)
    assert order(0) != order(0, epoch=4)


@pytest.mark.parametrize("seed", range(5))
def test_windows_have_every_frame_once_and_are_counted(seed):
    draw = np.random.default_rng(seed)
    tracks = tracks_of(draw.integers(1, 50, size=9).tolist())
    k1, rows = int(draw.integers(1, 9)), int(draw.integers(1, 5))
    seen, count = set(), 0
    windows = dataset.windows(tracks, k1=k1, k2=k1 + 2, batch_videos=rows, seed=seed, epoch=1)
    for batch in windows:
        count += 1
        newest, weights = batch["inputs"].numpy()[:, -k1:], batch["weights"].numpy()
        assert batch["inputs"].shape[:2] == (rows, k1 + 2)
        seen |= {(int(a), int(t)) for a, t in newest[weights > 0]}
    assert seen == {(n, t) for n, length in enumerate(tracks.lengths) for t in range(length)}
    assert count == int(windows.cardinality())


def test_the_sample(samples):
    parts = dataset.load(PRESETS["sample"][1].data)
    assert {part: len(videos) for part, videos in parts.items()} == {"train": 175, "validation": 30, "test": 40}
    assert dataset.name_labels(parts["train"], DataConfig()) == ("grow", "left", "right", "shrink", "still", "turn")


def test_the_real_clips(real_data):
    real_data("fight")
    _, preset = PRESETS["fight"]
    parts = dataset.load(preset.data)
    assert len(parts["test"]) == 15 and len(parts["train"]) + len(parts["validation"]) == 31
    groups = [{video.group for video in videos} for videos in parts.values()]
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert set().union(*(video.labels for video in parts["validation"])) == {"fight", "nofight"}


def test_a_run_finds_its_parts_again(shared):
    config = from_json(Config, Run.open(shared.run, "video").config)
    assert [video.name for video in dataset.load_part(config.data, "test")] == ["clips/5.mp4", "clips/11.mp4"]

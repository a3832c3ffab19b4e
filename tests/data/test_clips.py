"""Checks the labels of the video sample against the decoded frames."""

import csv
from collections import defaultdict
from itertools import pairwise

import av
import numpy as np
import pytest

CLIPS = {"train": 175, "val": 30, "test": 40}
LABELS = {"still", "left", "right", "grow", "shrink", "turn"}
FPS = 10


@pytest.fixture(scope="module")
def rows(samples):
    with open(samples / "video" / "segments.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def clips(rows):
    """Returns the rows of each file."""
    found = defaultdict(list)
    for row in rows:
        found[row["file"]].append(row)
    return found


def decode(path):
    """Returns int[time, height, width, 3] and the time of each frame in seconds."""
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
    return np.stack([frame.to_ndarray(format="rgb24") for frame in frames]).astype(int), [
        frame.time for frame in frames
    ]


def labels_of(segments):
    """Returns the label of each frame."""
    return [row["label"] for row in segments for _ in range(round((float(row["end"]) - float(row["start"])) * FPS))]


def test_counts_and_segments(clips, samples):
    counts = defaultdict(int)
    for file, segments in clips.items():
        assert (samples / "video" / file).is_file()
        assert len({(row["split"], row["group"]) for row in segments}) == 1
        counts[segments[0]["split"]] += 1
        assert 2 <= len(segments) <= 4 and segments[0]["start"] == "0.0"
        assert all(one["end"] == two["start"] and one["label"] != two["label"] for one, two in pairwise(segments))
        for row in segments:
            frames = (float(row["end"]) - float(row["start"])) * FPS
            assert round(frames) == pytest.approx(frames) and 6 <= round(frames) <= 14
        assert 20 <= len(labels_of(segments)) <= 40
    assert counts == CLIPS
    assert {row["label"] for segments in clips.values() for row in segments} == LABELS
    assert len(list((samples / "video" / "clips").iterdir())) == len(clips)
    assert sum(path.stat().st_size for path in (samples / "video").rglob("*.*")) < 1_200_000


def measured(frames):
    """Returns the changes from frame to frame, [time - 1]: centre (x, y), width, number of pixels that differ."""
    contrast = np.abs(frames - frames[:, :1, :1]).sum(-1)
    thing = np.clip(contrast / np.median(contrast.max((1, 2))), 0, 1)  # a pixel at the edge counts in part
    thing *= thing > 0.1
    area = thing.sum((1, 2))
    rows, columns = np.indices(thing.shape[1:])
    across, down = (thing * columns).sum((1, 2)) / area, (thing * rows).sum((1, 2)) / area
    differing = (np.abs(np.diff(frames, axis=0)).sum(-1) > 90).sum((1, 2))
    return np.diff(across), np.diff(down), np.diff(np.sqrt(area)), differing


def test_labels_describe_the_change_from_the_frame_before(clips, samples):
    for number, (file, segments) in enumerate(clips.items()):
        if segments[0]["split"] == "train" and number % 4:
            continue
        frames, times = decode(samples / "video" / file)
        labels = labels_of(segments)
        assert len(labels) == len(frames), file
        assert times == pytest.approx([t / FPS for t in range(len(labels))]), file
        for t, (across, down, width, differing) in enumerate(zip(*measured(frames), strict=True), start=1):
            moved = "left" if across < -1.2 else "right" if across > 1.2 else ""
            sized = "shrink" if width < -0.6 else "grow" if width > 0.6 else ""
            assert moved + sized == (labels[t] if labels[t] not in ("still", "turn") else ""), (file, t, labels[t])
            assert abs(down) < 0.6, (file, t)
            if labels[t] == "still":
                assert differing <= 2, (file, t)
            elif labels[t] == "turn":
                assert differing >= 4, (file, t)


def test_the_test_part_combines_shapes_and_labels_that_training_does_not(rows):
    seen = {
        split: {(row["group"].split("/")[0], row["label"]) for row in rows if row["split"] == split} for split in CLIPS
    }
    assert not seen["train"] & seen["test"] and not seen["train"] & seen["val"] and not seen["val"] & seen["test"]
    for split in ("val", "test"):
        things = {thing for thing, _ in seen[split]}
        assert len(things) == 5 and things <= {thing for thing, _ in seen["train"]}
        assert len({thing.split()[0] for thing in things}) == len({thing.split()[1] for thing in things}) == 5
        assert {label for _, label in seen[split]} == LABELS
    groups = {split: {row["group"] for row in rows if row["split"] == split} for split in CLIPS}
    assert not groups["train"] & groups["test"] and not groups["train"] & groups["val"]


def test_single_frames_do_not_determine_the_label(clips, samples):
    """A nearest neighbour on position, size and colour of single frames is far less accurate than the change."""

    def features(split, every=1):
        xs, ys = [], []
        for file, segments in [(f, s) for f, s in clips.items() if s[0]["split"] == split][::every]:
            frames, _ = decode(samples / "video" / file)
            thing = np.abs(frames - frames[:, :1, :1]).sum(-1) > 100
            for t, label in enumerate(labels_of(segments)):
                down, across = np.nonzero(thing[t])
                xs.append([across.mean(), down.mean(), np.sqrt(len(down))])
                ys.append(label)
        return np.array(xs), np.array(ys)

    (train, train_labels), (test, test_labels) = features("train", 3), features("test")
    nearest = ((test[:, None] - train[None]) ** 2).sum(-1).argmin(1)
    assert (train_labels[nearest] == test_labels).mean() < 0.5

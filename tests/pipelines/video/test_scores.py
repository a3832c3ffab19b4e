"""The scores against hand-worked cases, and against the definitions written down slowly a second time."""

import numpy as np
import pytest

from pipelines.video import scores

A, B, C = 0, 1, 2


def track(*runs) -> np.ndarray:
    """(label, frames) pairs as labels of frames."""
    return np.concatenate([np.full(frames, label) for label, frames in runs]).astype(np.int32)


# The second implementation: plain loops over frames, nothing shared with the first -----------------------------------


def slow_segments(labels, background):
    found, current = [], None
    for frame, label in enumerate(labels):
        if current is None or label != current["label"]:
            current = {"label": label, "frames": set()}
            found.append(current)
        current["frames"].add(frame)
    return [each for each in found if each["label"] != background]


def slow_edit(true, predicted, background):
    one, other = ([each["label"] for each in slow_segments(labels, background)] for labels in (true, predicted))

    def changes(i, j):
        if not i or not j:
            return i + j
        if (i, j) not in known:
            known[i, j] = min(
                changes(i - 1, j) + 1, changes(i, j - 1) + 1, changes(i - 1, j - 1) + (one[i - 1] != other[j - 1])
            )
        return known[i, j]

    known = {}
    longest = max(len(one), len(other))
    return 100.0 if not longest else 100 - 100 * changes(len(one), len(other)) / longest


def slow_f1(pairs, percent, background):
    right = wrong = missed = 0
    for true, predicted in pairs:
        left = slow_segments(true, background)
        used = set()
        for segment in slow_segments(predicted, background):
            overlaps = [
                len(segment["frames"] & other["frames"]) / len(segment["frames"] | other["frames"])
                if other["label"] == segment["label"] else 0.0
                for other in left
            ]  # fmt: skip
            best = overlaps.index(max(overlaps)) if overlaps else None
            if best is not None and best not in used and max(overlaps) > 0 and max(overlaps) * 100 >= percent - 1e-9:
                used.add(best)
                right += 1
            else:
                wrong += 1
        missed += len(left) - len(used)
    precision, recall = right / max(right + wrong, 1), right / max(right + missed, 1)
    if right + wrong + missed == 0:
        return 100.0
    return 100 * 2 * precision * recall / (precision + recall) if right else 0.0


def slow_delays(true, predicted):
    found, missed = [], 0
    for frame in range(1, len(true)):
        if true[frame] == true[frame - 1]:
            continue
        delay, at = None, frame
        while at < len(true) and true[at] == true[frame]:
            if predicted[at] == true[frame]:
                delay = at - frame
                break
            at += 1
        if delay is None:
            missed += 1
        else:
            found.append(delay)
    return found, missed


def slow_majority(labels, frames, classes):
    found = []
    for frame in range(len(labels)):
        near = list(labels[max(frame - frames // 2, 0) : frame + frames // 2 + 1])
        counts = [near.count(label) for label in range(classes)]
        found.append(labels[frame] if counts[labels[frame]] == max(counts) else counts.index(max(counts)))
    return found


def random_track(draw, frames, classes) -> np.ndarray:
    keep = draw.random() < 0.8
    labels = [int(draw.integers(classes))]
    for _ in range(frames - 1):
        labels.append(labels[-1] if draw.random() < (0.8 if keep else 0.3) else int(draw.integers(classes)))
    return np.array(labels, np.int32)


@pytest.mark.parametrize("seed", range(40))
def test_random_tracks_against_the_slow_implementation(seed):
    draw = np.random.default_rng(seed)
    classes = int(draw.integers(2, 5))
    background = int(draw.integers(classes)) if seed % 2 else None
    pairs = []
    for _ in range(4):
        frames = int(draw.integers(1, 60))
        true = random_track(draw, frames, classes)
        predicted = np.where(draw.random(frames) < 0.25, random_track(draw, frames, classes), true).astype(np.int32)
        pairs.append((true, predicted))
    found = scores.temporal(*zip(*pairs, strict=True), background)
    frames = sum(len(true) for true, _ in pairs)
    right = sum(one == other for true, predicted in pairs for one, other in zip(true, predicted, strict=True))
    assert found["accuracy"] == pytest.approx(100 * right / frames)
    both = [(one, other) for true, predicted in pairs for one, other in zip(true, predicted, strict=True)]
    shares = [[one == other for one, other in both if one == label] for label in {one for one, _ in both}]
    assert found["balanced_accuracy"] == pytest.approx(100 * np.mean([np.mean(share) for share in shares]))
    actions = [one == other for one, other in both if one != background]
    expected = pytest.approx(100 * np.mean(actions)) if actions else None
    assert found["accuracy_without_background"] == expected
    assert found["edit"] == pytest.approx(np.mean([slow_edit(*pair, background) for pair in pairs]))
    for percent in (10, 25, 50):
        assert found[f"f1@{percent}"] == pytest.approx(slow_f1(pairs, percent, background))
    waits = [slow_delays(*pair) for pair in pairs]
    noticed = [delay for each, _ in waits for delay in each]
    assert found["changes_missed"] == sum(missed for _, missed in waits)
    assert found["latency"] == (pytest.approx(np.mean(noticed)) if noticed else None)
    for true, _ in pairs:
        size = 2 * int(draw.integers(0, 5)) + 1
        assert scores.majority_filter(true, size, classes).tolist() == slow_majority(true, size, classes)


# By hand -----------------------------------------------------------------------------------


def test_segments_with_and_without_background():
    labels = track((A, 2), (B, 3), (A, 1))
    assert scores.segments(labels) == [(A, 0, 2), (B, 2, 5), (A, 5, 6)]
    assert scores.segments(labels, background=A) == [(B, 2, 5)]
    assert scores.segments(np.zeros(0, np.int32)) == []


@pytest.mark.parametrize(
    ("true", "predicted", "background", "expected"),
    [
        ([(A, 5), (B, 5)], [(A, 1), (B, 9)], None, 100),  # the order is right, times do not count
        ([(A, 5), (B, 5)], [(A, 10)], None, 50),
        ([(A, 5), (B, 5)], [(A, 2), (B, 2), (A, 2), (B, 4)], None, 50),  # two too many, of four
        ([(A, 5), (B, 5)], [(B, 5), (A, 5)], None, 0),
        ([(A, 3), (C, 3), (B, 4)], [(A, 3), (B, 7)], C, 100),
        ([(C, 10)], [(C, 10)], C, 100),
        ([(C, 10)], [(A, 10)], C, 0),
    ],
)
def test_edit_score(true, predicted, background, expected):
    assert scores.edit_score(track(*true), track(*predicted), background) == pytest.approx(expected)


def test_f1_at_an_overlap():
    true, predicted = track((A, 10), (B, 10)), track((A, 14), (B, 6))
    # A: 10 of 14 frames, 71 %; B: 6 of 10, 60 %
    assert scores.overlap_counts(true, predicted, 50).tolist() == [2, 0, 0]
    assert scores.overlap_counts(true, predicted, 65).tolist() == [1, 1, 1]
    assert scores.f1(np.array([1, 1, 1])) == pytest.approx(50)
    assert scores.overlap_counts(track((A, 4)), track((A, 2), (B, 2)), 50).tolist() == [1, 1, 0]  # just 50 %


def test_a_true_segment_is_matched_once():
    true, predicted = track((A, 12)), track((A, 5), (B, 1), (A, 6))
    assert scores.overlap_counts(true, predicted, 25).tolist() == [1, 2, 0]  # the first A takes it
    assert scores.overlap_counts(true, predicted, 45).tolist() == [1, 2, 0]  # 5 of 12 is too little: the second does
    # a long one overlaps two of its label: it uses the larger, and the next may have the other
    true, predicted = track((A, 6), (B, 1), (A, 4)), track((A, 8), (C, 1), (A, 2))
    assert scores.overlap_counts(true, predicted, 10).tolist() == [2, 1, 1]
    # the second overlaps the first true segment most, which is taken: it is wrong, although another is free
    true, predicted = track((A, 20), (B, 1), (A, 4)), track((A, 11), (C, 1), (A, 13))
    assert scores.overlap_counts(true, predicted, 10).tolist() == [1, 2, 2]


def test_background_counts_only_in_frames():
    true, predicted = track((C, 5), (A, 5)), track((C, 3), (B, 2), (A, 5))
    found = scores.temporal([true], [predicted], C)
    assert found["accuracy"] == 80
    assert found["accuracy_without_background"] == 100  # of the frames of A
    assert found["balanced_accuracy"] == (60 + 100) / 2  # B is in no true frame
    assert found["edit"] == 50
    assert found["f1@50"] == pytest.approx(100 * 2 / 3)
    assert (found["latency"], found["changes"], found["changes_missed"]) == (0, 1, 0)


def test_delays():
    true = track((A, 5), (B, 5), (A, 5), (C, 2))
    predicted = track((A, 7), (B, 5), (A, 5))
    assert scores.delays(true, predicted) == ([2, 2], 1)
    assert scores.delays(true, true) == ([0, 0, 0], 0)
    early = track((A, 3), (B, 7), (A, 7))
    assert scores.delays(track((A, 5), (B, 5), (A, 7)), early) == ([0, 0], 0)


def test_the_majority_filter():
    labels = track((A, 4), (B, 1), (A, 3), (C, 3))
    assert scores.majority_filter(labels, 3, 3).tolist() == track((A, 8), (C, 3)).tolist()
    assert scores.majority_filter(labels, 1, 3).tolist() == labels.tolist()
    assert scores.majority_filter(track((B, 1), (A, 1)), 9, 3).tolist() == [B, A]  # as frequent: the frame's own


def test_clips_are_labelled_by_their_mean_probability():
    true = [track((A, 3), (B, 2))]
    probabilities = [np.array([[0.4, 0.6], [0.4, 0.6], [0.9, 0.1], [0.9, 0.1], [0.2, 0.8]])]
    assert scores.clip_accuracy(true, probabilities, [(0, 3, 5)]) == (50.0, 2)  # A by its sure frame; B is lost
    assert scores.clip_accuracy(true, probabilities, [(0, 5)]) == (None, 0)  # no clip of one label


def test_all_scores_are_json_values():
    import json

    true = [track((A, 3), (B, 2)), track((C, 4))]
    probabilities = [np.eye(3)[track((A, 4), (B, 1))] * 0.98 + 0.01, np.eye(3)[track((C, 4))] * 0.98 + 0.01]
    found = scores.all_scores(true, probabilities, [(0, 3, 5), (0, 4)], ("a", "b", "c"), "c", 3)
    assert json.loads(json.dumps(found)) == found
    assert found["accuracy"] == pytest.approx(100 * 8 / 9)
    assert (found["videos"], found["frames"], found["clips"], found["background"]) == (2, 9, 3, "c")
    assert found["classes"]["a"]["f1"] == pytest.approx(6 / 7)
    assert found["loss"] == pytest.approx((-8 * np.log(0.99) - np.log(0.01)) / 9)
    assert found["smoothed"]["filter"] == 3
    assert np.trace(found["confusion"]) == 8

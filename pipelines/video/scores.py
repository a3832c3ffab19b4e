"""Scores of frame labels: segments, edit score, F1 at an overlap, delays; and the majority filter.

A track is a sequence of labels, one per frame. A segment is a run of equal labels other than the background label.
Edit score and F1@k as in Lea et al. 2017, "Temporal convolutional networks for action segmentation and detection", and
counted as in the evaluation script of MS-TCN (Farha and Gall 2019).
"""

import itertools
from collections.abc import Sequence

import numpy as np

from pipelines.common import metrics
from pipelines.common.metrics import edit_distance

OVERLAPS = (10, 25, 50)  # per cent

Segment = tuple[int, int, int]  # label, first frame, frame after the last


def segments(track: np.ndarray, background: int | None = None) -> list[Segment]:
    """Returns the segments of int[frames], without those of the label `background`."""
    track = np.asarray(track)
    if not len(track):
        return []
    starts = np.flatnonzero(np.diff(track, prepend=track[0] - 1))
    ends = [*starts[1:], len(track)]
    found = [(int(track[start]), int(start), int(end)) for start, end in zip(starts, ends, strict=True)]
    return [segment for segment in found if segment[0] != background]


def edit_score(true: np.ndarray, predicted: np.ndarray, background: int | None = None) -> float:
    """Returns 100 (1 - d / n): d insertions, deletions and replacements turn one list of segment labels into the other
    (Levenshtein 1966), and n is the length of the longer list. 100 if both are empty."""
    one, other = ([label for label, _, _ in segments(track, background)] for track in (true, predicted))
    longest = max(len(one), len(other))
    return 100 * (1 - edit_distance(one, other) / longest) if longest else 100.0


def overlap_counts(true: np.ndarray, predicted: np.ndarray, k: float, background: int | None = None) -> np.ndarray:
    """Returns int[3]: true positives, false positives and false negatives among the predicted segments.

    In the order of time, a predicted segment is compared with the true segment of its label with the largest overlap
    (intersection over union of their frames). It is a true positive if the overlap is at least k per cent and the true
    segment did not make an earlier one a true positive.
    """
    candidates = segments(true, background)
    matched: set[Segment] = set()
    wrong = 0
    for label, start, end in segments(predicted, background):
        best, most = None, 0.0
        for candidate in candidates:
            if candidate[0] == label:
                shared = min(end, candidate[2]) - max(start, candidate[1])
                overlap = shared / (end - start + candidate[2] - candidate[1] - shared)
                if overlap > most:
                    best, most = candidate, overlap
        if best is not None and best not in matched and 100 * most >= k - 1e-9:
            matched.add(best)
        else:
            wrong += 1
    return np.array([len(matched), wrong, len(candidates) - len(matched)])


def f1(counts: np.ndarray) -> float:
    """Returns 100 * 2 right / (2 right + wrong + missed); 100 if there are neither true nor predicted segments."""
    right, wrong, missed = (int(count) for count in counts)
    return 100 * 2 * right / (2 * right + wrong + missed) if right + wrong + missed else 100.0


def delays(true: np.ndarray, predicted: np.ndarray) -> tuple[list[int], int]:
    """Returns the delay of each change of the true label, and the number of missed changes.

    The delay is the number of frames in the new segment before its label is predicted; a change is missed if it is not
    predicted within the segment.
    """
    found, missed = [], 0
    for label, start, end in segments(true)[1:]:
        hits = np.flatnonzero(np.asarray(predicted[start:end]) == label)
        if len(hits):
            found.append(int(hits[0]))
        else:
            missed += 1
    return found, missed


def majority_filter(track: np.ndarray, frames: int, classes: int) -> np.ndarray:
    """Returns for each frame the most frequent label of the `frames` (odd) around it, fewer at the ends; in a tie, the
    label of the frame itself if it is among them, else the first. int[frames] -> int[frames]."""
    track = np.asarray(track)
    totals = np.concatenate([np.zeros((1, classes), int), np.cumsum(np.eye(classes, dtype=int)[track], axis=0)])
    places = np.arange(len(track))
    counts = totals[np.minimum(places + frames // 2 + 1, len(track))] - totals[np.maximum(places - frames // 2, 0)]
    own = counts[places, track] == counts.max(axis=1, initial=0)
    return np.where(own, track, counts.argmax(axis=1)).astype(track.dtype)


def temporal(true: Sequence[np.ndarray], predicted: Sequence[np.ndarray], background: int | None) -> dict:
    """Returns in per cent the frame accuracy over all frames, over those whose true label is not the background (None
    if there are none), and balanced (the mean over the true labels of the accuracy on their frames); edit (mean over
    videos) and f1@10, f1@25, f1@50 (counts summed over videos); the mean delay in frames of the noticed changes, or
    None; and the number of missed changes."""
    pairs = list(zip(true, predicted, strict=True))
    labels, right = np.concatenate(true), np.concatenate([a == b for a, b in pairs])
    foreground = right[labels != background]
    waits = [delays(*pair) for pair in pairs]
    noticed = [delay for found, _ in waits for delay in found]
    return {
        "accuracy": 100 * float(right.mean()),
        "accuracy_without_background": 100 * float(foreground.mean()) if len(foreground) else None,
        "balanced_accuracy": 100 * float(np.mean([right[labels == label].mean() for label in np.unique(labels)])),
        "edit": float(np.mean([edit_score(a, b, background) for a, b in pairs])),
        **{f"f1@{k}": f1(np.sum([overlap_counts(a, b, k, background) for a, b in pairs], axis=0)) for k in OVERLAPS},
        "latency": float(np.mean(noticed)) if noticed else None,
        "changes": len(noticed) + sum(missed for _, missed in waits),
        "changes_missed": sum(missed for _, missed in waits),
    }


def clip_accuracy(
    true: Sequence[np.ndarray], probabilities: Sequence[np.ndarray], bounds: Sequence[Sequence[int]]
) -> tuple[float | None, int]:
    """Returns (per cent of the clips with a single label that are recognised, the number of these clips). The predicted
    label of a clip is the one with the highest mean probability over its frames (Donahue et al. 2015).

    Args:
        true: int[frames] of each video.
        probabilities: float[frames, classes] of each video.
        bounds: the frames at which the clips of each video start, and its end.
    """
    right = []
    for labels, video, cuts in zip(true, probabilities, bounds, strict=True):
        for start, end in itertools.pairwise(cuts):
            if len(np.unique(labels[start:end])) == 1:
                right.append(int(video[start:end].mean(axis=0).argmax()) == labels[start])
    return (100 * float(np.mean(right)) if right else None), len(right)


def cross_entropy(probabilities: Sequence[np.ndarray], true: Sequence[np.ndarray]) -> float:
    """Returns the mean over all frames of -log probability of the true label, in nats."""
    labels = np.concatenate(true)
    likelihood = np.concatenate(probabilities)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(likelihood, 1e-30)).mean())


def all_scores(true, probabilities, bounds, names: Sequence[str], background: str, frames: int) -> dict:
    """Returns all scores by name, as JSON values; "smoothed" are those after a majority filter of `frames`."""
    predicted = [video.argmax(axis=1).astype(np.int32) for video in probabilities]
    number = list(names).index(background) if background in names else None
    smoothed = [majority_filter(track, frames, len(names)) for track in predicted]
    labels, guesses = np.concatenate(true), np.concatenate(predicted)
    by_class = metrics.precision_recall_f1(metrics.confusion_counts(labels, guesses, len(names)))
    recognised, clips = clip_accuracy(true, probabilities, bounds)
    return {
        "videos": len(true),
        "frames": len(labels),
        **temporal(true, predicted, number),
        "loss": cross_entropy(probabilities, true),
        "macro_f1": 100 * float(by_class["f1"].mean()),
        "clip_accuracy": recognised,
        "clips": clips,
        "smoothed": {"filter": frames, **temporal(true, smoothed, number)},
        "background": background if number is not None else None,
        "classes": {
            name: {metric: values[place].item() for metric, values in by_class.items()}
            for place, name in enumerate(names)
        },
        "confusion": metrics.confusion_counts(labels, guesses, len(names)).tolist(),
    }

"""Scores of labels in time: segments, the edit score, F1 at an overlap, delays; and the majority filter.

A track is a sequence of labels, one a frame. A segment is a run of equal labels; segments of the background are none.
Edit score and F1@k as in Lea et al. 2017, "Temporal convolutional networks for action segmentation and detection".
"""

import itertools
from collections.abc import Sequence

import numpy as np

from pipelines.common import metrics

OVERLAPS = (10, 25, 50)  # per cent

Segment = tuple[int, int, int]  # label, first frame, frame behind the last


def segments(track: np.ndarray, background: int | None = None) -> list[Segment]:
    """The segments of int[frames], without those of the label `background`."""
    track = np.asarray(track)
    if not len(track):
        return []
    starts = np.flatnonzero(np.diff(track, prepend=track[0] - 1))
    ends = [*starts[1:], len(track)]
    found = [(int(track[start]), int(start), int(end)) for start, end in zip(starts, ends, strict=True)]
    return [segment for segment in found if segment[0] != background]


def edit_score(true: np.ndarray, predicted: np.ndarray, background: int | None = None) -> float:
    """100 (1 - d / longest): d insertions, deletions and replacements make one list of segment labels of the other
    (Levenshtein 1966), `longest` is the length of the longer. 100 where both are empty."""
    one, other = ([label for label, _, _ in segments(track, background)] for track in (true, predicted))
    longest = max(len(one), len(other))
    return 100 * (1 - distance(one, other) / longest) if longest else 100.0


def distance(one: Sequence[int], other: Sequence[int]) -> int:
    """Levenshtein distance, row by row of its table."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(other, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


def overlap_counts(true: np.ndarray, predicted: np.ndarray, k: float, background: int | None = None) -> np.ndarray:
    """int[3]: segments that are right, predicted ones that are not, true ones that are missed.

    In the order of time, a predicted segment is right when its overlap (frames of the intersection over those of the
    union) with a true segment of its label that is not used yet is at least k per cent; it uses the one with the
    largest overlap.
    """
    unused = segments(true, background)
    right = wrong = 0
    for label, start, end in segments(predicted, background):
        best, most = None, 0.0
        for candidate in unused:
            if candidate[0] == label:
                shared = min(end, candidate[2]) - max(start, candidate[1])
                overlap = shared / (end - start + candidate[2] - candidate[1] - shared)
                if overlap > most:
                    best, most = candidate, overlap
        if best is not None and 100 * most >= k - 1e-9:
            unused.remove(best)
            right += 1
        else:
            wrong += 1
    return np.array([right, wrong, len(unused)])


def f1(counts: np.ndarray) -> float:
    """100 * 2 right / (2 right + wrong + missed); 100 where there is nothing to find and nothing was found."""
    right, wrong, missed = (int(count) for count in counts)
    return 100 * 2 * right / (2 * right + wrong + missed) if right + wrong + missed else 100.0


def delays(true: np.ndarray, predicted: np.ndarray) -> tuple[list[int], int]:
    """For each change of the true label, the frames until the new label is first predicted within the new segment (0:
    at once, or it was predicted already); and how many changes are never noticed within theirs."""
    found, missed = [], 0
    for label, start, end in segments(true)[1:]:
        hits = np.flatnonzero(np.asarray(predicted[start:end]) == label)
        if len(hits):
            found.append(int(hits[0]))
        else:
            missed += 1
    return found, missed


def majority_filter(track: np.ndarray, frames: int, classes: int) -> np.ndarray:
    """The most frequent label among the `frames` (odd) around each frame, fewer at the ends; of labels as frequent, the
    frame's own if it is one, else the first. int[frames] -> int[frames]."""
    track = np.asarray(track)
    totals = np.concatenate([np.zeros((1, classes), int), np.cumsum(np.eye(classes, dtype=int)[track], axis=0)])
    places = np.arange(len(track))
    counts = totals[np.minimum(places + frames // 2 + 1, len(track))] - totals[np.maximum(places - frames // 2, 0)]
    own = counts[places, track] == counts.max(axis=1, initial=0)
    return np.where(own, track, counts.argmax(axis=1)).astype(track.dtype)


def temporal(true: Sequence[np.ndarray], predicted: Sequence[np.ndarray], background: int | None) -> dict:
    """Frame accuracy (over all frames), edit (mean over videos), f1@10, f1@25, f1@50 (counts summed over videos), the
    mean delay in frames of the changes that are noticed, and how many are not. Percentages; None where nothing is."""
    pairs = list(zip(true, predicted, strict=True))
    waits = [delays(*pair) for pair in pairs]
    noticed = [delay for found, _ in waits for delay in found]
    return {
        "accuracy": 100 * sum(int((a == b).sum()) for a, b in pairs) / sum(len(a) for a, _ in pairs),
        "edit": float(np.mean([edit_score(a, b, background) for a, b in pairs])),
        **{f"f1@{k}": f1(np.sum([overlap_counts(a, b, k, background) for a, b in pairs], axis=0)) for k in OVERLAPS},
        "latency": float(np.mean(noticed)) if noticed else None,
        "changes": len(noticed) + sum(missed for _, missed in waits),
        "changes_missed": sum(missed for _, missed in waits),
    }


def clip_accuracy(
    true: Sequence[np.ndarray], probabilities: Sequence[np.ndarray], bounds: Sequence[Sequence[int]]
) -> tuple[float | None, int]:
    """(per cent of the clips of one label that are recognised, how many there are). A clip's label is the one with the
    highest mean probability over its frames (Donahue et al. 2015).

    Args:
        true: int[frames] a video. probabilities: float[frames, classes] a video.
        bounds: where the clips of each video begin, and its end.
    """
    right = []
    for labels, video, cuts in zip(true, probabilities, bounds, strict=True):
        for start, end in itertools.pairwise(cuts):
            if len(np.unique(labels[start:end])) == 1:
                right.append(int(video[start:end].mean(axis=0).argmax()) == labels[start])
    return (100 * float(np.mean(right)) if right else None), len(right)


def cross_entropy(probabilities: Sequence[np.ndarray], true: Sequence[np.ndarray]) -> float:
    """Mean over all frames of -log probability of the true label, in nats."""
    labels = np.concatenate(true)
    likelihood = np.concatenate(probabilities)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(likelihood, 1e-30)).mean())


def all_scores(true, probabilities, bounds, names: Sequence[str], background: str, frames: int) -> dict:
    """Every score by name, as JSON values; "smoothed" holds those of the labels after a majority filter of `frames`."""
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

"""Batches of sequences of similar length: little padding, few shapes, in an order given by seed and epoch."""

import itertools

import numpy as np

JITTER = 0.1  # share of its length by which a sequence may move in the order of lengths
DRAWN_AT_ONCE = 1 << 20  # random numbers
FILLER = -1  # the row of a sequence that only fills the last batch
ALL_ROWS = (0, 1)  # the part of the only worker


def own_rows(rows: int, part: tuple[int, int]) -> range:
    """Returns which rows of a batch a worker trains on; see `rows_of` in training/replicas.py.

    Args:
        part: index of the worker, and the number of workers.
    """
    index, workers = part
    return range(rows * index // workers, rows * (index + 1) // workers)


def padded_length(length: int, shapes_per_octave: int = 8) -> int:
    """Returns `length` rounded up to a multiple of four, so that at most `shapes_per_octave` different lengths occur
    between two powers of two."""
    octave = 1 << max(int(length) - 1, 1).bit_length() - 1  # the next lower power of two
    step = max(octave // shapes_per_octave, 4)
    return max(-(-int(length) // step), 1) * step


def batch_sizes(lengths: np.ndarray, max_rows: int, max_steps: int, shapes_per_octave: int = 8) -> list[int]:
    """Returns the number of sequences of each batch, for `lengths` int[sequences] in descending order.

    A batch has at most `max_rows` sequences, and at most `max_steps` time steps with padding (but at least one
    sequence). The last batch has this size as well, although fewer sequences may be left: it is filled up.
    """
    sizes, start = [], 0
    while start < len(lengths):
        sizes.append(max(1, min(max_rows, max_steps // padded_length(lengths[start], shapes_per_octave))))
        start += sizes[-1]
    return sizes


def plan_batches(
    lengths: np.ndarray,
    *,
    max_rows: int,
    max_steps: int,
    seed: int | None = None,
    epoch: int = 0,
    shapes_per_octave: int = 8,
) -> list[tuple[np.ndarray, int]]:
    """Returns the sequences of each batch, and the time steps to which it is padded: [(int64[rows], steps)].

    Every sequence is in one batch; the last batch is filled up with FILLER. The number of batches depends only on
    `lengths`; their order and contents also depend on (seed, epoch). Without a seed, the longest come first.

    Args:
        lengths: int[sequences]. With int32, the memory needed for a moment is 24 bytes a sequence, and 8 afterwards.
        max_rows, max_steps, shapes_per_octave: see `batch_sizes` and `padded_length`.
    """
    # For millions of sequences, this order is what needs memory: nothing is kept that is not needed.
    if lengths.min(initial=1) < 1:
        lengths = np.maximum(lengths, 1)
    sizes = batch_sizes(np.sort(lengths)[::-1], max_rows, max_steps, shapes_per_octave)
    key = np.log(lengths)
    random = None if seed is None else np.random.default_rng((seed, epoch))
    if random is not None:
        for start in range(0, len(key), DRAWN_AT_ONCE):  # the same numbers as in one draw
            part = key[start : start + DRAWN_AT_ONCE]
            part += random.uniform(0, JITTER, len(part))
    order = np.argsort(np.negative(key, out=key), kind="stable")
    del key
    plan: list[tuple[np.ndarray, int]] = []
    for start, size in zip(itertools.accumulate(sizes, initial=0), sizes, strict=False):
        rows = order[start : start + size].astype(np.int64, copy=False)
        steps = padded_length(lengths[rows].max(), shapes_per_octave)
        if len(rows) < size:
            rows = np.concatenate([rows, np.full(size - len(rows), FILLER)])
        plan.append((rows, steps))
    return plan if random is None else [plan[number] for number in random.permutation(len(plan))]

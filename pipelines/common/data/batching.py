"""Batches of sequences of similar length: little padding, few shapes, and an order that the seed and epoch decide."""

import numpy as np

JITTER = 0.1  # by how much of its length a sequence may stray from its place in the order of lengths
FILLER = -1


def padded_length(length: int, shapes_per_octave: int = 8) -> int:
    """`length`, rounded up so that between a power of two and the next only `shapes_per_octave` lengths occur, and
    only multiples of four."""
    octave = 1 << max(int(length) - 1, 1).bit_length() - 1  # the power of two below
    step = max(octave // shapes_per_octave, 4)
    return max(-(-int(length) // step), 1) * step


def batch_sizes(lengths: np.ndarray, max_rows: int, max_steps: int, shapes_per_octave: int = 8) -> list[int]:
    """How many sequences each batch takes, of `lengths` int[sequences] that begin with the longest.

    A batch takes at most `max_rows` sequences, and at most `max_steps` steps with its padding (one sequence at
    least). The last batch counts as many as fit, though fewer are left: it is filled up.
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
    """Which sequences meet in a batch, and to how many steps each batch is padded: [(int64[rows], steps)].

    Every sequence is in one batch; the last batch planned is filled up with FILLER. The number of batches depends on
    `lengths` alone, their order and what is in them on (seed, epoch) alone; without a seed the longest come first.

    Args:
        lengths: int[sequences].
    """
    lengths = np.maximum(lengths, 1)
    sizes = batch_sizes(np.sort(lengths)[::-1], max_rows, max_steps, shapes_per_octave)
    key = np.log(lengths)
    random = None if seed is None else np.random.default_rng((seed, epoch))
    if random is not None:
        key = key + random.uniform(0, JITTER, len(key))
    order = np.argsort(-key, kind="stable")
    plan: list[tuple[np.ndarray, int]] = []
    for rows in np.split(order, np.cumsum(sizes)[:-1]) if sizes else []:
        steps = padded_length(lengths[rows].max(), shapes_per_octave)
        filler = np.full(sizes[len(plan)] - len(rows), FILLER)
        plan.append((np.concatenate([rows, filler]).astype(np.int64), steps))
    return plan if random is None else [plan[number] for number in random.permutation(len(plan))]

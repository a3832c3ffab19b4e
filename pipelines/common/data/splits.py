"""The parts of a data set: train, validation and test; random splits, with the rows of a group in the same part."""

from collections.abc import Iterable, Sequence

import numpy as np

from pipelines.common.errors import UserError

HELD_OUT = "expected one, or a --validation-share above 0"


def require_part(part: str, present: Iterable[str], where: str, expected: str = ""):
    """Raises UserError unless data has a part.

    Args:
        present: the parts that it has.
        where: the value of --data.
        expected: what the message says then. "": which parts there are.
    """
    if part not in (present := list(present)):
        raise UserError(f"--data {where} has no part {part}: {expected or 'it has ' + ', '.join(present)}")


def split(groups: Sequence, size: float, seed: int, where: str, expected: str) -> tuple[list[int], list[int]]:
    """Returns the rows of two parts, the larger one first: whole groups, drawn by the seed; neither part is empty.

    Args:
        groups: the group of each row, of any type that can be sorted.
        size: rows of the second part. Groups are added to it until it has as many, so it may have more.
        where: the value of --data, for the error message.
        expected: what the data has to have, such as "two images or more", for the error message.

    Raises:
        UserError: There are fewer than two groups.
    """
    larger, smaller = split_ranks(ranks_of(groups), size, seed, where, expected)
    return larger.tolist(), smaller.tolist()


def ranks_of(groups: Sequence) -> np.ndarray:
    """Returns int64[rows], the number of the group of each row among the different ones in their order."""
    numbers = {group: number for number, group in enumerate(sorted(set(groups)))}
    return np.fromiter((numbers[group] for group in groups), np.int64, len(groups))


def split_ranks(ranks: np.ndarray, size: float, seed: int, where: str, expected: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns what `split` does, int64[n] each, for groups as `ranks_of` returns them, or those of some of the rows."""
    sizes = np.bincount(ranks)
    known = np.flatnonzero(sizes)
    if len(known) < 2:
        raise UserError(f"--data {where} cannot be split: expected {expected}")
    drawn = known[np.random.default_rng(seed).permutation(len(known))[:-1]]
    enough = np.searchsorted(np.cumsum(sizes[drawn]), size) + 1  # groups: one at least
    chosen = np.zeros(len(sizes), bool)
    chosen[drawn[:enough]] = True
    smaller = chosen[ranks]
    return np.flatnonzero(~smaller), np.flatnonzero(smaller)

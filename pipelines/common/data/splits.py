"""The parts of a data set: train, validation and test; random splits, with the rows of a group in the same part."""

import heapq
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from pipelines.common.data import corpora
from pipelines.common.data.loading import batched
from pipelines.common.errors import UserError

HELD_OUT = "expected one, or a --validation-share above 0"
RUN = 1 << 16  # texts that are sorted in memory


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


def ranks(texts: Iterable[str], folder: pathlib.Path | None) -> np.ndarray:
    """Returns what `ranks_of` does, for more texts than fit into memory: sorts them run by run into files, and merges
    the runs.

    Args:
        texts: a stream.
        folder: of temporary files, for as many bytes as the texts have; None: in memory.
    """

    def write(append: corpora.Append) -> dict:
        append("order", np.zeros(0, np.int64))
        sorted_runs, count = corpora.TextWriter(append, "texts"), 0
        for run in batched(texts, RUN):
            order = sorted(range(len(run)), key=run.__getitem__)
            append("order", count + np.array(order))
            sorted_runs.add(run[row] for row in order)
            count += len(run)
        return {}

    files = corpora.in_temporary_files(folder, write)
    written, order = corpora.Texts.of(files, "texts"), files.arrays["order"]

    def run_from(start: int) -> Iterator[tuple[str, int]]:
        places = np.arange(start, min(start + RUN, len(order)))
        return zip(corpora.Texts(written.characters, written.splits, places), order[places].tolist(), strict=True)

    found, rank, last = np.zeros(len(order), np.int64), -1, None
    for text, row in heapq.merge(*map(run_from, range(0, len(order), RUN))):
        rank += text != last
        found[row], last = rank, text
    return found


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

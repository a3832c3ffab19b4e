"""The order of more texts than fit into memory: sorted run by run into files, and the runs merged."""

import heapq
import pathlib
from collections.abc import Iterable, Iterator

import numpy as np

from pipelines.common.data import corpora
from pipelines.common.data.loading import batched

RUN = 1 << 16  # texts that are sorted in memory


def ranks(texts: Iterable[str], folder: pathlib.Path) -> np.ndarray:
    """Returns int64[texts], the number of each text among the different ones in their order, as `splits.ranks_of` does.

    Args:
        texts: a stream.
        folder: of temporary files, for as many bytes as the texts have.
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

    found = corpora.in_temporary_files(folder, write)
    written, order = corpora.Texts.of(found, "texts"), found.arrays["order"]

    def run_from(start: int) -> Iterator[tuple[str, int]]:
        places = np.arange(start, min(start + RUN, len(order)))
        return zip(corpora.Texts(written.characters, written.splits, places), order[places].tolist(), strict=True)

    ranks, rank, last = np.zeros(len(order), np.int64), -1, None
    for text, row in heapq.merge(*map(run_from, range(0, len(order), RUN))):
        rank += text != last
        ranks[row], last = rank, text
    return ranks

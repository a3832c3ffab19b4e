"""Arrays of a corpus on disk, such as its token ids: written once, in one pass, and mapped into memory.

A corpus is a subfolder of a cache, named by a digest of what the arrays depend on. It contains a file of raw numbers
for each array, and `index.json`, which is written last: when a process is killed, the corpus is written again. A file
of text is identified by its name, size and modification time, as in the cache of features.
"""

import collections
import contextlib
import dataclasses
import json
import mmap
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO

import numpy as np

from pipelines.common import cache_folders, files
from pipelines.common.errors import UserError

CACHE = "cache"  # the folder of all corpora, beside the run
FORMAT = 1  # part of every key; to be raised when the same text gives other ids
INDEX = "index.json"
NUMBERS_AT_ONCE = 1 << 20
TEXTS_AT_ONCE = 1 << 10  # that are read or encoded together

Append = Callable[[str, np.ndarray], None]  # adds an array to the end of the one with this name


@dataclasses.dataclass(frozen=True)
class Arrays:
    """Arrays by name, in memory or mapped from files.

    Attributes:
        arrays: the arrays, one axis each.
        facts: JSON values that were found when they were written.
        folder: of the files; None in memory.
    """

    arrays: dict[str, np.ndarray]
    facts: dict
    folder: pathlib.Path | None = None


def in_memory(write: Callable[[Append], dict]) -> Arrays:
    """Returns the arrays that `write` appends, and the facts that it returns."""
    parts: dict[str, list[np.ndarray]] = collections.defaultdict(list)
    facts = write(lambda name, array: parts[name].append(array))
    return Arrays({name: np.concatenate(each) for name, each in parts.items()}, facts)


def on_disk(cache, key: dict, write: Callable[[Append], dict]) -> Arrays:
    """Returns the arrays of a corpus, which `write` appends if the cache does not have them.

    Two processes may do this at the same time: the second waits, and then maps what the first has written.

    Args:
        cache: the folder of all corpora.
        key: JSON values, everything that the arrays depend on.
        write: appends arrays of one axis, and returns facts, JSON values.

    Raises:
        UserError: The cache cannot be written.
    """
    key = {**key, "format": FORMAT}
    folder = cache_folders.folder_of(cache, key)
    found = read(folder)
    if found is None:
        with cache_folders.locked(folder, key, "corpus", "writing the corpus", log):
            found = read(folder)  # another process may have written it in the meantime
            if found is None:
                write_files(folder, write)
                found = read(folder)
    if found is None:
        raise UserError(f"the corpus {folder} cannot be read back as it was written: the disk is damaged")
    return found


def in_temporary_files(folder: pathlib.Path | None, write: Callable[[Append], dict]) -> Arrays:
    """Returns the arrays that `write` appends, mapped from files in a folder that have no name, and so end with their
    last use. Without a folder, they are in memory."""
    if folder is None:
        return in_memory(write)
    with contextlib.ExitStack() as stack:
        writer = Writer(lambda name: stack.enter_context(tempfile.TemporaryFile(dir=folder)), str(folder))
        facts = writer.write(write)
        arrays = {name: mapped(file, *writer.index[name]) for name, file in writer.files.items()}
    return Arrays(arrays, facts, folder)


def write_files(folder: pathlib.Path, write: Callable[[Append], dict]):
    """Writes the arrays and the index into a folder, without what is left of an earlier attempt. Leaves no array if
    there is an error in the data."""
    remove_files(folder)
    with contextlib.ExitStack() as stack:
        writer = Writer(lambda name: stack.enter_context(open(folder / f"{name}.array", "xb")), str(folder))
        try:
            facts = writer.write(write)
        except UserError:
            remove_files(folder)
            raise
    files.sync_tree(folder)
    files.write_json(folder / INDEX, {"arrays": writer.index, "facts": facts})


def remove_files(folder: pathlib.Path):
    for left in [folder / INDEX, *folder.glob("*.array"), *folder.glob(f"{files.PARTIAL}*")]:
        left.unlink(missing_ok=True)


class Writer:
    """Writes arrays into files.

    Args:
        open_file: returns the open file of an array, by its name.
        where: for messages.

    Attributes:
        files: the open files by name.
        index: [type, numbers] of each array.
    """

    def __init__(self, open_file: Callable[[str], IO[bytes]], where: str):
        self.open_file, self.where = open_file, where
        self.files: dict[str, IO[bytes]] = {}
        self.index: dict[str, list] = {}

    def write(self, write: Callable[[Append], dict]) -> dict:
        """Writes what `write` appends; returns its facts. Raises UserError if the disk is full."""
        try:
            facts = write(self.append)
            for file in self.files.values():
                file.flush()
        except OSError as error:
            raise UserError(f"the corpus {self.where} could not be written: {error.strerror or error}") from error
        return facts

    def append(self, name: str, array: np.ndarray):
        if name not in self.files:
            self.files[name] = self.open_file(name)
            self.index[name] = [array.dtype.str, 0]
        self.files[name].write(np.ascontiguousarray(array).data)
        self.index[name][1] += len(array)


def read(folder: pathlib.Path) -> Arrays | None:
    """Returns the arrays of a folder, mapped into memory; None if they are not there, or not whole."""
    try:
        index = json.loads((folder / INDEX).read_bytes())
        arrays = {}
        for name, (dtype, size) in index["arrays"].items():
            path = folder / f"{name}.array"
            if np.dtype(dtype).kind not in "iu":  # least of all Python objects, which would be pointers
                return None
            if path.stat().st_size != size * np.dtype(dtype).itemsize:
                return None
            arrays[name] = mapped(path, dtype, size)
        return Arrays(arrays, index["facts"], folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def mapped(file, dtype: str, size: int) -> np.ndarray:
    """Returns so many numbers of a file, mapped into memory."""
    # A plain array, since its slices are faster. A file of no bytes cannot be mapped.
    return np.asarray(np.memmap(file, dtype, "r", shape=(size,))) if size else np.zeros(0, dtype)


def release(array):
    """Takes the pages of a mapped array out of the memory of this process; they are mapped again when they are used.

    The system would do so when memory is short, but until then they would count as memory of the process.
    """
    while isinstance(array, np.ndarray):
        array = array.base
    if isinstance(array, mmap.mmap):
        array.madvise(mmap.MADV_DONTNEED)


def slices(array: np.ndarray) -> Iterator[np.ndarray]:
    """Yields a mapped array in slices, each of which is in memory only until the next one."""
    for start in range(0, len(array), NUMBERS_AT_ONCE):
        yield array[start : start + NUMBERS_AT_ONCE]
        release(array)


def gather(ids: np.ndarray, splits: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns some texts of a corpus.

    Args:
        ids: numbers[tokens], the tokens of all texts, one text after the other.
        splits: int64[texts + 1], where each text begins and ends.
        rows: int64[n], the numbers of the texts.

    Returns:
        The tokens of the texts, one after the other, and int64[n], their lengths.
    """
    begins = splits[rows]
    lengths = splits[rows + 1] - begins
    shifts = np.repeat(begins - np.cumsum(lengths) + lengths, lengths)
    return ids[shifts + np.arange(len(shifts))], lengths


def padded(ids: np.ndarray, lengths: np.ndarray, shape: tuple[int, int], padding: int) -> np.ndarray:
    """Returns int32[count, time]: texts as `gather` returns them, one a row, then empty ones; `padding` fills them up.

    Args:
        shape: count and time.
    """
    found = np.full(shape, padding, np.int32)
    found[: len(lengths)][np.arange(shape[1]) < lengths[:, None]] = ids
    return found


def lengths_of(splits: np.ndarray) -> np.ndarray:
    """Returns int32[texts], the lengths of texts that begin and end at splits, int64[texts + 1]."""
    # In 32 bits throughout, without a copy in 64: the difference is right although the splits wrap around.
    lengths = np.subtract(splits[1:], splits[:-1], dtype=np.int32, casting="unsafe")
    release(splits)
    return lengths


class Texts(Sequence[str]):
    """Texts in two arrays: uint8[bytes], all in UTF-8, and int64[texts + 1], where each one begins and ends.

    Args:
        rows: int64[n], the numbers of the texts that are meant, in their order; None: all.
    """

    def __init__(self, characters: np.ndarray, splits: np.ndarray, rows: np.ndarray | None = None):
        self.characters, self.splits, self.rows = characters, splits, rows

    @classmethod
    def of(cls, found: Arrays, name: str, rows: np.ndarray | None = None) -> "Texts":
        """Returns the texts that a `TextWriter` of this name has written."""
        return cls(found.arrays[f"{name}.ids"], found.arrays[f"{name}.splits"], rows)

    def __len__(self) -> int:
        return len(self.splits) - 1 if self.rows is None else len(self.rows)

    def __getitem__(self, place):
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        number = range(len(self))[place]
        row = number if self.rows is None else self.rows[number]
        return self.characters[self.splits[row] : self.splits[row + 1]].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        """Yields the texts, a few of which are in memory at a time."""
        for start in range(0, len(self), TEXTS_AT_ONCE):
            numbers = np.arange(start, min(start + TEXTS_AT_ONCE, len(self)))
            rows = numbers if self.rows is None else self.rows[numbers]
            for begin, end in zip(self.splits[rows].tolist(), self.splits[rows + 1].tolist(), strict=True):
                yield self.characters[begin:end].tobytes().decode()
            release(self.characters)
            release(self.splits)


class Splits:
    """Appends int64[texts + 1] to a corpus, batch by batch."""

    def __init__(self, append: Append, name: str):
        self.append, self.name, self.end = append, name, 0
        append(name, np.zeros(1, np.int64))

    def add(self, lengths: np.ndarray):
        """Appends the ends of further texts, int[texts]."""
        if len(lengths):
            ends = self.end + np.cumsum(lengths, dtype=np.int64)
            self.append(self.name, ends)
            self.end = int(ends[-1])


class TextWriter:
    """Appends texts to a corpus, batch by batch, for `Texts.of`."""

    def __init__(self, append: Append, name: str):
        self.append, self.name, self.splits = append, f"{name}.ids", Splits(append, f"{name}.splits")
        append(self.name, np.zeros(0, np.uint8))

    def add(self, texts: Iterable[str]):
        written = [text.encode() for text in texts]
        self.append(self.name, np.frombuffer(b"".join(written), np.uint8))
        self.splits.add(np.array([len(text) for text in written], np.int64))


def log(line: str):
    print(line, file=sys.stderr)

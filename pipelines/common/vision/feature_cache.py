"""A cache on disk for features of images or videos, which are computed once for all epochs and runs.

A cache is a subfolder of the given folder, named by a digest of its key: the encoder, the digest of its weights, the
size and fit of the images, and whatever else the features depend on. It contains shards of about a thousand items, each
an array and an index, `000001.npy` and `000001.json`. The index is written last and contains a checksum of the array:
when a process is killed, whole shards remain, and only the items of the unfinished one are computed again.

An item is identified by its name, size and modification time, as `make` and `rsync` do: a digest of the content would
mean reading the whole data set at every start. As a consequence, files copied without their times are computed again.
"""

import collections.abc
import contextlib
import json
import os
import pathlib
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Mapping

import keras
import numpy as np

from pipelines.common import cache_folders, files
from pipelines.common.cache_folders import Identity
from pipelines.common.errors import UserError

FORMAT = 1  # version of the files; part of every key
SECONDS_BETWEEN_LINES = 30


class Features(collections.abc.Mapping):
    """A mapping from names to float[rows, units], read from disk as it is used, in the order of the items.

    Attributes:
        failures: for each item without features the reason, as the end of a sentence.
    """

    def __init__(self, arrays: dict[str, np.ndarray], failures: dict[str, str]):
        self.arrays = arrays
        self.failures = failures

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def __iter__(self):
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


def fill(
    folder,
    key: dict,
    items: Mapping[str, os.PathLike | str],
    compute: Callable[[list], Iterable[np.ndarray | str]],
    *,
    dtype: str = "float32",
    shard_items: int = 1000,
    shard_bytes: int = 2**26,
    log: Callable[[str], None] = print,
) -> Features:
    """Returns the features of all items, which are read from the cache, or computed and added to it.

    Two processes may do this at the same time: the second waits, and then reads what the first has computed.

    Args:
        folder: the folder of all caches, such as saved_models/captioning/cache.
        key: JSON values; everything that the features depend on besides the item.
        items: name -> file. The same name with another size or modification time is another item.
        compute: called with some of the files, yields for each one its features, a number [rows, units] with one row or
            more, or the reason why there are none (a string; it is not stored, so a later call tries again).
        dtype: type of the stored features, part of the key unless it is float32. float16 takes half of the disk; larger
            values than it has become its largest.
        shard_items, shard_bytes: a shard is written when it has this many items or bytes.
        log: called with lines about progress and damaged files.

    Raises:
        UserError: The cache cannot be written.
        ValueError: `compute` yields an array of another shape.
    """
    files_of, failures = identities(items)
    cache = Cache(pathlib.Path(folder), key if dtype == "float32" else {**key, "dtype": dtype}, log)
    stored = cache.read()
    if files_of.keys() - stored.keys():
        with cache.locked():
            stored = cache.read(repair=True)  # another process may have added some in the meantime
            missing = [identity for identity in files_of if identity not in stored]
            if missing:
                log(f"computing the features of {len(missing)} of {len(files_of)} items, to be stored in {cache.path}")
            computed = progress(compute([files_of[identity] for identity in missing]), len(missing), log)
            shard, size = [], 0
            for identity, features in zip(missing, computed, strict=True):
                if isinstance(features, str):
                    failures[identity[0]] = features
                    continue
                shard.append((identity, as_rows(features, identity[0], dtype)))
                size += shard[-1][1].nbytes
                if len(shard) >= shard_items or size >= shard_bytes:
                    stored |= cache.write(shard)
                    shard, size = [], 0
            if shard:
                stored |= cache.write(shard)
    arrays = {identity[0]: stored[identity] for identity in files_of if identity in stored}
    return Features(arrays, {name: failures[name] for name in items if name in failures})


def identities(items: Mapping) -> tuple[dict[Identity, os.PathLike | str], dict[str, str]]:
    """Returns (identity -> file, name -> reason why the file cannot be read)."""
    files_of, failures = {}, {}
    for name, path in items.items():
        try:
            status = os.stat(path)
        except OSError as error:
            failures[name] = f"could not be read: {error.strerror or error}"
        else:
            files_of[name, status.st_size, status.st_mtime_ns] = path
    return files_of, failures


def as_rows(features, name: str, dtype: str) -> np.ndarray:
    rows = np.asarray(features, np.float32)
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"the features of {name} have the shape {rows.shape}, expected [rows >= 1, units]")
    limits = np.finfo(dtype)
    return np.clip(rows, limits.min, limits.max).astype(dtype, copy=False)


def progress(computed: Iterable, count: int, log: Callable[[str], None]):
    """Yields what is computed, with a progress bar on a terminal, or a line every half minute otherwise."""
    bar = keras.utils.Progbar(count, unit_name="item") if count and sys.stdout.isatty() else None
    last = time.monotonic()
    for done, features in enumerate(computed, start=1):
        yield features
        if bar is not None:
            bar.update(done)
        elif time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            log(f"features of {done} of {count} items")


class Cache:
    """The shards of one key."""

    def __init__(self, folder: pathlib.Path, key: dict, log: Callable[[str], None]):
        self.key = {**key, "format": FORMAT}
        self.path = cache_folders.folder_of(folder, self.key)
        self.log = log

    def read(self, repair: bool = False) -> dict[Identity, np.ndarray]:
        """Returns all stored items, mapped into memory.

        Args:
            repair: also removes, and logs, damaged shards and the files that a killed process left. Needs the lock.
        """
        stored: dict[Identity, np.ndarray] = {}
        for index_file in files.data_files(self.path, "*.json"):
            if index_file.name == "key.json":
                continue
            shard = read_shard(index_file)
            if shard is not None:
                stored |= shard
            elif repair:
                self.log(f"{index_file.with_suffix('.npy')} is damaged: its features are computed again")
                remove(index_file)
        if repair:
            for left in self.path.glob(f"{files.PARTIAL}*"):
                remove(left)
            for array_file in files.data_files(self.path, "*.npy"):
                if not array_file.with_suffix(".json").exists():
                    remove(array_file)
        return stored

    def write(self, shard: list[tuple[Identity, np.ndarray]]) -> dict[Identity, np.ndarray]:
        """Writes items as the next shard and returns them as stored. Needs the lock."""
        number = 1 + max((int(path.stem) for path in files.data_files(self.path, "*.npy")), default=0)
        array_file = self.path / f"{number:06d}.npy"
        with files.atomic_path(array_file) as temporary:
            np.save(temporary, np.concatenate([rows for _, rows in shard]))
            checksum = checksum_of(temporary)
        items = [[*identity, len(rows)] for identity, rows in shard]
        index_file = array_file.with_suffix(".json")
        with files.atomic_write(index_file) as file:
            json.dump({"checksum": checksum, "items": items}, file)
        stored = read_shard(index_file)
        if stored is None:
            raise UserError(f"{array_file} cannot be read back as it was written: the disk is damaged")
        return stored

    def locked(self):
        """Creates the folder and locks it, see `cache_folders.locked`."""
        return cache_folders.locked(self.path, self.key, "feature cache", "computing features into", self.log)


def read_shard(index_file: pathlib.Path) -> dict[Identity, np.ndarray] | None:
    """Returns the items of a shard, float[rows, units] each; None if the shard is damaged or incomplete."""
    array_file = index_file.with_suffix(".npy")
    try:
        index = json.loads(index_file.read_bytes())
        if checksum_of(array_file) != index["checksum"]:
            return None
        array = np.asarray(np.load(array_file, mmap_mode="r"))  # slices of a plain array are faster
        items, start = {}, 0
        for name, size, modified, rows in index["items"]:
            items[name, size, modified] = array[start : start + rows]
            start += rows
        return items if start == len(array) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def checksum_of(path) -> int:
    """Returns the CRC-32 of a file, which detects damage, but not manipulation."""
    checksum = 0
    with open(path, "rb") as file:
        while block := file.read(2**20):
            checksum = zlib.crc32(block, checksum)
    return checksum


def remove(path: pathlib.Path):
    with contextlib.suppress(OSError):
        path.unlink()

"""Features of many images or videos, computed once and kept on the disk for all epochs and runs.

A cache is a folder of its own below the given one, named by a digest of its key: the encoder, the digest of its
weights, the size and fit of the images, and whatever else the features depend on. In it lie shards of about a thousand
items, each an array and an index, `000001.npy` and `000001.json`. The index is written last and holds a checksum of the
array: a kill leaves whole shards, and only the items of the unfinished one are computed again.

An item is known by its name, size and time of change, as `make` and `rsync` know a file: a digest of the content would
read the whole data set at every start, which takes minutes where it is large and the features are only a few per cent
of it. The price: files copied without their times are computed again.
"""

import collections.abc
import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Mapping

import keras
import numpy as np

from pipelines.common import files
from pipelines.common.errors import UserError

FORMAT = 1  # of the files; part of every key
SECONDS_BETWEEN_LINES = 30

Identity = tuple[str, int, int]  # name, bytes, nanoseconds of the last change


class Features(collections.abc.Mapping):
    """Name -> float32[rows, units], read from the disk as it is used; in the order the items were given.

    `failures` says for the items that are left out why, as the end of a sentence.
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
    shard_items: int = 1000,
    shard_bytes: int = 2**26,
    say: Callable[[str], None] = print,
) -> Features:
    """The features of all items, from the cache where they are there, else computed and put there.

    Two processes may do so at once: the second waits, and then reads what the first has computed.

    Args:
        folder: where caches are, such as saved_models/captioning/cache.
        key: JSON values; all that the features depend on besides the item.
        items: name -> file. The same name with another size or time of change is another item.
        compute: given some of the files, yields in their order the features, a number [rows, units] with one row or
            more, or why there are none (a string, which is not kept: a later call tries again).
        shard_items, shard_bytes: a shard is written when it holds so many items, or so much.
        say: is told, a line at a time, of progress and of damaged files.

    Raises:
        UserError: the cache cannot be written.
        ValueError: `compute` gives an array of another shape.
    """
    wanted, failures = identities(items)
    cache = Cache(pathlib.Path(folder), key, say)
    stored = cache.read()
    if wanted.keys() - stored.keys():
        with cache.locked():
            stored = cache.read(repair=True)  # another process may have computed some while we waited
            missing = [identity for identity in wanted if identity not in stored]
            if missing:
                say(f"computing the features of {len(missing)} of {len(wanted)} items, to be kept in {cache.path}")
            computed = progress(compute([wanted[identity] for identity in missing]), len(missing), say)
            shard, size = [], 0
            for identity, features in zip(missing, computed, strict=True):
                if isinstance(features, str):
                    failures[identity[0]] = features
                    continue
                shard.append((identity, as_rows(features, identity[0])))
                size += shard[-1][1].nbytes
                if len(shard) >= shard_items or size >= shard_bytes:
                    stored |= cache.write(shard)
                    shard, size = [], 0
            if shard:
                stored |= cache.write(shard)
    arrays = {identity[0]: stored[identity] for identity in wanted if identity in stored}
    return Features(arrays, {name: failures[name] for name in items if name in failures})


def identities(items: Mapping) -> tuple[dict[Identity, os.PathLike | str], dict[str, str]]:
    """(identity -> file, name -> why the file cannot be read)."""
    found, failures = {}, {}
    for name, path in items.items():
        try:
            status = os.stat(path)
        except OSError as error:
            failures[name] = f"could not be read: {error.strerror or error}"
        else:
            found[name, status.st_size, status.st_mtime_ns] = path
    return found, failures


def as_rows(features, name: str) -> np.ndarray:
    rows = np.asarray(features, np.float32)
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"the features of {name} have the shape {rows.shape}, expected [rows, units], a row or more")
    return rows


def progress(computed: Iterable, count: int, say: Callable[[str], None]):
    """Passes on what is computed, with a bar on a terminal and a line every half minute otherwise."""
    bar = keras.utils.Progbar(count, unit_name="item") if count and sys.stdout.isatty() else None
    last = time.monotonic()
    for done, features in enumerate(computed, start=1):
        yield features
        if bar is not None:
            bar.update(done)
        elif time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            say(f"features of {done} of {count} items")


class Cache:
    """The shards of one key on the disk."""

    def __init__(self, folder: pathlib.Path, key: dict, say: Callable[[str], None]):
        self.key = {**key, "format": FORMAT}
        text = json.dumps(self.key, sort_keys=True)
        self.path = folder / hashlib.sha256(text.encode()).hexdigest()[:16]
        self.say = say

    def read(self, repair: bool = False) -> dict[Identity, np.ndarray]:
        """All that is stored, mapped into memory. With `repair`, for which the lock must be held, tells of damaged
        shards and removes them, and what a killed process left."""
        stored: dict[Identity, np.ndarray] = {}
        for index_file in sorted(self.path.glob("*.json")):
            if index_file.name == "key.json":
                continue
            shard = read_shard(index_file)
            if shard is not None:
                stored |= shard
            elif repair:
                self.say(f"{index_file.with_suffix('.npy')} is damaged: its features are computed again")
                remove(index_file)
        if repair:
            for left in self.path.glob(f"{files.PARTIAL}*"):
                remove(left)
            for array_file in self.path.glob("*.npy"):
                if not array_file.with_suffix(".json").exists():
                    remove(array_file)
        return stored

    def write(self, shard: list[tuple[Identity, np.ndarray]]) -> dict[Identity, np.ndarray]:
        """Stores some items as the next shard, and gives them as they are stored. The lock must be held."""
        number = 1 + max((int(path.stem) for path in self.path.glob("*.npy")), default=0)
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
            raise UserError(f"{array_file} does not read as it was written: the disk is damaged")
        return stored

    @contextlib.contextmanager
    def locked(self):
        """Makes the folder, and keeps other processes from writing to it; waits while one does. (The lock of a killed
        process is free.)"""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = open(self.path / ".lock", "a")  # noqa: SIM115 (closed below)
        except OSError as error:
            raise UserError(f"the feature cache {self.path} cannot be written: {error.strerror or error}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.say(f"another process computes features into {self.path}: waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            files.write_json(self.path / "key.json", self.key)  # for people
            yield


def read_shard(index_file: pathlib.Path) -> dict[Identity, np.ndarray] | None:
    """The items of a shard, float32[rows, units] each; None when the shard is damaged or incomplete."""
    array_file = index_file.with_suffix(".npy")
    try:
        index = json.loads(index_file.read_bytes())
        if checksum_of(array_file) != index["checksum"]:
            return None
        array = np.asarray(np.load(array_file, mmap_mode="r"))  # slices of a plain array cost less
        found, start = {}, 0
        for name, size, changed, rows in index["items"]:
            found[name, size, changed] = array[start : start + rows]
            start += rows
        return found if start == len(array) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def checksum_of(path) -> int:
    """The CRC-32 of a file: found out at the speed of reading, against damage, not against malice."""
    checksum = 0
    with open(path, "rb") as file:
        while block := file.read(2**20):
            checksum = zlib.crc32(block, checksum)
    return checksum


def remove(path: pathlib.Path):
    with contextlib.suppress(OSError):
        path.unlink()

"""Folders of a cache: one for each key, named by the key's digest, and locked while a process writes to it."""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterable

from pipelines.common import files
from pipelines.common.errors import UserError

Identity = tuple[str, int, int]  # name, bytes, modification time in nanoseconds


def digest(value) -> str:
    """Returns a digest of JSON values, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def folder_of(cache, key: dict) -> pathlib.Path:
    """Returns the folder of a key, JSON values, in a cache."""
    return pathlib.Path(cache) / digest(key)[:16]


@contextlib.contextmanager
def locked(folder: pathlib.Path, key: dict, kind: str, doing: str, log: Callable[[str], None]):
    """Creates a folder and locks it against other processes, after waiting for one that writes to it. (The system
    releases the lock of a killed process.)

    Args:
        key: written into the folder, for people.
        kind, doing: for messages: the kind of cache, and what a process does while it has the lock.
        log: called with a line if another process has the lock.

    Raises:
        UserError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "a")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise UserError(f"the {kind} {folder} cannot be written: {error.strerror or error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log(f"another process is {doing} {folder}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        files.write_json(folder / "key.json", key)
        yield


def identities(paths: Iterable) -> list[Identity]:
    """Returns name, size and modification time of files, by which `make` and `rsync` recognise them as well. Raises
    UserError if one cannot be read."""
    found = []
    for path in map(pathlib.Path, paths):
        try:
            status = os.stat(path)
        except OSError as error:
            raise UserError(f"{path} could not be read: {error.strerror or error}") from error
        found.append((path.name, status.st_size, status.st_mtime_ns))
    return found

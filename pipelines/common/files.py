"""Files: atomic writes, JSON, and which names in a folder are data.

Every file is written under a temporary name in the same folder, flushed to the disk and renamed, so that a kill, a
power cut or a full disk leaves the old file or the new one, never a part of one.
"""

import collections
import contextlib
import fcntl
import glob
import json
import os
import pathlib
import re
import shutil
import uuid
from collections.abc import Iterable, Sequence

from pipelines.common.errors import UserError

# Names, in lower case, that operating systems and tools give to files and folders of their own; others are hidden.
LEFT_BY_TOOLS = {
    "__macosx",
    "__pycache__",
    "@eadir",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
}

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
PARTIAL = ".partial-"  # prefix of temporary names; a run removes what a killed process left


def is_data(name: str) -> bool:
    """Returns whether a file or folder with this name may be data: it is not hidden, and not one that tools leave, such
    as .ipynb_checkpoints, __MACOSX, ._1.txt and Thumbs.db."""
    return not name.startswith(".") and name.lower() not in LEFT_BY_TOOLS


def data_files(folder, pattern: str = "*") -> list[pathlib.Path]:
    """Returns the files and folders in a folder that may be data, sorted by name.

    Pipes, sockets and devices are not: reading one may never end. (A path that is given by itself may be a pipe.)
    """
    found = (path for path in pathlib.Path(folder).glob(pattern) if is_data(path.name))
    return sorted(path for path in found if path.is_file() or path.is_dir() or not path.exists())


@contextlib.contextmanager
def atomic_path(path):
    """Yields a temporary path in the folder of `path`, with the same extension.

    At the end of the `with` block the file is renamed to `path`, or removed if the block raises. Raises UserError if
    the disk is full, or the folder cannot be written to.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f"{PARTIAL}{uuid.uuid4().hex[:12]}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise UserError(f"{path} could not be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def atomic_write(path, mode: str = "w"):
    """Yields an open file that is renamed to `path` at the end of the `with` block, or removed if the block raises.

    Args:
        mode: "w" (UTF-8, no newline translation) or "wb".
    """
    if mode not in ("w", "wb"):
        raise ValueError(f"mode is {mode!r}, expected 'w' or 'wb'")
    encoding, newline = (None, None) if mode == "wb" else ("utf-8", "")
    with atomic_path(path) as temporary, open(temporary, mode, encoding=encoding, newline=newline) as file:
        yield file


@contextlib.contextmanager
def partial_folder(path: pathlib.Path):
    """Yields a temporary folder beside `path`, which the `with` block fills and renames; it is removed if it is left.

    It is locked as long as it is in use: what a killed process has left of the same path is removed first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f"{PARTIAL}*-{glob.escape(path.name)}"):
        if (lock := lock_folder(left, wait=False)) is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)
    while True:
        temporary = path.with_name(f"{PARTIAL}{uuid.uuid4().hex[:12]}-{path.name}")
        temporary.mkdir()
        lock = lock_folder(temporary, wait=True)
        if temporary.is_dir():  # another process may have removed it before it was locked
            break
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def lock_folder(folder, wait: bool) -> int | None:
    """Locks a folder for this process, until the descriptor that is returned is closed, as it is when the process ends.

    Returns None if the folder does not exist, if another process has locked it and `wait` is False, or if the disk does
    not support locks.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        if os.path.samestat(os.fstat(descriptor), os.stat(folder)):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def sync_tree(folder: pathlib.Path):
    """Flushes all files in `folder` and its subfolders to the disk."""
    for entry in folder.rglob("*"):
        if entry.is_file():
            with open(entry, "rb") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(entry)
    sync_folder(folder)


def sync_folder(folder):
    """Makes renames in `folder` durable: without it, they may be lost in a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path, value):
    with atomic_write(path) as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def write_tsv(path, header: str, rows: Iterable[Sequence]):
    """Writes a table of tab-separated values. White space in a cell becomes one space.

    Args:
        header: Names of the columns, separated by spaces.
        rows: The cells of each row.
    """
    with atomic_write(path) as file:
        for row in [header.split(), *rows]:
            file.write("\t".join(" ".join(str(cell).split()) for cell in row) + "\n")


def parse_json(text: str):
    """Returns the value of a JSON text.

    Raises ValueError if the text is not JSON, is nested too deeply, has a field twice, or has a lone surrogate (half of
    a character, which cannot be written as UTF-8).
    """
    try:
        value = json.loads(text, object_pairs_hook=unique_fields)
        if SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeEncodeError as error:
        found = ord(error.object[error.start])
        raise ValueError(f"\\u{found:04x} is a lone surrogate, half of a character") from error
    except RecursionError as error:
        raise ValueError("its objects or lists are nested too deeply") from error


def unique_fields(pairs: list[tuple[str, object]]) -> dict:
    """Returns the object of a JSON text; ValueError if a field occurs twice, of which json.loads would keep one."""
    row = dict(pairs)
    if len(row) < len(pairs):
        twice, _ = collections.Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the field {twice} occurs twice")
    return row


def read_json(path):
    """Returns the value in a JSON file. Raises UserError if the file cannot be read or is not JSON."""
    try:
        with open(path, encoding="utf-8") as file:
            return parse_json(file.read())
    except OSError as error:
        raise UserError(f"{path} could not be read: {error.strerror or error}") from error
    except ValueError as error:  # broken JSON and broken UTF-8 alike
        raise UserError(f"{path} is not a JSON file: {error}") from error


def publish(source, target):
    """Sets the content of `target` to that of `source`, atomically; as a link where the disk supports it."""
    source = pathlib.Path(source)
    with atomic_path(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            temporary.write_bytes(source.read_bytes())

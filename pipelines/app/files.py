"""Files of the page: its temporary folder, and fields whose files are passed on as they were uploaded."""

import contextlib
import os
import pathlib
import shutil
import threading
import time
import uuid

from pipelines.app import limits
from pipelines.common.errors import UserError


class Folder:
    """The temporary folder of the page. Files that were there when `start` was called are kept; others are deleted when
    they are limits.FILE_AGE seconds old."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.kept: frozenset[pathlib.Path] = frozenset()
        self.stopped = threading.Event()

    def new(self, name: str) -> pathlib.Path:
        """Returns a path for a file of this name, in a folder of its own."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)  # systems delete old temporary folders
        folder = self.path / uuid.uuid4().hex
        folder.mkdir()
        return folder / name

    def copy(self, file: pathlib.Path) -> pathlib.Path:
        """Returns a copy of a file, which the page may show."""
        return pathlib.Path(shutil.copyfile(file, self.new(file.name)))

    def start(self):
        """Deletes old files from now on."""
        self.kept = frozenset(self.path.rglob("*"))
        threading.Thread(target=self._run, name="files", daemon=True).start()

    def _run(self):
        while not self.stopped.wait(60):
            self.sweep(time.time() - limits.FILE_AGE)

    def sweep(self, before: float):
        """Deletes files that have not changed since a time, and empty folders."""
        for path in sorted(self.path.rglob("*"), reverse=True):  # the files of a folder before the folder
            with contextlib.suppress(OSError):  # a folder that is not empty, or a file that is gone
                if path in self.kept or max(path.lstat().st_mtime, path.lstat().st_ctime) >= before:
                    continue
                if path.is_dir():
                    path.rmdir()
                else:
                    path.unlink()


def as_uploaded(field):
    """Returns an image or video field whose value is the path of the file as it was uploaded.

    Gradio would decode it and store it anew. (A subclass with another `preprocess` makes Gradio write a file beside its
    module.)
    """
    field.preprocess = lambda payload: payload.path if payload else None
    return field


def require_size(path: str | None, limit: int, what: str) -> pathlib.Path:
    """Returns the path of an uploaded file. Raises UserError if there is none, or it is too large."""
    if not path:
        raise UserError(f"there is no {what} yet: choose a file or an example")
    size = os.path.getsize(path)
    if size > limit:
        raise UserError(f"{pathlib.Path(path).name} has {size:,} bytes: expected at most {limit:,}")
    return pathlib.Path(path)


def require_utf8(text: str, what: str):
    """Raises UserError if a text has half of a character: JSON can have that, UTF-8 cannot."""
    if text.encode(errors="replace").decode() != text:
        raise UserError(f"{what} has half of a character (a lone surrogate), which is not UTF-8")

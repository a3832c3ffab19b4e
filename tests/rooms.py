"""Rooms: small runs that many tests look at, made once however many processes of pytest-xdist share the tests."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path


def share(factory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder that make(folder) has filled, in this process or in another one, for which this one then waited.

    Tests may read and extend what is in it; what a test changes belongs in a copy (see `own`).
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # that of all workers
    folder, made = base / name, base / f"{name}.made"
    with open(base / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed half-way
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


def own(factory, folder: Path) -> Path:
    """A copy of a shared run for this process: commands write into the run that they are given."""
    return shutil.copytree(folder, factory.mktemp(folder.parent.name) / folder.name)

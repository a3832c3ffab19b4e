"""Shared runs: small runs that many tests read, made once for all processes of pytest-xdist."""

import dataclasses
import fcntl
import importlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class SharedRun:
    """A run, and the folder of the data on which it was trained."""

    data: Path
    run: Path


def run_command(task: str, *arguments) -> int:
    """Runs a command of a pipeline in this process, and returns its exit status."""
    main = importlib.import_module(f"pipelines.{task}.__main__").main
    return main([str(argument) for argument in arguments])


def make_run(factory, name: str, make: Callable[[Path], None]) -> SharedRun:
    """Returns the run that make(folder) has written to folder/run, with the data in folder/data; see `make_once`."""
    folder = make_once(factory, name, make)
    return SharedRun(folder / "data", own_copy(factory, folder / "run"))


def make_once(factory, name: str, make: Callable[[Path], None]) -> Path:
    """Returns the folder that make(folder) has filled, in this process or in another one.

    Tests may read the folder and add files to it. A test that changes files works on a copy (see `own_copy`).
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # the parent folder of all workers
    folder, made = base / name, base / f"{name}.made"
    with open(base / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)  # left by a worker that failed
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


def own_copy(factory, folder: Path) -> Path:
    """Returns a copy of a shared run for this process, because commands write into the run that they read."""
    return shutil.copytree(folder, factory.mktemp(folder.parent.name) / folder.name)

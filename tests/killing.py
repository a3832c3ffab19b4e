"""Kills a training process with SIGKILL, starts it again, and compares its run with one that was never killed.

The killed processes are forked from a process that has only imported TensorFlow, because the import takes longer than a
small training. The process that finishes the training is the real command, in a Python process of its own: its string
hashes differ, which must not change the result.
"""

import contextlib
import csv
import json
import multiprocessing
import os
import random
import runpy
import signal
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 600  # seconds
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tensorflow", "keras"])


def start(module: str, arguments: list, log: Path) -> BaseProcess:
    """Starts `python -m module arguments` in a process group of its own. Its output is appended to `log`."""
    process = FORKS.Process(target=execute, args=(module, [*map(str, arguments)], str(log)), daemon=True)
    process.start()
    return process


def kill(process: BaseProcess):
    """Kills the process group of the process, unless it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.join()


def execute(module: str, arguments: list[str], log: str):
    os.setsid()
    os.chdir(ROOT)
    with open(log, "a") as output:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(output.fileno(), stream.fileno())
    np.random.seed()  # otherwise all forked processes would draw the same numbers
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def finish(module: str, arguments: list, log: Path):
    """Runs the module to its end and checks its exit status."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with open(log, "a") as output:
        done = subprocess.run(command, cwd=ROOT, stdout=output, stderr=output, timeout=TIMEOUT)
    assert done.returncode == 0, f"exit status {done.returncode} of {command}:\n{log.read_text()[-4000:]}"


def modification_times(folder: Path, pattern: str = "*") -> dict[str, int]:
    """Returns the time of the last change of every file whose name matches the pattern."""
    found = {}
    for path in folder.rglob(pattern):
        try:
            found[str(path)] = path.stat().st_mtime_ns
        except FileNotFoundError:  # replaced in the meantime
            continue
    return found


def kill_after(module: str, arguments: list, folder: Path, delay: float, log: Path, pattern: str = "*") -> bool:
    """Kills the module `delay` seconds after it has written a file that matches the pattern into the run folder.

    Returns False if the module ended before.
    """
    before = modification_times(folder, pattern)
    process = start(module, arguments, log)
    deadline = time.monotonic() + TIMEOUT
    while process.exitcode is None and modification_times(folder, pattern) == before:
        if time.monotonic() > deadline:
            kill(process)
            raise AssertionError(f"nothing was written:\n{log.read_text()[-4000:]}")
        time.sleep(0.005)
    process.join(delay)
    if process.exitcode is None:
        kill(process)
    if process.exitcode == -signal.SIGKILL:
        return True
    assert process.exitcode == 0, f"exit status {process.exitcode}:\n{log.read_text()[-4000:]}"
    return False


def kill_and_resume(
    module: str,
    arguments: list,
    folder: Path,
    kills: int,
    longest_delay: float,
    log: Path,
    seed: int = 0,
    pattern: str = "*",
) -> int:
    """Kills the module at random moments and resumes it, then lets it finish. Returns the number of kills."""
    draw, killed = random.Random(seed), 0
    for _ in range(kills):
        if not kill_after(module, arguments, folder, draw.uniform(0, longest_delay), log, pattern):
            break
        killed += 1
    finish(module, arguments, log)
    return killed


def check_command(
    task: str, command: list, folder: Path, kills: int, longest_delay: float, pattern: str = "step-*.npz"
) -> int:
    """Compares a run that is killed `kills` times with one that is not.

    The first kill hits a process that has trained the other run before.

    Returns:
        The number of processes that continued from a checkpoint.
    """
    log, whole, killed = folder / "log", folder / "whole", folder / "killed"
    killed.mkdir()
    both_runs = [f"pipelines.{task}", json.dumps([[*map(str, command), "--run", str(run)] for run in (whole, killed)])]
    taken = kill_after("tests.in_turn", both_runs, killed, longest_delay / 2, log, pattern)
    again = [*command, "--run", killed]
    taken += kill_and_resume(f"pipelines.{task}", again, killed, kills - 1, longest_delay, log, pattern=pattern)
    assert taken == kills, f"the training was over after {taken} kills"
    assert_same_run(whole, killed)
    return log.read_text().count("going on after step")


def weights(file: Path) -> dict[str, np.ndarray]:
    found = {}
    with h5py.File(file) as archive:
        archive.visititems(
            lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
        )
    return found


def assert_same_run(one: Path, other: Path):
    """Checks that weights are equal to the last bit, and histories except for the columns of seconds."""
    first, second = weights(one / "model.weights.h5"), weights(other / "model.weights.h5")
    assert first.keys() == second.keys() and first
    for name, value in first.items():
        assert value.tobytes() == second[name].tobytes(), f"{name} differs"
    assert history(one) == history(other)


def history(run: Path) -> list[dict]:
    with open(run / "history.csv", newline="") as file:
        return [{k: v for k, v in row.items() if "seconds" not in k} for row in csv.DictReader(file)]

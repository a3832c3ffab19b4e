"""Kills a training process with SIGKILL, starts it again, and compares its run with one that was never killed.

The processes that are killed are forked from one that has TensorFlow imported and has done nothing with it: importing
takes longer than a small training. The one that ends the training is the real command, in a Python of its own: it
hashes strings otherwise, which must not be noticed.
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
LONGEST = 600  # seconds that no process takes
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tensorflow", "keras"])


def start(module: str, arguments: list, log: Path) -> BaseProcess:
    """`python -m module arguments` in a process group of its own, with what it prints at the end of `log`."""
    process = FORKS.Process(target=execute, args=(module, [*map(str, arguments)], str(log)), daemon=True)
    process.start()
    return process


def kill(process: BaseProcess):
    """Kills its group; one that has come to its end by itself is left as it is."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.join()


def execute(module: str, arguments: list[str], log: str):
    os.setsid()
    os.chdir(ROOT)
    with open(log, "a") as output:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(output.fileno(), stream.fileno())
    np.random.seed()  # otherwise all would draw what the process they are forked from would
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def finish(module: str, arguments: list, log: Path):
    """Runs the module to its end, which must be a good one."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with open(log, "a") as output:
        done = subprocess.run(command, cwd=ROOT, stdout=output, stderr=output, timeout=LONGEST)
    assert done.returncode == 0, f"exit status {done.returncode} of {command}:\n{log.read_text()[-4000:]}"


def footprints(folder: Path, sign: str = "*") -> dict[str, int]:
    """Every file's time of change, of names like `sign`: another answer means that somebody has written."""
    found = {}
    for path in folder.rglob(sign):
        try:
            found[str(path)] = path.stat().st_mtime_ns
        except FileNotFoundError:  # replaced while we look
            continue
    return found


def kill_after(module: str, arguments: list, folder: Path, delay: float, log: Path, sign: str = "*") -> bool:
    """Starts the module, waits until it writes a file like `sign` into the run folder, and `delay` seconds, and kills
    it; False when it had come to its end before."""
    before = footprints(folder, sign)
    process = start(module, arguments, log)
    deadline = time.monotonic() + LONGEST
    while process.exitcode is None and footprints(folder, sign) == before:
        if time.monotonic() > deadline:
            kill(process)
            raise AssertionError(f"no sign of life:\n{log.read_text()[-4000:]}")
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
    sign: str = "*",
) -> int:
    """Kills the module at random moments and resumes it, then lets it finish; gives how many kills it took."""
    draw, killed = random.Random(seed), 0
    for _ in range(kills):
        if not kill_after(module, arguments, folder, draw.uniform(0, longest_delay), log, sign):
            break
        killed += 1
    finish(module, arguments, log)
    return killed


def check_command(
    task: str, command: list, folder: Path, kills: int, longest_delay: float, sign: str = "step-*.npz"
) -> int:
    """Trains a run that is killed so many times (the first time in the process that has trained a whole one before),
    and compares the two; gives how many of the processes went on from a checkpoint."""
    log, whole, killed = folder / "log", folder / "whole", folder / "killed"
    killed.mkdir()
    both = [f"pipelines.{task}", json.dumps([[*map(str, command), "--run", str(run)] for run in (whole, killed)])]
    taken = kill_after("tests.in_turn", both, killed, longest_delay / 2, log, sign)
    again = [*command, "--run", killed]
    taken += kill_and_resume(f"pipelines.{task}", again, killed, kills - 1, longest_delay, log, sign=sign)
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
    """The same weights to the last bit, and the same history but for the columns of seconds."""
    first, second = weights(one / "model.weights.h5"), weights(other / "model.weights.h5")
    assert first.keys() == second.keys() and first
    for name, value in first.items():
        assert value.tobytes() == second[name].tobytes(), f"{name} differs"
    assert history(one) == history(other)


def history(run: Path) -> list[dict]:
    with open(run / "history.csv", newline="") as file:
        return [{k: v for k, v in row.items() if "seconds" not in k} for row in csv.DictReader(file)]

"""Kills a training process with SIGKILL, starts it again, and compares its run with one that was never killed."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 600  # seconds that no process takes


def start(command: list[str], log: Path) -> subprocess.Popen:
    """The command in a process group of its own, in the checkout, with what it prints at the end of `log`."""
    with open(log, "a") as output:
        return subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=output, start_new_session=True, env={**os.environ}
        )


def finish(command: list[str], log: Path):
    """Runs the command to its end, which must be a good one."""
    status = start(command, log).wait(timeout=LONGEST)
    assert status == 0, f"exit status {status} of {' '.join(command)}:\n{log.read_text()[-4000:]}"


def footprints(folder: Path, sign: str = "*") -> dict[str, int]:
    """Every file's time of change, of names like `sign`: another answer means that somebody has written."""
    found = {}
    for path in folder.rglob(sign):
        try:
            found[str(path)] = path.stat().st_mtime_ns
        except FileNotFoundError:  # replaced while we look
            continue
    return found


def kill_after(command: list[str], folder: Path, delay: float, log: Path, sign: str = "*") -> bool:
    """Starts the command, waits until it writes a file like `sign` into the run folder, and `delay` seconds, and kills
    it; False when it had come to its end before."""
    before = footprints(folder, sign)
    process = start(command, log)
    deadline = time.monotonic() + LONGEST
    while process.poll() is None and footprints(folder, sign) == before:
        assert time.monotonic() < deadline, f"no sign of life:\n{log.read_text()[-4000:]}"
        time.sleep(0.005)
    try:
        status = process.wait(timeout=delay)
        assert status == 0, f"exit status {status}:\n{log.read_text()[-4000:]}"
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def kill_and_resume(
    command: list[str], folder: Path, kills: int, longest_delay: float, log: Path, seed: int = 0, sign: str = "*"
) -> int:
    """Kills the command at random moments and resumes it, then lets it finish; gives how many kills it took."""
    draw, killed = random.Random(seed), 0
    for _ in range(kills):
        if not kill_after(command, folder, draw.uniform(0, longest_delay), log, sign):
            break
        killed += 1
    finish(command, log)
    return killed


BOTH = """
import importlib, json, sys
task, command, *runs = json.loads(sys.argv[1])
main = importlib.import_module(f"pipelines.{task}.__main__").main
sys.exit(any([main([*command, "--run", run]) for run in runs]))
"""


def check_command(
    task: str, command: list, folder: Path, kills: int, longest_delay: float, sign: str = "step-*.npz"
) -> int:
    """Trains a run that is killed so many times (the first time in the process that has trained a whole one before),
    and compares the two; gives how many of the processes went on from a checkpoint."""
    log, whole, killed = folder / "log", folder / "whole", folder / "killed"
    command = [*map(str, command)]
    killed.mkdir()
    both = python("-c", BOTH, json.dumps([task, command, str(whole), str(killed)]))
    again = python("-m", f"pipelines.{task}", *command, "--run", killed)
    taken = kill_after(both, killed, longest_delay / 2, log, sign)
    taken += kill_and_resume(again, killed, kills - 1, longest_delay, log, sign=sign)
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


def python(*arguments) -> list[str]:
    return [sys.executable, *map(str, arguments)]

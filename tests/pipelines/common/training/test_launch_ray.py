"""A training on a Ray cluster of this machine, a worker of which is killed."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tests import killing

TIMEOUT = 900  # seconds, on a machine with other work


def worker_process(run: pathlib.Path, index: int) -> int | None:
    """Returns the process id of a worker, which TF_CONFIG numbers."""
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:  # it has ended
            continue
        if f"train\0{run}".encode() in command and f'"index": {index}'.encode() in environment:
            return int(process.name)
    return None


@pytest.mark.slow
def test_a_worker_that_is_killed(tmp_path):
    pytest.importorskip("ray.train", reason="Ray is not installed: pip install '.[cluster]'")
    run, log = tmp_path / "run", tmp_path / "log"
    train = ["tests.pipelines.common.training.small_cluster", "train", str(run), "--pause", "0.3"]
    options = ["--options", '{"strategy": "multi-worker", "epochs": 3, "checkpoint_steps": 2}']
    launcher = ["pipelines.launch_ray", "--storage", str(tmp_path / "ray"), "--restarts", "1", "--"]
    with open(log, "w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *launcher, sys.executable, "-m", *train, *options],
            cwd=killing.ROOT,
            env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"},
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + TIMEOUT
        while not list(run.glob("checkpoints/step-*.npz")):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-5000:]
            time.sleep(0.1)
        os.kill(worker_process(run, 1), signal.SIGKILL)
        assert process.wait(TIMEOUT) == 0, log.read_text()[-5000:]
    finally:
        process.terminate()
        process.wait()
    text = log.read_text()
    assert "worker 1 ended with status -9" in text and "going on after step" in text and "finished 42" in text

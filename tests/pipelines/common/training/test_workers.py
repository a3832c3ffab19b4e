"""Processes that train together, on the loopback interface, compared with two logical CPUs of one process."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from pipelines import launch
from tests import killing

SMALL = "tests.pipelines.common.training.small_cluster"
CASES = [
    *({"optimizer": name} for name in ("adam", "lazy-adam", "adamw", "sgd", "rmsprop", "lion")),
    {"weight_decay": 0.01, "ema": 0.5, "accumulate": 3},
    {"xla": True, "recurrent": True},
    {"sparse_from": 8},
    {"sparse_from": 8, "compress": "float16"},
    {"precision": "mixed_bfloat16"},
    {"precision": "mixed_float16"},
]
KILLS = 20
TIMEOUT = 1800  # seconds, on a machine with other work
OPTIONS = {"epochs": 3, "learning_rate": 0.02, "ema": 0.9, "accumulate": 2, "checkpoint_steps": 3}


@pytest.fixture
def start():
    """Returns a function that starts `python -m module` with pipelines.launch; one worker is a process without it. What
    a test that fails leaves is ended."""
    started = []

    def launched(module: str, *arguments, log, workers: int = 2, restarts: int = 0) -> subprocess.Popen:
        command = [sys.executable, "-m", module, *map(str, arguments)]
        if workers > 1:
            launcher = [
                sys.executable,
                "-m",
                "pipelines.launch",
                "--workers",
                str(workers),
                "--restarts",
                str(restarts),
            ]
            command = [*launcher, "--", *command]
        with open(log, "a") as output:
            started.append(subprocess.Popen(command, cwd=killing.ROOT, stdout=output, stderr=output))
        return started[-1]

    yield launched
    for process in started:
        process.terminate()  # the launcher ends its workers
    for process in started:
        process.wait(TIMEOUT)


def finish(process: subprocess.Popen, log, expected: int = 0):
    status = process.wait(TIMEOUT)
    assert status == expected, f"exit status {status}:\n{log.read_text()[-6000:]}"


def small(run, strategy: str, **changes) -> list:
    text = json.dumps({**OPTIONS, "strategy": strategy, **changes})
    return ["train", run, "--options", text, *(["--devices", 2] if strategy == "mirrored" else [])]


def processes_of(launcher: subprocess.Popen) -> list[int]:
    """Returns the process ids of the workers, the chief first."""
    with open(f"/proc/{launcher.pid}/task/{launcher.pid}/children") as file:
        return sorted(map(int, file.read().split()))


def wait_for(condition, launcher: subprocess.Popen, log, pause: float = 0.01):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert launcher.poll() is None and time.monotonic() < deadline, log.read_text()[-6000:]
        time.sleep(pause)


@pytest.mark.extra
def test_updates_of_two_workers_are_those_of_two_replicas(start, tmp_path):
    """All variables of the training, to the last bit, with dropout, an uneven batch, and one row for two.

    (test_loop.py compares two replicas with one, without dropout.)
    """
    log, cases = tmp_path / "log", json.dumps(CASES)
    both = [
        start(SMALL, "update", tmp_path / "workers.npz", "multi-worker", cases, log=log),
        start(SMALL, "update", tmp_path / "replicas.npz", "mirrored", cases, log=log, workers=1),
    ]
    for process in both:
        finish(process, log)
    workers, replicas = np.load(tmp_path / "workers.npz"), np.load(tmp_path / "replicas.npz")
    assert workers.files == replicas.files and len(workers.files) > 15 * len(CASES)
    xla = [f"{i}/" for i, case in enumerate(CASES) if case.get("xla")]
    different = [name for name in workers.files if workers[name].tobytes() != replicas[name].tobytes()]
    assert [name for name in different if not name.startswith(tuple(xla))] == []
    for name in different:  # XLA may compile the last bit differently
        np.testing.assert_allclose(workers[name], replicas[name], rtol=0, atol=1e-7)


@pytest.mark.extra
def test_workers_that_are_stopped_killed_and_frozen(start, tmp_path):
    """A training of which one worker is told to stop; whose worker, chief, and both are killed, the chief while it
    writes a checkpoint; and whose worker is frozen; ends as one of two replicas that was not."""
    log, run = tmp_path / "log", tmp_path / "workers"
    whole = start(SMALL, *small(tmp_path / "replicas", "mirrored", epochs=6), log=tmp_path / "replicas.log", workers=1)
    command = [*small(run, "multi-worker", epochs=6), "--pause", 0.2]

    def checkpoints(pattern="step-*.npz"):
        return sorted(path.name for path in run.glob(f"checkpoints/{pattern}"))

    def trained(launcher):
        before = checkpoints()
        wait_for(lambda: checkpoints()[-1:] > before[-1:], launcher, log)

    interrupted = start(SMALL, *command, log=log)
    trained(interrupted)
    os.kill(processes_of(interrupted)[1], signal.SIGTERM)  # as all stop after the same step, both end with 130
    finish(interrupted, log, 130)
    said = log.read_text()
    assert said.count("interrupted; the same command resumes where it stopped") == 2

    launcher = start(SMALL, *command, log=log, restarts=4)
    for number, victims in enumerate([(1,), (0,), (0, 1)]):
        trained(launcher)
        if victims == (0,):
            wait_for(lambda: checkpoints(".partial-*"), launcher, log, pause=0)
        workers = processes_of(launcher)
        for victim in victims:
            os.kill(workers[victim], signal.SIGKILL)
        wait_for(lambda n=number: log.read_text().count("starting all again") > n, launcher, log)
    trained(launcher)
    lost = log.read_text().count("another worker was lost")
    os.kill(processes_of(launcher)[1], signal.SIGSTOP)
    frozen_at = time.monotonic()
    wait_for(lambda: log.read_text().count("another worker was lost") > lost, launcher, log)
    noticed = time.monotonic() - frozen_at
    finish(launcher, log)
    finish(whole, tmp_path / "replicas.log")
    killing.assert_same_run(tmp_path / "replicas", run)
    assert not list(run.rglob(".partial-*"))
    assert noticed < 30, f"noticed after {noticed:.1f} s"  # 10 s at rest


@pytest.mark.extra
def test_an_error_of_a_training_ends_all_workers(start, tmp_path):
    log = tmp_path / "log"
    process = start(
        SMALL, *small(tmp_path / "run", "multi-worker", learning_rate=3e38, clip_norm=0), log=log, restarts=3
    )
    finish(process, log, 2)
    assert "training stopped: the loss or its gradient is not finite" in log.read_text()
    assert "starting all again" not in log.read_text()


@pytest.mark.extra
@pytest.mark.parametrize("task", ["sentiment", "translation", "captioning", "video"])
def test_the_sample_of_a_pipeline(start, tmp_path, task):
    """A part of an epoch of two workers is that of two replicas."""
    log = tmp_path / "log"
    arguments = ["train", "sample", "--epochs", "0.2"]
    replicas = [*arguments, "--strategy", "mirrored", "--run", tmp_path / "replicas" / "run"]
    both = [
        start("tests.on_two_cpus", f"pipelines.{task}", *replicas, log=log, workers=1),
        start(f"pipelines.{task}", *arguments, "--strategy", "multi-worker", "--run", tmp_path / "run", log=log),
    ]
    for process in both:
        finish(process, log)
    killing.assert_same_run(tmp_path / "replicas" / "run", tmp_path / "run")


@pytest.mark.slow
def test_twenty_kills(start, tmp_path):
    log, run = tmp_path / "log", tmp_path / "workers"
    options = {"epochs": 60, "checkpoint_minutes": 0.004}
    whole = start(SMALL, *small(tmp_path / "replicas", "mirrored", **options), log=log, workers=1)
    draw = np.random.RandomState(0)
    launcher = start(SMALL, *small(run, "multi-worker", **options), "--pause", 0.1, log=log, restarts=KILLS)
    for number in range(KILLS):
        before = set(run.glob("checkpoints/step-*.npz"))
        wait_for(lambda before=before: set(run.glob("checkpoints/step-*.npz")) - before, launcher, log)
        time.sleep(draw.uniform(0, 3))
        workers = processes_of(launcher)
        with contextlib.suppress(ProcessLookupError):
            os.kill(workers[draw.randint(len(workers))], signal.SIGKILL)
        wait_for(lambda n=number: log.read_text().count("starting all again") > n, launcher, log)
    finish(launcher, log)
    finish(whole, log)
    killing.assert_same_run(tmp_path / "replicas", run)


def test_the_launcher_returns_the_status_of_its_workers(tmp_path):
    """0 if all succeed; an error at once; 75 after all restarts; and the worker that remains is killed."""
    attempts = tmp_path / "attempts"
    program = (
        "import json, os, sys, time; i = json.loads(os.environ['TF_CONFIG'])['task']['index'];"
        f"open({str(attempts)!r}, 'a').write(str(i)); "
    )

    def status(code: str, restarts: int = 0) -> int:
        attempts.unlink(missing_ok=True)
        return launch.launch([sys.executable, "-c", program + code], 2, restarts)

    assert status("sys.exit(0)") == 0 and sorted(attempts.read_text()) == ["0", "1"]
    assert status("sys.exit(2 if i else 75)", 3) == 2 and len(attempts.read_text()) == 2
    assert status("sys.exit(75)", 2) == 75 and len(attempts.read_text()) == 6
    assert status("os.kill(os.getpid(), 9) if i else sys.exit(75)", 1) == 75 and len(attempts.read_text()) == 4


def test_the_launcher_kills_a_worker_that_does_not_end(monkeypatch):
    monkeypatch.setattr(launch, "GRACE", 0.3)
    code = "import os, sys, time, json; i = json.loads(os.environ['TF_CONFIG'])['task']['index'];"
    begin = time.monotonic()
    assert launch.launch([sys.executable, "-c", f"{code} time.sleep(60) if i else sys.exit(2)"], 2, 3) == 2
    assert time.monotonic() - begin < 30


def test_the_launcher_passes_signals_on(tmp_path):
    code = (
        "import os, pathlib, signal, sys, time; signal.signal(signal.SIGTERM, lambda *unused: sys.exit(130));"
        f"pathlib.Path({str(tmp_path)!r}, str(os.getpid())).touch(); time.sleep(60)"
    )

    def interrupt():
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    before = signal.getsignal(signal.SIGTERM)
    assert launch.launch([sys.executable, "-c", code], 2, 3) == 130
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == before

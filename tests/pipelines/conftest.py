"""Fixtures for the tests of all pipelines: their commands, in this process, and their shared runs."""

import functools
import io
import json
import sys
import types
from pathlib import Path

import pytest

from tests import shared_runs
from tests.pipelines.captioning.conftest import shared as captioning_run  # noqa: F401 (fixtures)
from tests.pipelines.sentiment.conftest import shared as sentiment_run  # noqa: F401
from tests.pipelines.translation.conftest import shared as translation_run  # noqa: F401
from tests.pipelines.video.conftest import shared as video_run  # noqa: F401

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def task(request) -> str:
    """Returns the pipeline of the test: that of its folder, unless the test is parametrized by `task`."""
    return request.path.relative_to(HERE).parts[0]


@pytest.fixture(scope="module")
def command(task):
    """Returns a function that runs a command of the pipeline in this process, and returns its exit status."""
    return functools.partial(shared_runs.run_command, task)


@pytest.fixture
def shared(task, request) -> shared_runs.SharedRun:
    """Returns the shared run of the pipeline. In the folder of a pipeline, its own fixture replaces this one."""
    return request.getfixturevalue(f"{task}_run")


@pytest.fixture
def refused_lines(command, tiny, tmp_path, capsys):
    """Returns a function that runs `train` on data, which must be refused, and returns the lines of standard error."""

    def refused_lines(data, *arguments) -> list[str]:
        run = tmp_path / "run"
        capsys.readouterr()
        assert command("train", "sample", "--data", data, "--run", run, *tiny, *arguments) == 2
        out, err = capsys.readouterr()
        assert "Traceback" not in err and out == ""
        assert not run.exists()  # the next try, with better data, is not "another config"
        return err.splitlines()

    return refused_lines


@pytest.fixture
def refused(refused_lines):
    """Returns a function that runs `train` on data, which must be refused, and returns the message."""
    return lambda data, *arguments: refused_lines(data, *arguments)[-1]


@pytest.fixture
def lines(capsys):
    """Returns a function that returns the JSON objects on standard output, which must contain nothing else."""
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def feed(monkeypatch):
    """Returns a function that makes its argument, bytes, the standard input."""

    def feed(content: bytes):
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: False))

    return feed

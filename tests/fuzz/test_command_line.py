"""Whatever the arguments are, a command ends with a status and at most one sentence about an error, not a traceback.

Training is replaced: only what is decided before it is tried. The runs do not exist, or are broken.
"""

import contextlib
import dataclasses
import importlib
import io
import os
import sys
import types

import pytest
from hypothesis import strategies as st

from pipelines.common.config import flag, groups
from tests.fuzz.fuzzing import check, damaged, recorded_writes, time_limit

TASKS = ("captioning", "sentiment", "translation", "video")
TRAINING = (*(f"pipelines.{task}.train" for task in TASKS), "pipelines.sentiment.language_model.train")
VALUES = st.sampled_from(
    [
        *("0", "1", "-1", "1.5", "nan", "inf", "-inf", "1e999", "9" * 30, "None", "True", "", " ", "-", "--", "lstm"),
        *("no-run", "empty", "broken", "broken/config.json", "broken/", "/dev/null", "~", "a" * 300, "[a]*?", "\\"),
        *("a\0b", "\udcff", "é", "sample", "tfds:", "tfds:no/such:1", "data.csv", "--help", "-h"),
    ]
) | st.text(max_size=5)


def flags_of(module) -> list[str]:
    """Returns the flags of a pipeline's configuration and commands."""
    kinds = [module.Config, *groups(module.Config).values(), module.Evaluate, module.Predict]
    names = [field.name for kind in kinds for field in dataclasses.fields(kind)]
    return [*map(flag, names), "--data", "--from", "--to", "--no-quoting", "--temperature", "--top-k", "--prefix"]


@st.composite
def command_lines(draw, module) -> list[str]:
    """Arguments of a pipeline: mostly a command and known flags with values."""
    name = draw(st.sampled_from(list(module.COMMANDS)))
    arguments = [name, *([draw(st.sampled_from(list(module.PRESETS)))] if name in ("train", "pretrain") else [])]
    required = {"predict": "--model", "fine-tune": "--from"}.get(name, "--run")
    run = st.sampled_from(["no-run", "empty", "broken"])
    if draw(st.booleans()):
        arguments += [required, draw(run | VALUES)]
    for _ in range(draw(st.integers(0, 3))):
        option, value = draw(st.sampled_from(flags_of(module))), draw(VALUES)
        arguments += draw(st.sampled_from([[option, value], [f"{option}={value}"], [option], [value]]))
    return arguments if draw(st.integers(0, 9)) else draw(st.permutations(arguments) | st.lists(VALUES, max_size=4))


def ends_in_order(folder, example, main):
    """Checks the exit status and the output of a command line, in a folder with runs that cannot be used."""
    arguments, config = example
    for name in ("empty", "broken"):
        (folder / name).mkdir()
    (folder / "broken" / "config.json").write_bytes(config)
    (folder / "broken" / "model.weights.h5").write_bytes(b"")
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(folder))
        stack.enter_context(contextlib.redirect_stdout(output))
        stack.enter_context(contextlib.redirect_stderr(errors))
        stack.enter_context(time_limit())
        writes = stack.enter_context(recorded_writes())
        status = main(arguments)
    assert status in (0, 1, 2)
    assert "Traceback" not in errors.getvalue()
    assert status == 0 or (errors.getvalue() + output.getvalue()).strip()
    assert not writes
    assert sorted(os.listdir(folder)) == ["broken", "empty"]


@pytest.fixture(params=TASKS)
def task(request, monkeypatch):
    """The module of a pipeline's command line, with a training that does nothing."""
    for name in TRAINING:
        monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(train=lambda *unused: None))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    module = importlib.import_module(f"pipelines.{request.param}.__main__")
    for name in ("evaluate", "export", "predict", "release"):
        importlib.import_module(f"pipelines.{request.param}.{name}")
    return module


def fuzz(task, examples: int, derandomize: bool):
    stored = b'{"task": "%s", "config": {"units": 8, "data": "sample"}, "preset": null}' % task.TASK.encode()
    example = st.tuples(command_lines(task), damaged(stored))
    check(example, lambda folder, example: ends_in_order(folder, example, task.main), examples, derandomize)


def test_a_status_and_no_traceback(task):
    fuzz(task, 60, derandomize=True)


@pytest.mark.slow
def test_a_status_and_no_traceback_for_many_command_lines(task):
    fuzz(task, int(os.environ.get("UNFOLD_FUZZ", "5000")) // 10, derandomize=False)

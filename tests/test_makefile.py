"""Tests that the Makefile finds a Python, and creates, keeps and repairs .venv.

A shell script replaces Python, and with it the download of two minutes; make, the Makefile and the shell are real.
"""

import os
import shutil
import subprocess

import pytest

# Prints its version, creates a .venv that contains itself, and records every other call.
INTERPRETER = """#!/bin/sh
case "$*" in
    -c*) echo {version} ;;
    "-m venv --clear .venv") rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python; echo "$*" >> calls ;;
    "-m pip --version") ;;
    "-m pip install"*) echo "$*" >> calls; [ ! -e broken ] ;;
    *) echo "$*" >> calls ;;
esac
"""


@pytest.fixture
def checkout(root, tmp_path):
    for name in ("Makefile", "setup.cfg", "pyproject.toml"):
        shutil.copy(root / name, tmp_path)
    (tmp_path / "bin").mkdir()
    return tmp_path


def add_interpreter(checkout, name, version):
    path = checkout / "bin" / name
    path.write_text(INTERPRETER.format(version=version))
    path.chmod(0o755)
    return path


def make(checkout, *targets, **variables):
    """Runs make with only the Pythons of the test on the PATH; returns its result and the recorded calls of Python."""
    for tool in ("sh", "make", "rm", "mkdir", "cp", "touch", "echo"):
        if not (checkout / "bin" / tool).exists():
            (checkout / "bin" / tool).symlink_to(shutil.which(tool))
    (checkout / "calls").write_text("")
    environment = {"PATH": str(checkout / "bin"), **variables}
    result = subprocess.run(
        ["make", *(targets or ["samples"])], cwd=checkout, env=environment, capture_output=True, text=True, timeout=60
    )
    return result, (checkout / "calls").read_text().splitlines()


CREATED, SAMPLES = "-m venv --clear .venv", "data/make_samples.py"


def is_install(call):
    return call.startswith("-m pip install") and call.endswith("--editable .[test]")


def test_the_first_call_creates_the_environment_and_the_second_does_not(checkout):
    add_interpreter(checkout, "python3", "3.12.4")
    result, calls = make(checkout)
    assert result.returncode == 0, result.stderr
    assert calls[0] == CREATED and is_install(calls[1]) and calls[2:] == [SAMPLES]
    assert make(checkout)[1] == [SAMPLES]


@pytest.mark.parametrize("target", ["demo", "lecture", "check", "test", "test-all", "test-slow", "bench", "samples"])
def test_every_target_creates_the_environment_first(checkout, root, target):
    (checkout / "tests").symlink_to(root / "tests")
    add_interpreter(checkout, "python3", "3.12.4")
    result, calls = make(checkout, target)
    assert result.returncode == 0, result.stderr
    assert calls[0] == CREATED and is_install(calls[1]) and len(calls) > 2


def test_test_all_runs_the_quick_tests_once_and_then_the_extra_ones(checkout):
    add_interpreter(checkout, "python3", "3.12.4")
    result, calls = make(checkout, "test", "test-all")
    assert result.returncode == 0, result.stderr
    tools = [call.split()[1:3] for call in calls[2:]]
    assert tools == [["ruff", "check"], ["ruff", "format"], ["mypy"], ["pytest", "-n"], ["pytest", "-n"]]
    assert "extra" not in calls[-2] and calls[-1].endswith("-m extra and not slow")


def test_the_demo_uses_every_pipeline(checkout, root):
    add_interpreter(checkout, "python3", "3.12.4")
    result, calls = make(checkout, "demo")
    released = [call for call in calls if " predict --model " in call and "saved_models" not in call.split()[4]]
    names = ["sentiment/imdb", "translation/multi30k-de-en", "captioning/flickr8k"]
    assert [call.split()[4] for call in released] == names
    assert all((root / "saved_models" / call.split()[4] / "model.weights.h5").is_file() for call in released)
    assert calls.index(released[-1]) < calls.index("-m pipelines.sentiment train sample")
    for task in tasks(root):
        own = [call for call in calls if call.startswith(f"-m pipelines.{task} ") and call not in released]
        assert [call.split()[2] for call in own] == ["train", "evaluate", "export", "predict"], task
    assert "The pictures " in result.stdout and "The exports " in result.stdout


def tasks(root) -> list[str]:
    found = sorted(path.parent.name for path in (root / "pipelines").glob("*/train.py"))
    assert len(found) >= 4
    return found


def test_a_wrong_version_is_reported_with_the_expected_ones(checkout):
    add_interpreter(checkout, "python3", "3.9.18")
    result, calls = make(checkout)
    assert result.returncode != 0 and calls == []
    assert "needs Python 3.11, 3.12 or 3.13; python3 is 3.9.18" in result.stderr


def test_no_python_at_all(checkout):
    result, _ = make(checkout)
    assert result.returncode != 0
    assert "needs Python 3.11, 3.12 or 3.13; no python3 found" in result.stderr


def test_a_right_version_after_a_wrong_one_is_found(checkout):
    add_interpreter(checkout, "python3", "3.14.0")
    add_interpreter(checkout, "python3.13", "3.13.1")
    result, calls = make(checkout)
    assert "Creating .venv with python3.13 (3.13.1)" in result.stdout
    assert calls[0] == CREATED


def test_only_the_chosen_python_is_used(checkout):
    add_interpreter(checkout, "python3", "3.12.4")
    old = add_interpreter(checkout, "old", "2.7.18")
    result, calls = make(checkout, PYTHON=str(old))
    assert result.returncode != 0 and calls == []
    assert f"{old} is 2.7.18" in result.stderr


def test_an_incomplete_installation_is_created_from_scratch(checkout):
    add_interpreter(checkout, "python3", "3.12.4")
    (checkout / "broken").touch()
    result, calls = make(checkout)
    assert result.returncode != 0 and SAMPLES not in calls
    (checkout / ".venv" / "half-installed").touch()
    (checkout / "broken").unlink()
    result, calls = make(checkout)
    assert result.returncode == 0 and calls[0] == CREATED
    assert not (checkout / ".venv" / "half-installed").exists()


def test_a_newer_setup_cfg_is_installed_into_the_present_environment(checkout):
    add_interpreter(checkout, "python3", "3.12.4")
    make(checkout)
    later = (checkout / ".venv" / "installed").stat().st_mtime + 5
    os.utime(checkout / "setup.cfg", (later, later))
    _, calls = make(checkout)
    assert [is_install(call) for call in calls] == [True, False]


def test_an_environment_without_its_python_is_created_anew(checkout):
    add_interpreter(checkout, "python3", "3.12.4")
    make(checkout)
    (checkout / ".venv" / "bin" / "python").unlink()
    result, calls = make(checkout)
    assert result.returncode == 0 and calls[0] == CREATED


def test_pre_commit_runs_what_make_check_runs(checkout, root):
    add_interpreter(checkout, "python3", "3.12.4")
    _, calls = make(checkout, "check")
    hooks = (root / ".pre-commit-config.yaml").read_text().splitlines()
    entries = [line.split("entry: .venv/bin/python ")[1] for line in hooks if "entry:" in line]
    assert entries == calls[2:]

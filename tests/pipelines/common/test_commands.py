import dataclasses
from pathlib import Path

from pipelines.common import cli
from pipelines.common.commands import Commands, described


@dataclasses.dataclass(frozen=True)
class Options:
    """Some options."""

    run: Path
    """Folder of the run."""

    units: int = 3
    """How many."""


PRESETS = {"small": ("Small.", Options(Path("run"), 1))}


def test_a_function_is_imported_after_its_arguments_have_been_parsed(capsys):
    imported, calls = [], []

    def function_of(command):
        imported.append(command)
        return lambda *given: calls.append((command, given))

    def main(*arguments):
        shared = Commands("task", Options, PRESETS, Options, function_of, data="the data")
        commands = {"train": described("Train it.", shared.train), "evaluate": described("Score it.", shared.evaluate)}
        return cli.main("task", commands, arguments)

    assert main("--help") == 0
    assert "  train     Train it.\n  evaluate  Score it.\n" in capsys.readouterr().out
    assert main("evaluate", "--help") == 0
    for wrong in (["train", "smal"], ["train", "small", "--units", "x"], ["evaluate"]):
        assert main(*wrong) == 2
    assert imported == []
    assert main("train", "small", "--units", "5") == 0
    assert main("evaluate", "--run", "run") == 0
    assert imported == ["train", "evaluate"]
    assert calls == [("train", (Options(Path("run"), 5), "small")), ("evaluate", (Options(Path("run")),))]

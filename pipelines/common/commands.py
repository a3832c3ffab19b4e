"""The commands that every pipeline has. Each __main__.py has what differs between the pipelines."""

import dataclasses
import pathlib
from collections.abc import Callable

from pipelines.common import cli
from pipelines.common.cli import Command
from pipelines.common.options import Export, Release


def described(help_text: str, command: Command) -> Command:
    """Returns the command with a help text, which `--help` shows."""

    def run(arguments: list[str]) -> int | None:
        return command(arguments)

    run.__doc__ = help_text
    return run


@dataclasses.dataclass(frozen=True)
class Commands:
    """The commands that are the same in every pipeline: each parses its arguments and calls a function with them.

    Attributes:
        task: name of the pipeline.
        config: class of its configuration.
        presets: name -> (description, config).
        evaluate_options: class of the options of the command evaluate.
        function_of: imports and returns the function of a command. It is called after the arguments have been parsed,
            so that errors in them, and help, do not wait for TensorFlow.
        data: description of the training data, such as "the reviews".
    """

    task: str
    config: type
    presets: dict
    evaluate_options: type
    function_of: Callable[[str], Callable]
    data: str

    def train(self, arguments: list[str]):
        preset, config = cli.parse_preset(self.task, "train", self.presets, arguments)
        self.function_of("train")(config, preset)

    def fine_tune(self, arguments: list[str]):
        config = cli.parse_fine_tuning(self.task, self.config, arguments, self.data)
        self.function_of("train")(config)

    def evaluate(self, arguments: list[str]):
        options = cli.parse(self.task, "evaluate", self.evaluate_options, arguments)
        self.function_of("evaluate")(options)

    def export(self, arguments: list[str]):
        print(self.make_export(cli.parse(self.task, "export", Export, arguments)))

    def make_export(self, options: Export) -> pathlib.Path:
        """Writes an export, and returns its folder."""
        return self.function_of("export")(options)

    def release(self, arguments: list[str]):
        options = cli.parse(self.task, "release", Release, arguments)
        print(self.function_of("release")(options))

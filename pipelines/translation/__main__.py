"""python -m pipelines.translation: parses the command line and runs a command."""

import sys
from collections.abc import Callable

from pipelines.common import cli
from pipelines.common.commands import Commands, described
from pipelines.common.serving.first_use import require_export
from pipelines.translation.config import Config
from pipelines.translation.options import Evaluate, Export, Predict
from pipelines.translation.presets import PRESETS

TASK = "translation"


@cli.quiet_imports()
def function_of(command: str) -> Callable:
    """Imports the function of a command, and TensorFlow with it."""
    function: Callable
    match command:
        case "train":
            from pipelines.translation.train import train as function
        case "evaluate":
            from pipelines.translation.evaluate import evaluate as function
        case "export":
            from pipelines.translation.export import export as function
        case "predict":
            from pipelines.translation.predict import predict as function
        case "release":
            from pipelines.translation.release import release as function
    return function


SHARED = Commands(TASK, Config, PRESETS, Evaluate, function_of, data="the sentence pairs")
make_export = SHARED.make_export


def export(arguments: list[str]):
    options = cli.parse(TASK, "export", Export, arguments)
    print(function_of("export")(options, options.replace_unknown))


def predict(arguments: list[str]) -> int:
    options = cli.parse(TASK, "predict", Predict, arguments)
    require_export(options.model, TASK, make_export)
    return function_of("predict")(options.model, options.input, options.search, options.picture)


COMMANDS = {
    "train": described("Train a preset on sentence pairs, or resume a run.", SHARED.train),
    "evaluate": described("Evaluate a run on sentence pairs.", SHARED.evaluate),
    "export": described("Export a run, or the average of several, as a SavedModel.", export),
    "predict": described("Translate sentences with an export, one JSON object per line.", predict),
    "fine-tune": described("Fine-tune a trained run on other sentence pairs.", SHARED.fine_tune),
    "release": described("Write a small, documented folder of a run, which is a run as well.", SHARED.release),
}


def main(arguments: list[str] | None = None) -> int:
    return cli.main(TASK, COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())

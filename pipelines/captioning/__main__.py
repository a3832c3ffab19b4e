"""python -m pipelines.captioning: parses the command line and runs a command."""

import sys
from collections.abc import Callable

from pipelines.captioning.config import Config
from pipelines.captioning.options import Evaluate, Predict
from pipelines.captioning.presets import PRESETS
from pipelines.common import cli
from pipelines.common.commands import Commands, described
from pipelines.common.serving.first_use import require_export

TASK = "captioning"


@cli.quiet_imports()
def function_of(command: str) -> Callable:
    """Imports the function of a command, and TensorFlow with it."""
    function: Callable
    match command:
        case "train":
            from pipelines.captioning.train import train as function
        case "evaluate":
            from pipelines.captioning.evaluate import evaluate as function
        case "export":
            from pipelines.captioning.export import export as function
        case "predict":
            from pipelines.captioning.predict import predict as function
        case "release":
            from pipelines.captioning.release import release as function
    return function


SHARED = Commands(TASK, Config, PRESETS, Evaluate, function_of, data="the images with captions")
make_export = SHARED.make_export


def predict(arguments: list[str]) -> int:
    options = cli.parse(TASK, "predict", Predict, arguments)
    require_export(options.model, TASK, make_export)
    return function_of("predict")(options.model, options.input, options.search, options.picture)


COMMANDS = {
    "train": described("Train a preset on images with captions, or resume its training.", SHARED.train),
    "evaluate": described("Score a run on images with captions.", SHARED.evaluate),
    "export": described("Write a SavedModel that captions images, of a run or the average of several.", SHARED.export),
    "predict": described("Caption images with an export; prints one JSON object per image.", predict),
    "fine-tune": described("Fine-tune a trained run on other images.", SHARED.fine_tune),
    "release": described("Write a small, documented folder of a run, which is a run as well.", SHARED.release),
}


def main(arguments: list[str] | None = None) -> int:
    return cli.main(TASK, COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())

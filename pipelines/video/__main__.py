"""python -m pipelines.video: parses the command line and runs a command."""

import sys
from collections.abc import Callable

from pipelines.common import cli
from pipelines.common.commands import Commands, described
from pipelines.common.serving.first_use import require_export
from pipelines.video.config import Config
from pipelines.video.options import Evaluate, Predict
from pipelines.video.presets import PRESETS

TASK = "video"


@cli.quiet_imports()
def function_of(command: str) -> Callable:
    """Imports the function of a command, and TensorFlow with it."""
    function: Callable
    match command:
        case "train":
            from pipelines.video.train import train as function
        case "evaluate":
            from pipelines.video.evaluate import evaluate as function
        case "export":
            from pipelines.video.export import export as function
        case "predict":
            from pipelines.video.predict import predict as function
        case "release":
            from pipelines.video.release import release as function
    return function


SHARED = Commands(TASK, Config, PRESETS, Evaluate, function_of, data="the videos")
make_export = SHARED.make_export


def predict(arguments: list[str]) -> int:
    options = cli.parse(TASK, "predict", Predict, arguments)
    require_export(options.model, TASK, make_export)
    return function_of("predict")(options.model, options.input, options.picture, options.video, options.folder_fps)


COMMANDS = {
    "train": described("Train a preset on labelled videos, or resume its training.", SHARED.train),
    "evaluate": described("Score a run on labelled videos, and other runs beside it.", SHARED.evaluate),
    "export": described(
        "Export a run, or the average of several, as a SavedModel that takes frames or features.", SHARED.export
    ),
    "predict": described("Label the frames of videos with an export; prints one JSON object per video.", predict),
    "fine-tune": described("Fine-tune a trained run on other videos and labels.", SHARED.fine_tune),
    "release": described("Write a small, documented folder of a run, which is a run as well.", SHARED.release),
}


def main(arguments: list[str] | None = None) -> int:
    return cli.main(TASK, COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())

"""python -m pipelines.video: parses the command line and runs a command."""

import sys
from pathlib import Path

from pipelines.common import cli
from pipelines.common.options import Export, Release
from pipelines.common.serving.first_use import require_export
from pipelines.video.config import Config
from pipelines.video.options import Evaluate, Predict
from pipelines.video.presets import PRESETS

TASK = "video"


def train(arguments: list[str]):
    """Train a preset on labelled videos, or resume its training."""
    preset, config = cli.parse_preset(TASK, "train", PRESETS, arguments)
    with cli.quiet_imports():
        from pipelines.video.train import train

    train(config, preset)


def fine_tune(arguments: list[str]):
    """Fine-tune a trained run on other videos and labels."""
    config = cli.parse_fine_tuning(TASK, Config, arguments, "the videos")
    with cli.quiet_imports():
        from pipelines.video.train import train

    train(config)


def evaluate(arguments: list[str]):
    """Score a run on labelled videos, and other runs beside it."""
    options = cli.parse(TASK, "evaluate", Evaluate, arguments)
    with cli.quiet_imports():
        from pipelines.video.evaluate import evaluate

    evaluate(options)


def export(arguments: list[str]):
    """Export a run, or the average of several, as a SavedModel that takes frames or features."""
    print(make_export(cli.parse(TASK, "export", Export, arguments)))


def make_export(options: Export) -> Path:
    """Writes an export, and returns its folder."""
    with cli.quiet_imports():
        from pipelines.video.export import export

    return export(options)


def release(arguments: list[str]):
    """Write a small, documented folder of a run, which is a run as well."""
    options = cli.parse(TASK, "release", Release, arguments)
    with cli.quiet_imports():
        from pipelines.video.release import release

    print(release(options))


def predict(arguments: list[str]) -> int:
    """Label the frames of videos with an export; prints one JSON object per video."""
    options = cli.parse(TASK, "predict", Predict, arguments)
    with cli.quiet_imports():
        from pipelines.video.predict import predict

    require_export(options.model, TASK, make_export)
    return predict(options.model, options.input, options.picture, options.video, options.folder_fps)


COMMANDS = {
    "train": train,
    "evaluate": evaluate,
    "export": export,
    "predict": predict,
    "fine-tune": fine_tune,
    "release": release,
}


def main(arguments: list[str] | None = None) -> int:
    return cli.main(TASK, COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())

"""python -m pipelines.captioning: parses the command line and runs a command."""

import sys
from pathlib import Path

from pipelines.captioning.config import Config
from pipelines.captioning.options import Evaluate, Predict
from pipelines.captioning.presets import PRESETS
from pipelines.common import cli
from pipelines.common.options import Export, Release
from pipelines.common.serving.first_use import require_export

TASK = "captioning"


def train(arguments: list[str]):
    """Train a preset on images with captions, or resume its training."""
    preset, config = cli.parse_preset(TASK, "train", PRESETS, arguments)
    with cli.quiet_imports():
        from pipelines.captioning.train import train

    train(config, preset)


def fine_tune(arguments: list[str]):
    """Fine-tune a trained run on other images."""
    config = cli.parse_fine_tuning(TASK, Config, arguments, "the images with captions")
    with cli.quiet_imports():
        from pipelines.captioning.train import train

    train(config)


def evaluate(arguments: list[str]):
    """Score a run on images with captions."""
    options = cli.parse(TASK, "evaluate", Evaluate, arguments)
    with cli.quiet_imports():
        from pipelines.captioning.evaluate import evaluate

    evaluate(options)


def export(arguments: list[str]):
    """Write a SavedModel that captions images, of a run or the average of several."""
    print(make_export(cli.parse(TASK, "export", Export, arguments)))


def make_export(options: Export) -> Path:
    """Writes an export, and returns its folder."""
    with cli.quiet_imports():
        from pipelines.captioning.export import export

    return export(options)


def release(arguments: list[str]):
    """Write a small, documented folder of a run, which is a run as well."""
    options = cli.parse(TASK, "release", Release, arguments)
    with cli.quiet_imports():
        from pipelines.captioning.release import release

    print(release(options))


def predict(arguments: list[str]) -> int:
    """Caption images with an export; prints one JSON object per image."""
    options = cli.parse(TASK, "predict", Predict, arguments)
    with cli.quiet_imports():
        from pipelines.captioning.predict import predict

    require_export(options.model, TASK, make_export)
    return predict(options.model, options.input, options.search, options.picture)


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

"""The command line of the translation pipeline: python -m pipelines.translation."""

import sys
from pathlib import Path

from pipelines.common import cli
from pipelines.common.options import Export as CommonExport
from pipelines.common.options import Release
from pipelines.common.serving.first_use import require_export
from pipelines.translation.config import Config
from pipelines.translation.options import Evaluate, Export, Predict
from pipelines.translation.presets import PRESETS

TASK = "translation"


def train(arguments: list[str]):
    """Train a preset on sentence pairs, or resume a run."""
    preset, config = cli.parse_preset(TASK, "train", PRESETS, arguments)
    with cli.quiet_imports():
        from pipelines.translation.train import train

    train(config, preset)


def fine_tune(arguments: list[str]):
    """Fine-tune a trained run on other sentence pairs."""
    config = cli.parse_fine_tuning(TASK, Config, arguments, "the sentence pairs")
    with cli.quiet_imports():
        from pipelines.translation.train import train

    train(config)


def evaluate(arguments: list[str]):
    """Evaluate a run on sentence pairs."""
    options = cli.parse(TASK, "evaluate", Evaluate, arguments)
    with cli.quiet_imports():
        from pipelines.translation.evaluate import evaluate

    evaluate(options)


def export(arguments: list[str]):
    """Export a run, or the average of several, as a SavedModel."""
    options = cli.parse(TASK, "export", Export, arguments)
    print(make_export(options, options.replace_unknown))


def make_export(options: CommonExport, replace_unknown: bool | None = None) -> Path:
    """Writes an export, and returns its folder."""
    with cli.quiet_imports():
        from pipelines.translation.export import export

    return export(options, replace_unknown)


def release(arguments: list[str]):
    """Write a small, documented folder of a run, which is a run as well."""
    options = cli.parse(TASK, "release", Release, arguments)
    with cli.quiet_imports():
        from pipelines.translation.release import release

    print(release(options))


def predict(arguments: list[str]) -> int:
    """Translate sentences with an export, one JSON object per line."""
    options = cli.parse(TASK, "predict", Predict, arguments)
    with cli.quiet_imports():
        from pipelines.translation.predict import predict

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

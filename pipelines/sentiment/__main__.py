"""python -m pipelines.sentiment: parses the command line and calls what does the work."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pipelines.common import cli
from pipelines.common.errors import UserError
from pipelines.common.runs import Run
from pipelines.sentiment.config import PRESETS, Config

TASK = "sentiment"


def train(arguments: list[str]):
    """Train a preset on labelled reviews, or go on where it stopped."""
    preset, config = cli.parse_preset(TASK, "train", PRESETS, arguments)
    with cli.quiet_imports():
        from pipelines.sentiment.train import train

    train(config, preset)


def fine_tune(arguments: list[str]):
    """Train on from another run, on other data and labels."""
    start, rest = cli.take_option(arguments, "from")
    if start is None and not {"-h", "--help"} & set(arguments):
        raise UserError("fine-tune needs --from RUN --data WHERE: the run to start from, and the reviews")
    default = Config()
    if start is not None:
        run = Run.open(start, TASK).require_weights()
        default = Config.from_json(run.config).for_fine_tuning(run.path)
    config = cli.parse(TASK, "fine-tune --from RUN", Config, rest, default)
    if not any(argument.split("=")[0] == "--data" for argument in rest):
        raise UserError("fine-tune needs --data WHERE: the reviews to train on")
    with cli.quiet_imports():
        from pipelines.sentiment.train import train

    train(config)


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Score a run on labelled reviews: a table, metrics.json and confusion_matrix.png."""

    run: Path
    """The run to score."""

    data: str | None = None
    """Labelled reviews to score it on, a file as a whole; the run's own data if not given."""

    split: Literal["train", "validation", "test"] = "test"
    """The part of the data."""

    text_column: str | None = None
    """Column or field of the review; as in the run if not given."""

    label_column: str | None = None
    """Column or field of the label; as in the run if not given."""

    manual_dir: Path | None = None
    """Folder with the archive of a tfds: data set that was fetched by hand."""


def evaluate(arguments: list[str]):
    """Score a run on labelled reviews."""
    options = cli.parse(TASK, "evaluate", Evaluate, arguments)
    with cli.quiet_imports():
        from pipelines.sentiment.evaluate import evaluate

    changes = {name: getattr(options, name) for name in ("text_column", "label_column", "manual_dir")}
    evaluate(
        options.run, options.data, options.split, {name: value for name, value in changes.items() if value is not None}
    )


@dataclasses.dataclass(frozen=True)
class Export:
    """Write a SavedModel that takes strings; of several runs, one that averages them."""

    run: tuple[Path, ...]
    """The run, or runs."""

    to: Path | None = None
    """The folder of the export; the folder export/ of the first run if not given."""


def export(arguments: list[str]):
    """Write a SavedModel that takes strings, of a run or of the average of several."""
    options = cli.parse(TASK, "export", Export, arguments)
    if not options.run:
        raise UserError("export needs --run DIR: a trained run")
    with cli.quiet_imports():
        from pipelines.sentiment.export import export

    print(export(options.run, options.to))


@dataclasses.dataclass(frozen=True)
class Predict:
    """Label texts with an export: one JSON object a line."""

    input: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(name="INPUT")]
    """Texts; - reads the lines of standard input."""

    model: Path
    """A run that was exported, or an export."""

    picture: Path | None = None
    """Draw each text with the running probability and the gates into this PNG file."""


def predict(arguments: list[str]) -> int:
    """Label texts with an export, one JSON object a line."""
    options = cli.parse(TASK, "predict", Predict, arguments)
    if not options.input:
        raise UserError("predict needs INPUT: texts, or - for the lines of standard input")
    with cli.quiet_imports():
        from pipelines.sentiment.predict import predict

    return predict(options.model, options.input, options.picture)


COMMANDS = {"train": train, "evaluate": evaluate, "export": export, "predict": predict, "fine-tune": fine_tune}


def main(arguments: list[str] | None = None) -> int:
    return cli.main(TASK, COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())

"""python -m pipelines.video: parses the command line and runs a command."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pipelines.common import cli
from pipelines.common.errors import UserError
from pipelines.common.named_runs import ExistingRun
from pipelines.common.serving.first_use import require_export
from pipelines.video.config import PRESETS, Config

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


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Score a run on labelled videos: a table, metrics.json, confusion_matrix.png and timelines.png."""

    run: ExistingRun
    """The run to score."""

    beside: tuple[ExistingRun, ...] = ()
    """Other runs, such as a baseline with --cell none, to score and show beside it."""

    average: bool = False
    """Also score the average of the probabilities of all these runs, written to average.json of the first."""

    data: str | None = None
    """Labelled videos to score it on, as a whole if they have no parts; the data of the run if not given."""

    split: Literal["train", "validation", "test"] = "test"
    """The part of the data."""

    annotations: Literal["labels.csv", "segments.csv", "sequences.csv", "groundTruth"] | None = None
    """Which label file of the data to read; as in the run if not given."""

    background: str | None = None
    """Label of frames that no segment covers; as in the run if not given."""

    features_split: int | None = None
    """Number of the split of features, as in splits/test.split1.bundle; as in the run if not given."""

    filter: int | None = None
    """Number of frames of the majority filter, odd; as in the run if not given."""

    manual_dir: Path | None = None
    """Folder with the archive of a tfds: data set that was downloaded by hand."""

    robust: bool = False
    """Also score distorted videos or features: a table, and robustness.png."""


def evaluate(arguments: list[str]):
    """Score a run on labelled videos, and other runs beside it."""
    options = cli.parse(TASK, "evaluate", Evaluate, arguments)
    with cli.quiet_imports():
        from pipelines.video.evaluate import evaluate

    changes = {
        name: getattr(options, name) for name in ("annotations", "background", "features_split", "filter", "manual_dir")
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    evaluate([options.run, *options.beside], options.data, options.split, changes, options.average, options.robust)


def export(arguments: list[str]):
    """Export a run, or the average of several, as a SavedModel that takes frames or features."""
    options = cli.parse_export(TASK, arguments)
    print(make_export(options.run, options.to, options.format, options.weights))


def make_export(
    runs: Sequence[Path], to: Path | None = None, format: str = cli.SAVED_MODEL, weights: str = "float32"
) -> Path:
    with cli.quiet_imports():
        from pipelines.video.export import export, export_functions

    return export(runs, to) if format == cli.SAVED_MODEL else export_functions(runs, format, weights, to)


def release(arguments: list[str]):
    """Write a small, documented folder of a run, which is a run as well."""
    options = cli.parse_release(TASK, arguments)
    with cli.quiet_imports():
        from pipelines.video.release import release

    print(release(options.run, options.to, options.weights, options.split, options.limits, options.base_data))


@dataclasses.dataclass(frozen=True)
class Predict:
    """Label the frames of videos with an export: prints one JSON object per video."""

    input: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(name="INPUT")]
    """Video files and folders of JPEG or PNG frames, or .npy files for a model of features; - reads their names from
    standard input, one per line."""

    model: ExistingRun
    """Run, or an export. The export of a run is made when it is first used."""

    picture: Path | None = None
    """Draw the labels over time, below a strip of frames, to this PNG file."""

    video: Path | None = None
    """Write the video, with the labels in the picture, to this file (.mp4, .mkv or .mov)."""

    folder_fps: float = 25.0
    """Frames per second at which the pictures of a folder were taken."""


def predict(arguments: list[str]) -> int:
    """Label the frames of videos with an export; prints one JSON object per video."""
    options = cli.parse(TASK, "predict", Predict, arguments)
    if not options.input:
        raise UserError("predict needs INPUT: video files or folders of frames, or - for the lines of standard input")
    if not 0.01 <= options.folder_fps <= 1000:
        raise UserError(f"--folder-fps is {options.folder_fps}, but must be from 0.01 to 1000")
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

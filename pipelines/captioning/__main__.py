"""python -m pipelines.captioning: parses the command line and runs a command."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from pipelines.captioning.config import PRESETS, Config
from pipelines.common import cli
from pipelines.common.errors import UserError
from pipelines.common.named_runs import ExistingRun
from pipelines.common.serving.decoding_options import DecodingOptions
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


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Score a run on images with captions: a table, metrics.json, captions.tsv and contact_sheet.png."""

    run: ExistingRun
    """The run to score."""

    data: str | None = None
    """Images with captions to score it on, a captions file as a whole; the data of the run if not given."""

    split: str = "test"
    """The part of the data: train, validation, test, or NAME of a file captions_NAME."""

    quoting: bool = False
    """Quotation marks enclose fields of tab-separated --data, even if they do not in the data of the run."""

    beam_size: tuple[int, ...] = (1, 3, 5)
    """Number of hypotheses of the beam search; 1 without a length penalty is greedy search. Several are compared."""

    length_penalty: float | None = None
    """Exponent a of the length penalty ((5 + length) / 6)^a that divides a score; as in the run if not given."""

    robust: bool = False
    """Also score distorted images, with the last beam size: a second table, and robustness.png."""


def evaluate(arguments: list[str]):
    """Score a run on images with captions."""
    options = cli.parse(TASK, "evaluate", Evaluate, arguments)
    if any(size < 1 for size in options.beam_size):
        raise UserError(f"--beam-size is {min(options.beam_size)}, but must be at least 1")
    with cli.quiet_imports():
        from pipelines.captioning.evaluate import evaluate

    evaluate(
        options.run,
        options.data,
        options.split,
        options.beam_size,
        options.length_penalty,
        options.quoting,
        options.robust,
    )


def export(arguments: list[str]):
    """Write a SavedModel that captions images, of a run or the average of several."""
    options = cli.parse_export(TASK, arguments)
    print(make_export(options.run, options.to, options.format, options.weights))


def make_export(
    runs: Sequence[Path], to: Path | None = None, format: str = cli.SAVED_MODEL, weights: str = "float32"
) -> Path:
    with cli.quiet_imports():
        from pipelines.captioning.export import export, export_functions

    return export(runs, to) if format == cli.SAVED_MODEL else export_functions(runs, format, weights, to)


def release(arguments: list[str]):
    """Write a small, documented folder of a run, which is a run as well."""
    options = cli.parse_release(TASK, arguments)
    with cli.quiet_imports():
        from pipelines.captioning.release import release

    print(release(options.run, options.to, options.weights, options.split, options.limits, options.base_data))


@dataclasses.dataclass(frozen=True)
class Predict:
    """Caption images with an export: prints one JSON object per image."""

    input: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(name="INPUT")]
    """JPEG and PNG files, folders of them, patterns such as 'holiday/*.jpg'; - reads these from standard input, one
    per line."""

    model: ExistingRun
    """Run, or an export. The export of a run is made when it is first used."""

    search: tyro.conf.OmitArgPrefixes[DecodingOptions] = dataclasses.field(default_factory=DecodingOptions)
    """Beam search, or sampling with any of --temperature, --top-k, --top-p and --seed."""

    picture: Path | None = None
    """Draw the images with their captions to this PNG file; with attention, where the model looked for each word."""


def predict(arguments: list[str]) -> int:
    """Caption images with an export; prints one JSON object per image."""
    options = cli.parse(TASK, "predict", Predict, arguments)
    if not options.input:
        raise UserError("predict needs INPUT: images, folders or patterns, or - for the lines of standard input")
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

"""The command line of the translation pipeline: python -m pipelines.translation."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from pipelines.common import cli
from pipelines.common.errors import UserError
from pipelines.common.named_runs import ExistingRun
from pipelines.common.serving.decoding_options import DecodingOptions
from pipelines.common.serving.first_use import require_export
from pipelines.translation.config import PRESETS, Config

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


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Evaluate a run: prints a table, writes metrics.json, translations.tsv and bleu_by_length.png."""

    run: ExistingRun
    """Run to evaluate."""

    data: str | None = None
    """Sentence pairs to evaluate on, a table as a whole. Default: the data of the run."""

    split: str = "test"
    """Part of the data: train, validation, test, or the beginning of a file name, such as test_2016_flickr."""

    quoting: bool = False
    """Quotation marks enclose fields of tab-separated --data, even if they do not in the data of the run."""

    beam_size: tuple[int, ...] = ()
    """Number of hypotheses; 1 without a length penalty is greedy search. Several values (1 2 5 12) are compared.
    Default: that of the run."""

    length_penalty: float | None = None
    """Exponent a of the length penalty ((5 + length) / 6)^a that divides a score. Default: that of the run."""

    replace_unknown: bool | None = None
    """Replace an unknown word by the source word that the decoder attends to most. Default: as in the run."""

    robust: bool = False
    """Also score sentences as people type them, with the last beam size: a second table, and robustness.png."""


def evaluate(arguments: list[str]):
    """Evaluate a run on sentence pairs."""
    options = cli.parse(TASK, "evaluate", Evaluate, arguments)
    if any(size < 1 for size in options.beam_size):
        raise UserError(f"--beam-size is {min(options.beam_size)}, but must be at least 1")
    with cli.quiet_imports():
        from pipelines.translation.evaluate import evaluate

    evaluate(
        options.run,
        options.data,
        options.split,
        options.beam_size,
        options.length_penalty,
        options.quoting,
        options.replace_unknown,
        options.robust,
    )


@dataclasses.dataclass(frozen=True)
class Export(cli.Export):
    """Export a run as a SavedModel, or for LiteRT or ONNX; several runs, as one that averages their probabilities."""

    replace_unknown: bool | None = None
    """Replace an unknown word by the source word that the decoder attends to most. Default: as in the first run."""


def export(arguments: list[str]):
    """Export a run, or the average of several, as a SavedModel."""
    options = cli.parse_export(TASK, arguments, Export)
    if options.format != cli.SAVED_MODEL and options.replace_unknown is not None:
        raise UserError(f"--replace-unknown is for a SavedModel: {options.format} has no text")
    print(make_export(options.run, options.to, options.format, options.weights, options.replace_unknown))


def make_export(
    runs: Sequence[Path],
    to: Path | None = None,
    format: str = cli.SAVED_MODEL,
    weights: str = "float32",
    replace_unknown: bool | None = None,
) -> Path:
    with cli.quiet_imports():
        from pipelines.translation.export import export, export_functions

    if format == cli.SAVED_MODEL:
        return export(runs, to, replace_unknown)
    return export_functions(runs, format, weights, to)


def release(arguments: list[str]):
    """Write a small, documented folder of a run, which is a run as well."""
    options = cli.parse_release(TASK, arguments)
    with cli.quiet_imports():
        from pipelines.translation.release import release

    print(release(options.run, options.to, options.weights, options.split, options.limits, options.base_data))


@dataclasses.dataclass(frozen=True)
class Predict:
    """Translate sentences with an export; prints one JSON object per line."""

    input: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(name="INPUT")]
    """Sentences; - reads lines from standard input."""

    model: ExistingRun
    """Run, or an export. The export of a run is made when it is first used."""

    search: tyro.conf.OmitArgPrefixes[DecodingOptions] = dataclasses.field(default_factory=DecodingOptions)
    """Beam search, or sampling with any of --temperature, --top-k, --top-p and --seed."""

    picture: Path | None = None
    """PNG file for a picture of each translation, and of three or more sentences a map."""


def predict(arguments: list[str]) -> int:
    """Translate sentences with an export, one JSON object per line."""
    options = cli.parse(TASK, "predict", Predict, arguments)
    if not options.input:
        raise UserError("predict needs INPUT: sentences, or - for the lines of standard input")
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

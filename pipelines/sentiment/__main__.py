"""python -m pipelines.sentiment: parses the command line and calls the command."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pipelines.common import cli, named_runs
from pipelines.common.config import expand_home, from_json
from pipelines.common.errors import UserError
from pipelines.common.named_runs import ExistingRun
from pipelines.common.runs import Run
from pipelines.common.serving.decoding_options import DecodingOptions
from pipelines.common.serving.first_use import require_export
from pipelines.sentiment.config import PRESETS, Config
from pipelines.sentiment.language_model import config as language_model

TASK = "sentiment"


def train(arguments: list[str]):
    """Train a preset on labelled reviews, or resume it."""
    preset, config = cli.parse_preset(TASK, "train", adapt_presets(arguments), arguments)
    with cli.quiet_imports():
        from pipelines.sentiment.train import train

    train(config, preset)


def adapt_presets(arguments: list[str]) -> dict:
    """Returns the presets. If training starts from a language model, the preset has its architecture."""
    preset = PRESETS.get(arguments[0]) if arguments else None
    if preset is None or {"-h", "--help"} & set(arguments):
        return PRESETS
    description, config = preset
    given, _ = cli.take_option(arguments, "init-from")
    start = config.transfer.init_from if given is None else named_runs.resolve(expand_home(given))
    if start is None or given == "None":
        return PRESETS
    folder = expand_home(cli.take_option(arguments, "run")[0] or config.run)
    if not start.exists() and (folder / "config.json").is_file():
        # The language model no longer exists. A finished run is reported all the same; another one will refuse.
        learned = from_json(Config, Run.open(folder, TASK).config)
    elif given is None and not start.exists():
        raise UserError(
            f"the preset {arguments[0]} starts from the language model {start}, which does not exist: train it with"
            " python -m pipelines.sentiment pretrain imdb, or give --init-from RUN"
        )
    else:
        run = Run.open(start, language_model.TASK).require_weights()
        learned, start = from_json(language_model.Config, run.config), run.path
    return PRESETS | {arguments[0]: (description, config.starting_from(learned, start))}


def pretrain(arguments: list[str]):
    """Train a language model on all texts of a data set, for --init-from and generate."""
    preset, config = cli.parse_preset(TASK, "pretrain", language_model.PRESETS, arguments)
    with cli.quiet_imports():
        from pipelines.sentiment.language_model.train import train

    train(config, preset)


def fine_tune(arguments: list[str]):
    """Train another run further, on other data and labels."""
    config = cli.parse_fine_tuning(TASK, Config, arguments, "the reviews")
    with cli.quiet_imports():
        from pipelines.sentiment.train import train

    train(config)


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Score a run on labelled reviews: a table, metrics.json, confusion_matrix.png and reliability.png."""

    run: ExistingRun
    """Run to score."""

    location: Annotated[str | None, tyro.conf.arg(name="data")] = None
    """Labelled reviews to score it on, all of a file; the data of the run if not given."""

    split: Literal["train", "validation", "test"] = "test"
    """Part of the data."""

    text_column: str | None = None
    """Column or field of the review; that of the run if not given."""

    label_column: str | None = None
    """Column or field of the label; that of the run if not given."""

    quoting: bool = False
    """Quotation marks enclose fields of tab-separated --data, even if they do not in the data of the run."""

    manual_dir: Path | None = None
    """Folder with the archive of a tfds: data set that was downloaded by hand."""


def evaluate(arguments: list[str]):
    """Score a run on labelled reviews."""
    options = vars(cli.parse(TASK, "evaluate", Evaluate, arguments))
    with cli.quiet_imports():
        from pipelines.sentiment.evaluate import evaluate

    run, split = options.pop("run"), options.pop("split")
    evaluate(run, split, **{name: value for name, value in options.items() if value not in (None, False)})


def export(arguments: list[str]):
    """Write a SavedModel that takes strings, of a run or of the average of several."""
    options = cli.parse_export(TASK, arguments)
    print(make_export(options.run, options.to, options.format, options.weights))


def make_export(
    runs: Sequence[Path], to: Path | None = None, format: str = cli.SAVED_MODEL, weights: str = "float32"
) -> Path:
    with cli.quiet_imports():
        from pipelines.sentiment.export import export, export_functions

    return export(runs, to) if format == cli.SAVED_MODEL else export_functions(runs, format, weights, to)


def release(arguments: list[str]):
    """Write a small, documented folder of a run, which is a run as well."""
    options = cli.parse_release(TASK, arguments)
    with cli.quiet_imports():
        from pipelines.sentiment.release import release

    print(release(options.run, options.to, options.weights, options.split, options.limits, options.base_data))


@dataclasses.dataclass(frozen=True)
class Predict:
    """Label texts with an export: a JSON object in each line."""

    input: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(name="INPUT")]
    """Texts; - reads the lines of standard input."""

    model: ExistingRun
    """Run, or an export. The export of a run is made when it is first used."""

    picture: Path | None = None
    """Draw each text with the probability and the gates over its words into this PNG file."""


def predict(arguments: list[str]) -> int:
    """Label texts with an export, a JSON object in each line."""
    options = cli.parse(TASK, "predict", Predict, arguments)
    if not options.input:
        raise UserError("predict needs INPUT: texts, or - for the lines of standard input")
    with cli.quiet_imports():
        from pipelines.sentiment.predict import predict

    require_export(options.model, TASK, make_export)
    return predict(options.model, options.input, options.picture)


@dataclasses.dataclass(frozen=True)
class Generate:
    """Generate texts with a language model, from a prefix: a JSON object in each line."""

    run: ExistingRun
    """Run of pretrain, or its export, which is made when it is first used."""

    prefix: str = ""
    """How the text begins (warm start)."""

    number: int = 1
    """Number of texts, with consecutive seeds."""

    temperature: float = 1.0
    """Divides the logits: below 1 probable words become more probable, above 1 less."""

    top_k: int = 0
    """Sample from this many most probable words. 0: from all."""

    top_p: float = 1.0
    """Sample from the fewest most probable words that together have this probability. 1: from all."""

    seed: int = 0
    """Seed of the sampling: the same seed gives the same text."""

    max_length: int | None = None
    """Maximum number of words of a text, the prefix included; that of the run if not given."""


def generate(arguments: list[str]) -> int:
    """Generate texts with a language model, from a prefix."""
    options = vars(cli.parse(TASK, "generate", Generate, arguments))
    run, number = options.pop("run"), options.pop("number")
    if number < 1:
        raise UserError(f"--number is {number}, but must be at least 1")
    with cli.quiet_imports():
        from pipelines.sentiment.language_model.predict import generate

    require_export(run, language_model.TASK, make_export, TASK)
    return generate(run, DecodingOptions(**options), number)


COMMANDS = {
    "train": train,
    "evaluate": evaluate,
    "export": export,
    "predict": predict,
    "fine-tune": fine_tune,
    "release": release,
    "pretrain": pretrain,
    "generate": generate,
}


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns the exit status."""
    return cli.main(TASK, COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())

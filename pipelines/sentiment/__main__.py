"""python -m pipelines.sentiment: parses the command line and calls what does the work."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pipelines.common import cli
from pipelines.common.errors import UserError
from pipelines.common.runs import Run
from pipelines.common.serving.decoding_options import DecodingOptions
from pipelines.sentiment.config import PRESETS, Config
from pipelines.sentiment.pretraining_config import LANGUAGE_MODEL, PretrainingConfig
from pipelines.sentiment.pretraining_config import PRESETS as LANGUAGE_MODELS

TASK = "sentiment"


def train(arguments: list[str]):
    """Train a preset on labelled reviews, or go on where it stopped."""
    preset, config = cli.parse_preset(TASK, "train", with_language_model(arguments), arguments)
    with cli.quiet_imports():
        from pipelines.sentiment.train import train

    train(config, preset)


def with_language_model(arguments: list[str]) -> dict:
    """The presets; where the arguments or the preset name a language model to start from, with its network."""
    preset = PRESETS.get(arguments[0]) if arguments else None
    if preset is None or {"-h", "--help"} & set(arguments):
        return PRESETS
    given, _ = cli.take_option(arguments, "init-from")
    start = preset[1].init_from if given is None else Path(given)
    if start is None or given == "None":
        return PRESETS
    folder = Path(cli.take_option(arguments, "run")[0] or preset[1].run)
    if not start.exists() and (folder / "config.json").is_file():
        # A finished run answers though the language model is gone; one that is not will say that it is missing.
        network = Config.from_json(Run.open(folder, TASK).config)
        return PRESETS | {arguments[0]: (preset[0], preset[1].starting_from(network, start))}
    if given is None and not start.exists():
        raise UserError(
            f"the preset {arguments[0]} starts from the language model {start}, which does not exist: train it with"
            " python -m pipelines.sentiment pretrain imdb, or give --init-from RUN"
        )
    run = Run.open(start, LANGUAGE_MODEL).require_weights()
    learned = PretrainingConfig.from_json(run.config)
    return PRESETS | {arguments[0]: (preset[0], preset[1].starting_from(learned, run.path))}


def pretrain(arguments: list[str]):
    """Train a language model on all texts of a data set, for --init-from and generate."""
    preset, config = cli.parse_preset(TASK, "pretrain", LANGUAGE_MODELS, arguments)
    with cli.quiet_imports():
        from pipelines.sentiment.pretrain import pretrain

    pretrain(config, preset)


def fine_tune(arguments: list[str]):
    """Train on from another run, on other data and labels."""
    config = cli.parse_fine_tuning(TASK, Config, arguments, "the reviews")
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


@dataclasses.dataclass(frozen=True)
class Generate:
    """Texts that a language model writes, from true words on: one JSON object a line."""

    run: Path
    """A run of pretrain that was exported, or its export."""

    prefix: str = ""
    """How the text begins; the model reads it, then goes on alone."""

    number: int = 1
    """How many texts to write, with seeds that follow each other."""

    temperature: float = 1.0
    """Below 1 the probable words become more probable, above 1 less."""

    top_k: int = 0
    """Draw only from this many of the likeliest words; 0: from all."""

    top_p: float = 1.0
    """Draw from the fewest most probable words that have this probability together; 1: from all."""

    seed: int = 0
    """The same seed gives the same text."""

    max_length: int | None = None
    """Most words of a text, those of the prefix included; as the run says if not given."""


def generate(arguments: list[str]) -> int:
    """Write texts with a language model, from a beginning on."""
    options = cli.parse(TASK, "generate", Generate, arguments)
    if options.number < 1:
        raise UserError(f"--number is {options.number}, but must be at least 1")
    if (options.run / "config.json").is_file():
        Run.open(options.run, LANGUAGE_MODEL)
    with cli.quiet_imports():
        from pipelines.sentiment.generate import generate

    names = ("prefix", "temperature", "top_k", "top_p", "seed", "max_length")
    return generate(options.run, DecodingOptions(**{name: getattr(options, name) for name in names}), options.number)


COMMANDS = {
    "train": train,
    "evaluate": evaluate,
    "export": export,
    "predict": predict,
    "fine-tune": fine_tune,
    "pretrain": pretrain,
    "generate": generate,
}


def main(arguments: list[str] | None = None) -> int:
    return cli.main(TASK, COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())

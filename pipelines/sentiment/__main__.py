"""python -m pipelines.sentiment: parses the command line and calls the command."""

import sys
from pathlib import Path

from pipelines.common import cli, named_runs
from pipelines.common.config import expand_home, from_json
from pipelines.common.errors import UserError
from pipelines.common.options import Export, Release
from pipelines.common.runs import Run
from pipelines.common.serving.first_use import require_export
from pipelines.sentiment.config import Config
from pipelines.sentiment.language_model import config as language_model
from pipelines.sentiment.language_model.presets import PRESETS as LANGUAGE_MODELS
from pipelines.sentiment.options import Evaluate, Generate, Predict
from pipelines.sentiment.presets import PRESETS

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
    preset, config = cli.parse_preset(TASK, "pretrain", LANGUAGE_MODELS, arguments)
    with cli.quiet_imports():
        from pipelines.sentiment.language_model.train import train

    train(config, preset)


def fine_tune(arguments: list[str]):
    """Train another run further, on other data and labels."""
    config = cli.parse_fine_tuning(TASK, Config, arguments, "the reviews")
    with cli.quiet_imports():
        from pipelines.sentiment.train import train

    train(config)


def evaluate(arguments: list[str]):
    """Score a run on labelled reviews."""
    options = cli.parse(TASK, "evaluate", Evaluate, arguments)
    with cli.quiet_imports():
        from pipelines.sentiment.evaluate import evaluate

    evaluate(options)


def export(arguments: list[str]):
    """Write a SavedModel that takes strings, of a run or of the average of several."""
    print(make_export(cli.parse(TASK, "export", Export, arguments)))


def make_export(options: Export) -> Path:
    """Writes an export, and returns its folder."""
    with cli.quiet_imports():
        from pipelines.sentiment.export import export

    return export(options)


def release(arguments: list[str]):
    """Write a small, documented folder of a run, which is a run as well."""
    options = cli.parse(TASK, "release", Release, arguments)
    with cli.quiet_imports():
        from pipelines.sentiment.release import release

    print(release(options))


def predict(arguments: list[str]) -> int:
    """Label texts with an export, a JSON object in each line."""
    options = cli.parse(TASK, "predict", Predict, arguments)
    with cli.quiet_imports():
        from pipelines.sentiment.predict import predict

    require_export(options.model, TASK, make_export)
    return predict(options.model, options.input, options.picture)


def generate(arguments: list[str]) -> int:
    """Generate texts with a language model, from a prefix."""
    options = cli.parse(TASK, "generate", Generate, arguments)
    with cli.quiet_imports():
        from pipelines.sentiment.language_model.predict import generate

    require_export(options.run, language_model.TASK, make_export, TASK)
    return generate(options.run, options.decoding, options.number)


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

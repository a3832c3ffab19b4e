"""python -m pipelines.sentiment: parses the command line and runs a command."""

import sys
from collections.abc import Callable

from pipelines.common import cli, named_runs
from pipelines.common.commands import Commands, described
from pipelines.common.config import expand_home, from_json
from pipelines.common.errors import UserError
from pipelines.common.runs import Run
from pipelines.common.serving.first_use import require_export
from pipelines.sentiment.config import Config
from pipelines.sentiment.language_model import config as language_model
from pipelines.sentiment.language_model.presets import PRESETS as LANGUAGE_MODELS
from pipelines.sentiment.options import Evaluate, Generate, Predict
from pipelines.sentiment.presets import PRESETS

TASK = "sentiment"


@cli.quiet_imports()
def function_of(command: str) -> Callable:
    """Imports the function of a command, and TensorFlow with it."""
    function: Callable
    match command:
        case "train":
            from pipelines.sentiment.train import train as function
        case "evaluate":
            from pipelines.sentiment.evaluate import evaluate as function
        case "export":
            from pipelines.sentiment.export import export as function
        case "predict":
            from pipelines.sentiment.predict import predict as function
        case "release":
            from pipelines.sentiment.release import release as function
        case "pretrain":
            from pipelines.sentiment.language_model.train import train as function
        case "generate":
            from pipelines.sentiment.language_model.predict import generate as function
    return function


SHARED = Commands(TASK, Config, PRESETS, Evaluate, function_of, data="the reviews")
make_export = SHARED.make_export


def train(arguments: list[str]):
    preset, config = cli.parse_preset(TASK, "train", adapt_presets(arguments), arguments)
    function_of("train")(config, preset)


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


def predict(arguments: list[str]) -> int:
    options = cli.parse(TASK, "predict", Predict, arguments)
    require_export(options.model, TASK, make_export)
    return function_of("predict")(options.model, options.input, options.picture)


def pretrain(arguments: list[str]):
    preset, config = cli.parse_preset(TASK, "pretrain", LANGUAGE_MODELS, arguments)
    function_of("pretrain")(config, preset)


def generate(arguments: list[str]) -> int:
    options = cli.parse(TASK, "generate", Generate, arguments)
    require_export(options.run, language_model.TASK, make_export, TASK)
    return function_of("generate")(options.run, options.decoding, options.number)


COMMANDS = {
    "train": described("Train a preset on labelled reviews, or resume it.", train),
    "evaluate": described("Score a run on labelled reviews.", SHARED.evaluate),
    "export": described("Write a SavedModel that takes strings, of a run or of the average of several.", SHARED.export),
    "predict": described("Label texts with an export, a JSON object in each line.", predict),
    "fine-tune": described("Train another run further, on other data and labels.", SHARED.fine_tune),
    "release": described("Write a small, documented folder of a run, which is a run as well.", SHARED.release),
    "pretrain": described("Train a language model on all texts of a data set, for --init-from and generate.", pretrain),
    "generate": described("Generate texts with a language model, from a prefix.", generate),
}


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns the exit status."""
    return cli.main(TASK, COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())

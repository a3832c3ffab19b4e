"""The command line of every pipeline: chooses the command, parses with tyro, and turns faults into one line.

Nothing here imports TensorFlow, so that `--help` is quick; the commands import what they need when they run.
"""

import contextlib
import dataclasses
import difflib
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence

import tyro

from pipelines.common.config import from_json
from pipelines.common.errors import UserError
from pipelines.common.runs import Run

QUIET = "3"  # no messages of TensorFlow below a fatal error
FAULT = 2
INTERRUPTED = 128 + 2  # as a shell reports a process that Ctrl-C ended
BROKEN_PIPE = 128 + 13

Command = Callable[[list[str]], int | None]


def main(task: str, commands: Mapping[str, Command], arguments: Sequence[str] | None = None) -> int:
    """Runs one command of a pipeline and gives the exit status.

    0: done; 1: some inputs were bad; 2: a fault that the user can mend, told in one line on standard error; 130:
    interrupted.

    Args:
        task: the pipeline's name.
        commands: name -> function of the arguments behind the command's name; its docstring's first line is the help.
        arguments: those behind the program's name; None: the process's own.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # Before TensorFlow is imported: no news about missing GPUs between the lines of a report.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", QUIET)
    # On its own TensorFlow leaves oneDNN's matrix products to processors with AVX-512; with AVX2 they are faster, too.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever keras.json says: the layers are written in TensorFlow
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what a test puts in their place may not have it
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        if not arguments or arguments[0] in ("-h", "--help"):
            print(usage(task, commands))
            return 0 if arguments else FAULT
        return choose(commands, arguments[0])(arguments[1:]) or 0
    except UserError as error:
        print(f"{program(task)}: {' '.join(str(error).split())}", file=sys.stderr)
        return FAULT
    except KeyboardInterrupt:
        print(f"{program(task)}: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has enough, as `head` does; nothing may be written at exit any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except SystemExit as end:  # tyro, after its help or its box with what is wrong
        return end.code if isinstance(end.code, int) else FAULT


def choose(commands: Mapping[str, Command], name: str) -> Command:
    require_known("command", name, commands)
    return commands[name]


def require_known(kind: str, name: str, known: Iterable[str]):
    """UserError, with the name that was probably meant, when `name` is not known."""
    known = list(known)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise UserError(f"there is no {kind} {name}{hint}; expected one of {', '.join(known)}")


def usage(task: str, commands: Mapping[str, Command]) -> str:
    width = max(map(len, commands))
    help_texts = {name: (command.__doc__ or "").strip().partition("\n")[0] for name, command in commands.items()}
    lines = [f"  {name:<{width}}  {text}" for name, text in help_texts.items()]
    return "\n".join([f"usage: {program(task)} COMMAND ...", "", *lines, "", "COMMAND --help tells what it takes."])


def program(task: str) -> str:
    return f"python -m pipelines.{task}"


@contextlib.contextmanager
def quiet_imports():
    """Keeps TensorFlow's remarks on missing GPUs, which it makes before any log level holds, off standard error.

    Not when TF_CPP_MIN_LOG_LEVEL asks for more than errors; and when the import fails, all is told.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") != QUIET:
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as remarks:
        os.dup2(remarks.fileno(), 2)
        try:
            yield
        except BaseException:
            remarks.seek(0)
            os.write(kept, remarks.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def parse_preset(task: str, command: str, presets: dict, arguments: list[str]):
    """(name of the preset, its config with the fields that the arguments change).

    Args:
        presets: name -> (description, config).
    """
    if arguments and not arguments[0].startswith("-"):
        require_known("preset", arguments[0], presets)
    config = tyro.extras.overridable_config_cli(presets, prog=f"{program(task)} {command}", args=arguments)
    # tyro gives the config alone; it accepts no flag before the preset's name.
    return arguments[0], config


def parse(task: str, command: str, parser, arguments: list[str], default=None):
    """Arguments into what `parser`, a dataclass or function, makes of them; `default` is an instance of it."""
    options = {} if default is None else {"default": default}
    return tyro.cli(parser, prog=f"{program(task)} {command}", args=arguments, **options)


@dataclasses.dataclass(frozen=True)
class Export:
    """Export a run as a SavedModel; several runs, as one that averages their probabilities."""

    run: tuple[pathlib.Path, ...]
    """Run, or several runs with the same vocabulary and labels."""

    to: pathlib.Path | None = None
    """Folder of the export. Default: export/ in the folder of the first run."""


def parse_export(task: str, arguments: list[str]) -> Export:
    """Parses the arguments of `export`, where a task can average several runs."""
    options = parse(task, "export", Export, arguments)
    if not options.run:
        raise UserError("export needs --run DIR: a trained run")
    return options


def parse_fine_tuning(task: str, kind, arguments: list[str], data: str):
    """The config of fine-tuning: that of the run which --from names, with the fields that the arguments change.

    Args:
        kind: the class of the task's configs, with `for_fine_tuning`.
        data: what the task trains on, such as "the reviews".
    """
    start, rest = take_option(arguments, "from")
    if start is None and not {"-h", "--help"} & set(arguments):
        raise UserError(f"fine-tune needs --from RUN --data WHERE: the run to start from, and {data} to train on")
    default = kind()
    if start is not None:
        run = Run.open(start, task).require_weights()
        default = from_json(kind, run.config).for_fine_tuning(run.path)
    config = parse(task, "fine-tune --from RUN", kind, rest, default)
    if not any(argument.split("=")[0] == "--data" for argument in rest):
        raise UserError(f"fine-tune needs --data WHERE: {data} to train on")
    return config


def take_option(arguments: list[str], name: str) -> tuple[str | None, list[str]]:
    """(value of `--name VALUE` or `--name=VALUE`, the other arguments); None when it is not there."""
    for place, argument in enumerate(arguments):
        if argument.startswith(f"--{name}="):
            return argument.split("=", 1)[1], arguments[:place] + arguments[place + 1 :]
        if argument == f"--{name}" and place + 1 < len(arguments):
            return arguments[place + 1], arguments[:place] + arguments[place + 2 :]
    return None, arguments

"""The command line of every pipeline: selects the command, parses its arguments with tyro, and prints errors.

This module does not import TensorFlow, so that `--help` is fast; a command imports what it needs when it runs.
"""

import contextlib
import dataclasses
import difflib
import errno
import itertools
import os
import pathlib
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

import tyro

from pipelines.common import named_runs
from pipelines.common.config import expand_home, from_json
from pipelines.common.errors import UserError, WorkerLostError
from pipelines.common.runs import Run, beside_release

QUIET = "3"  # no messages of TensorFlow below a fatal error
IMPORTING = threading.RLock()  # held while standard error is hidden
FAULT = 2
INTERRUPTED = 128 + 2  # as a shell reports a process that Ctrl-C ended
BROKEN_PIPE = 128 + 13
WORKER_LOST = os.EX_TEMPFAIL  # 75
# Of standard output: an error of a file has its name, and files.py reports full disks itself.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)

PATHS = tyro.constructors.ConstructorRegistry()

Command = Callable[[list[str]], int | None]


def main(task: str, commands: Mapping[str, Command], arguments: Sequence[str] | None = None) -> int:
    """Runs a command of a pipeline, and returns the exit status.

    0: success; 1: some inputs were invalid; 2: an error that the user can correct, described in one line on standard
    error; 75: another worker of the cluster was lost, all have to be started again; 130: interrupted.

    Args:
        task: name of the pipeline.
        commands: name -> function of the arguments after the command. The first line of its docstring is the help.
        arguments: the command and its arguments; None: those of the process.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # Set before TensorFlow is imported: no messages about missing GPUs between the lines of a report.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", QUIET)
    # By default TensorFlow uses oneDNN's matrix products only with AVX-512; with AVX2 they are faster as well.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # also if keras.json has another one: the layers need TensorFlow
    if sys.stderr is None:  # it is closed
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (open until the process ends)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a replacement by a test may not have it
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        if sys.stdout is None:
            raise UserError("standard output is closed: expected a terminal, a file or a pipe")
        status = execute(task, commands, arguments)
        sys.stdout.flush()
        return status
    except UserError as error:
        print(f"{program(task)}: {' '.join(str(error).split())}", file=sys.stderr)
        return FAULT
    except WorkerLostError as error:
        print(f"{program(task)}: {' '.join(str(error).split())}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(WORKER_LOST)  # TensorFlow would wait for the lost worker
    except KeyboardInterrupt:
        print(f"{program(task)}: interrupted; the same command resumes where it stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        discard_output()  # the reader of the output has closed it, as `head` does
        return BROKEN_PIPE
    except OSError as error:
        if error.filename is not None:
            what = f"{error.filename} could not be read or written: "
        elif error.errno in UNWRITABLE:
            discard_output()
            what = "standard output could not be written: "
        else:
            what = ""
        print(f"{program(task)}: {what}{error.strerror or error}", file=sys.stderr)
        return FAULT


def execute(task: str, commands: Mapping[str, Command], arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage(task, commands))
        return 0 if arguments else FAULT
    require_utf8(arguments)
    try:
        return choose(commands, arguments[0])(arguments[1:]) or 0
    except SystemExit as end:  # raised by tyro after it printed its help or an error
        return end.code if isinstance(end.code, int) else FAULT


def discard_output():
    """Discards standard output, including what Python would write at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def require_utf8(arguments: Sequence[str]):
    """Raises UserError for an argument that is not UTF-8, except for an INPUT of predict, which it answers itself."""
    for before, argument in itertools.pairwise(["", *arguments]):
        is_input = arguments[0] == "predict" and not before.startswith("--") and not argument.startswith("--")
        if not is_input and os.fsencode(argument).decode(errors="replace") != argument:
            raise UserError(f"the argument {argument.encode(errors='backslashreplace').decode()} is not UTF-8")


@PATHS.primitive_rule
def path_rule(type_info) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """Reads paths."""
    if type_info.type is not pathlib.Path:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda arguments: named_runs.read(arguments[0]),
        is_instance=lambda value: isinstance(value, pathlib.Path),
        str_from_instance=lambda path: [str(path)],
    )


def choose(commands: Mapping[str, Command], name: str) -> Command:
    require_known("command", name, commands)
    return commands[name]


def require_known(kind: str, name: str, known: Iterable[str]):
    """Raises UserError, with the most similar name, unless `name` is known."""
    known = list(known)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise UserError(f"there is no {kind} {name}{hint}; expected one of {', '.join(known)}")


def usage(task: str, commands: Mapping[str, Command]) -> str:
    width = max(map(len, commands))
    help_texts = {name: (command.__doc__ or "").strip().partition("\n")[0] for name, command in commands.items()}
    lines = [f"  {name:<{width}}  {text}" for name, text in help_texts.items()]
    return "\n".join([f"usage: {program(task)} COMMAND ...", "", *lines, "", "COMMAND --help lists its arguments."])


def program(task: str) -> str:
    return f"python -m pipelines.{task}"


@contextlib.contextmanager
def quiet_imports():
    """Hides TensorFlow's messages about missing GPUs, which it prints on import whatever the log level.

    They are printed if TF_CPP_MIN_LOG_LEVEL asks for more than errors, or if the import fails. Threads take turns, as
    standard error is that of the process.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") != QUIET:
        yield
        return
    with IMPORTING, tempfile.TemporaryFile() as messages:
        sys.stderr.flush()
        stderr = os.dup(2)
        os.dup2(messages.fileno(), 2)
        try:
            yield
        except BaseException:
            messages.seek(0)
            os.write(stderr, messages.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def parse_preset(task: str, command: str, presets: dict, arguments: list[str]):
    """Returns the name of the preset, and its configuration with the fields that the arguments change.

    A preset whose folder has a release is trained in my-NAME beside it, unless --run is given.

    Args:
        presets: name -> (description, config).
    """
    if arguments and not arguments[0].startswith("-"):
        require_known("preset", arguments[0], presets)
        description, config = presets[arguments[0]]
        config = dataclasses.replace(config, run=beside_release(config.run))
        presets = presets | {arguments[0]: (description, config)}
    config = tyro.extras.overridable_config_cli(
        presets, prog=f"{program(task)} {command}", args=arguments, registry=PATHS
    )
    # tyro returns only the configuration, and accepts no flag before the name of the preset.
    return arguments[0], config


def parse(task: str, command: str, parser, arguments: list[str], default=None):
    """Returns an instance of the dataclass `parser` with the values of the arguments, else those of `default`."""
    options = {} if default is None else {"default": default}
    return tyro.cli(parser, prog=f"{program(task)} {command}".strip(), args=arguments, registry=PATHS, **options)


def parse_fine_tuning(task: str, kind, arguments: list[str], data: str):
    """Returns the configuration of fine-tuning: that of the run --from, with the fields that the arguments change.

    Args:
        kind: the configuration class of the task.
        data: description of the training data, such as "the reviews".
    """
    start, rest = take_option(arguments, "from")
    if start is None and not {"-h", "--help"} & set(arguments):
        raise UserError(f"fine-tune needs --from RUN --data WHERE: the run to start from, and {data} to train on")
    default = kind()
    if start is not None:
        run = Run.open(named_runs.find(expand_home(start)), task).require_weights()
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

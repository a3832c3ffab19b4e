import dataclasses
import os
import pathlib
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

from pipelines.common import cli
from pipelines.common.errors import UserError


def fail(arguments):
    """Fail with what it is given."""
    raise UserError("line 7 is\nwrong")


def interrupt(arguments):
    """Be interrupted."""
    raise KeyboardInterrupt


def status(arguments):
    """Give a status."""
    return int(arguments[0]) if arguments else None


COMMANDS = {"fail": fail, "interrupt": interrupt, "status": status}


def main(*arguments):
    return cli.main("task", COMMANDS, arguments)


def test_status():
    assert main("status") == 0
    assert main("status", "1") == 1


def test_a_fault_is_one_line_on_standard_error(capsys):
    assert main("fail") == 2
    assert capsys.readouterr() == ("", "python -m pipelines.task: line 7 is wrong\n")


def test_ctrl_c(capsys):
    assert main("interrupt") == 130
    assert "the same command resumes" in capsys.readouterr().err


def test_help_names_the_commands(capsys):
    assert main("--help") == 0
    assert "interrupt  Be interrupted." in capsys.readouterr().out
    assert main() == 2


def test_an_unknown_command_has_a_suggestion(capsys):
    assert main("statsu") == 2
    assert "there is no command statsu (did you mean status?)" in capsys.readouterr().err


@dataclasses.dataclass(frozen=True)
class Options:
    """Some options."""

    run: Path
    """Folder of the run."""

    units: int = 3
    """How many."""


RUN = Path("run")
PRESETS = {"small": ("Small.", Options(RUN, 1)), "large": ("Large.", Options(RUN, 9))}


def test_presets():
    assert cli.parse_preset("task", "train", PRESETS, ["large"]) == ("large", Options(RUN, 9))
    assert cli.parse_preset("task", "train", PRESETS, ["small", "--units", "5"]) == ("small", Options(RUN, 5))
    with pytest.raises(UserError, match=r"no preset lrge \(did you mean large\?\); expected one of small, large"):
        cli.parse_preset("task", "train", PRESETS, ["lrge"])


def test_a_preset_whose_folder_has_a_release_is_trained_beside_it(root):
    release = root / "saved_models" / "video" / "50salads-actions"
    presets = {"actions": ("Actions.", Options(release))}
    beside = release.with_name("my-50salads-actions")
    assert cli.parse_preset("video", "train", presets, ["actions"]) == ("actions", Options(beside))
    assert cli.parse_preset("video", "train", presets, ["actions", "--run", str(release)])[1].run == release
    assert presets["actions"][1].run == release


@pytest.mark.parametrize("arguments", [["small", "--unit", "5"], ["small", "--units", "many"], []])
def test_tyro_tells_what_is_wrong_with_an_argument(arguments, capsys):
    def train(arguments):
        """Train."""
        cli.parse_preset("task", "train", PRESETS, arguments)

    assert cli.main("task", {"train": train}, ["train", *arguments]) == 2
    told = capsys.readouterr().err
    assert "--units" in told or "{small,large}" in told.replace(" ", "")


@pytest.mark.parametrize("arguments", [["--a", "1", "--from", "run", "--b"], ["--a", "1", "--from=run", "--b"]])
def test_take_option(arguments):
    assert cli.take_option(arguments, "from") == ("run", ["--a", "1", "--b"])
    assert cli.take_option(["--from"], "from") == (None, ["--from"])


def test_quiet_imports_hide_remarks_but_not_failures(capfd, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", cli.QUIET)
    with cli.quiet_imports():
        os.write(2, b"a remark\n")
    assert capfd.readouterr().err == ""
    with pytest.raises(ImportError), cli.quiet_imports():
        os.write(2, b"the cause\n")
        raise ImportError
    assert capfd.readouterr().err == "the cause\n"
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    with cli.quiet_imports():
        os.write(2, b"a remark\n")
    assert capfd.readouterr().err == "a remark\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--units", "\udce9"], r"the argument \udce9 is not UTF-8"),
        (["run", "--path=caf\udce9"], r"the argument --path=caf\udce9 is not UTF-8"),
        (["predict", "--path", "\udce9"], r"the argument \udce9 is not UTF-8"),
        (["run", "--path", ""], "the path is empty"),
        (["run", "--path="], "the path is empty"),
        (["run", "--path", "n" * 300], "could not be read or written: File name too long"),
    ],
)
def test_paths_that_are_none(capsys, arguments, message):
    @dataclasses.dataclass
    class Options:
        path: pathlib.Path

    def run(arguments):
        """Read a file."""
        return cli.parse("task", "run", Options, arguments).path.is_file()

    assert cli.main("task", {"run": run, "predict": run}, arguments) == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_an_input_of_predict_that_is_not_utf8_is_left_to_the_command():
    assert (
        cli.main(
            "task",
            {"predict": lambda arguments: arguments != ["--units", "3", "\udce9"]},
            ["predict", "--units", "3", "\udce9"],
        )
        == 0
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("command", "redirected", "message"),
    [
        ("talk 1", ">/dev/full", "standard output could not be written: No space left on device"),
        ("talk 99999", ">/dev/full", "standard output could not be written: No space left on device"),
        ("--help", ">/dev/full", "standard output could not be written: No space left on device"),
        ("talk --help", ">/dev/full", "standard output could not be written: No space left on device"),
        ("talk 1", ">&-", "standard output is closed: expected a terminal, a file or a pipe"),
        ("listen", "<&-", "standard input is closed, but the input - stands for its lines"),
        ("listen", "0>/dev/null", "standard input could not be read: Bad file descriptor"),
        ("listen", "<&- 2>&-", ""),
        ("talk 1", ">&- 2>&-", ""),
    ],
)
def test_standard_streams_that_do_not_work(root, monkeypatch, unbuffered, command, redirected, message):
    code = """
import sys, tyro
from pipelines.common import cli
from pipelines.common.serving.text_inputs import read_texts
def talk(arguments):
    print("word " * tyro.cli(int, args=arguments))
def listen(arguments):
    print(list(read_texts(["-"])))
sys.exit(cli.main("task", {"talk": talk, "listen": listen}))
"""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    shell = f'exec "$0" -c "$1" {command} {redirected}'
    done = subprocess.run(["sh", "-c", shell, sys.executable, code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (f"python -m pipelines.task: {message}\n" if message else "")


def test_a_reader_that_has_enough_is_no_fault(root):
    code = (
        "import sys\nfrom pipelines.common import cli\n"
        "def talk(arguments):\n    'Talk.'\n    while True:\n        print('word ' * 1000)\n"
        "sys.exit(cli.main('task', {'talk': talk}, ['talk']))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


@dataclasses.dataclass(frozen=True)
class Group:
    cache: Path = Path("cache")


@dataclasses.dataclass(frozen=True)
class WithPaths:
    run: Path
    teachers: tuple[Path, ...] = ()
    prefix: str = ""
    group: tyro.conf.OmitArgPrefixes[Group] = Group()


def test_the_home_folder_in_a_flag_with_an_equals_sign(monkeypatch):
    """A shell replaces ~ in `--run ~/mine`, but not in `--run=~/mine`."""
    monkeypatch.setenv("HOME", "/home/me")
    arguments = ["--run=~/mine", "--teachers", "~/a", "b~", "--prefix=~/text", "--cache=~"]
    options = cli.parse("sentiment", "train", WithPaths, arguments)
    assert options == WithPaths(
        Path("/home/me/mine"), (Path("/home/me/a"), Path("b~")), "~/text", Group(Path("/home/me"))
    )
    presets = {"sample": ("A preset.", WithPaths(Path("x")))}
    name, config = cli.parse_preset("sentiment", "train", presets, ["sample", "--run=~/mine"])
    assert (name, config.run) == ("sample", Path("/home/me/mine"))

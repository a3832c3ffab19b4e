"""The command."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from pipelines.app.__main__ import main
from tests.pipelines.serve.conftest import ROOT, Client


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port", "70000"], "--port is 70000, but must be from 0 to 65535"),
        (["--host", "no.such.host.invalid"], "the server cannot listen on --host no.such.host.invalid --port 7860: "),
        (["--video", "no/such"], "there is no run or export no/such"),
    ],
)
def test_wrong_options_are_one_sentence(arguments, sentence, capsys):
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith("python -m pipelines.app: ") and sentence in said.err


def test_a_port_in_use_is_reported_first(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["--port", str(taken.getsockname()[1])]) == 2
    assert "Address already in use" in capsys.readouterr().err


def test_without_the_extra_the_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr("pipelines.app.__main__.prepare", lambda folder: None)  # it changes the environment
    monkeypatch.setitem(sys.modules, "gradio", None)  # the import fails
    assert main(["--port", "0"]) == 2
    assert "needs gradio, which is not installed: pip install 'unfold[app]'" in capsys.readouterr().err


@pytest.mark.extra
def test_a_process_shows_the_page_and_leaves_nothing(tmp_path, runs):
    """SIGTERM comes while the model is being loaded."""
    pytest.importorskip("gradio", reason="needs the extra app: pip install 'unfold[app]'")
    command = [sys.executable, "-m", "pipelines.app", "--port", "0", "--sentiment", runs["sentiment"]]
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            said = process.stdout.readline()
            client = Client(int(re.search(r"http://127\.0\.0\.1:(\d+)", said)[1]))
            began = time.monotonic()
            assert client.get("/").status == 200
            print(f"first answer after {time.monotonic() - began:.2f} s")
            assert any(path.name.startswith("unfold-page-") for path in temporary.iterdir())
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) == 0
        finally:
            process.kill()
        assert "Traceback" not in process.stderr.read()
    assert not any(path.name.startswith("unfold-page-") for path in temporary.iterdir())

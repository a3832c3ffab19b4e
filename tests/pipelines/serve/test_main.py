"""The command: its options, and the server in a process of its own, which is stopped and killed."""

import importlib.util
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.pipelines.serve.conftest import PREDICT, ROOT, Process, assert_same, receive

fastapi = pytest.importorskip("fastapi", reason="needs the extra serve: pip install 'unfold[serve]'")


def run(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pipelines.serve", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port", "70000"], "--port is 70000, but must be from 0 to 65535"),
        (["--batch-size", "0"], "--batch-size is 0, but must be at least 1"),
        (["--timeout", "nan"], "--timeout is nan, but must be above 0 and at most 86400"),
        (["--host", "no.such.host.invalid"], "the server cannot listen on --host no.such.host.invalid --port 8501: "),
        (["--sentiment", "no/such"], "there is no run or export no/such"),
    ],
)
def test_wrong_options_are_one_sentence(arguments, sentence, capsys):
    from pipelines.serve.__main__ import main

    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith("python -m pipelines.serve: ") and sentence in said.err


def test_a_port_in_use_is_reported_before_models_are_loaded(capsys):
    from pipelines.serve.__main__ import main

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port), "--sentiment", str(ROOT)]) == 2
    assert (
        f"the server cannot listen on --host 127.0.0.1 --port {port}: Address already in use" in capsys.readouterr().err
    )


def test_without_the_extra_the_command_says_what_to_install(monkeypatch, capsys):
    from pipelines.serve.__main__ import main

    monkeypatch.setitem(sys.modules, "fastapi", None)  # the import fails
    assert main([]) == 2
    assert "needs fastapi, which is not installed: pip install 'unfold[serve]'" in capsys.readouterr().err


def test_help_is_short_of_tensorflow():
    done = run("--help")
    assert done.returncode == 0 and "--sentiment RUN" in done.stdout and done.stderr == ""


@pytest.mark.extra
def test_a_process_answers_and_stops_when_it_has_finished_what_it_began(start, rows):
    server = start()
    client = server.client
    assert set(client.get("/healthz").json["models"]) >= {"sentiment", "translation", "captioning", "video"}
    expected = {task: client.predictions(task, given) for task, given in rows.items()}
    with ThreadPoolExecutor(8) as pool, client.connect() as slow, client.connect() as idle:
        body = json.dumps({"instances": rows["sentiment"]}).encode()
        head = f"POST {PREDICT.format('sentiment')} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        slow.sendall(head.encode() + body[:-1])
        idle.sendall(b"GET /heal")
        time.sleep(0.3)
        stopped = pool.submit(server.kill, signal.SIGTERM)
        time.sleep(0.5)
        assert idle.recv(1) == b""  # nothing was begun there
        slow.sendall(body[-1:])
        answer = receive(slow)
        assert answer.status == 200
        assert_same(answer.json["predictions"], expected["sentiment"])
        assert stopped.result(60) == 0
    with pytest.raises(ConnectionRefusedError):
        client.get("/healthz")
    log = server.log.read_text()
    assert log.rstrip().endswith("stopped") and "Traceback" not in log
    assert "good" not in log  # a word of a user


@pytest.mark.extra
def test_a_killed_server_refuses_cleanly_and_the_next_one_serves(start, rows, runs, tmp_path):
    server = start(tasks=["sentiment"])
    client, port = server.client, server.client.port
    expected = client.predictions("sentiment", rows["sentiment"])
    failures, answers = [], []

    def ask():
        while not failures:
            try:
                answers.append(client.predictions("sentiment", rows["sentiment"]))
            except (ConnectionError, OSError, EOFError) as error:
                failures.append(error)
            except Exception as error:  # the connection was closed within an answer
                failures.append(error)
                assert type(error).__name__ in ("RemoteDisconnected", "IncompleteRead"), error

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for each in clients:
        each.start()
    while len(answers) < 8:
        time.sleep(0.01)
    assert server.kill() == -signal.SIGKILL
    for each in clients:
        each.join(60)
        assert not each.is_alive()
    assert failures
    for answer in answers:
        assert_same(answer, expected)
    again = Process(tmp_path / "again", "--sentiment", runs["sentiment"], "--port", port)
    try:
        assert again.client.port == port
        assert_same(again.client.predictions("sentiment", rows["sentiment"]), expected)
    finally:
        assert again.kill(signal.SIGINT) == 0


def assert_alike(found, expected):
    """Compares the form of two JSON values: another model has other words, numbers and lengths, and may answer more."""
    if isinstance(expected, dict):
        assert found.keys() >= expected.keys()
        for name in expected:
            assert_alike(found[name], expected[name])
    elif isinstance(expected, list):
        assert found and len({type(each) for each in found} | {type(each) for each in expected}) == 1
        assert_alike(found[-1], expected[-1])
    else:
        assert type(found) is type(expected)


@pytest.mark.extra
@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_the_transcript_of_the_documentation(start, root):
    spec = importlib.util.spec_from_file_location("transcript", root / "docs" / "transcript.py")
    transcript = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(transcript)
    client, page = start().client, transcript.PAGE.read_text("utf-8")
    entries = list(transcript.ENTRY.finditer(page))
    assert page.count("\n$ ") == len(entries) == 8
    for entry, task in zip(entries, ("sentiment", "translation", "captioning", "video"), strict=False):
        assert f"models/{task}:predict" in entry["command"]

    def run(command):
        return transcript.run(command.replace("localhost:8501", f"localhost:{client.port}"))

    for entry in entries:
        found, expected = json.loads(run(transcript.command_of(entry))), json.loads(entry["answer"])
        if "error" in expected or "model_version_status" in expected:
            assert found == expected
        else:
            assert_alike(found, expected)
    assert [len(part) for part in transcript.rewrite(page, run).split("```")][::2] == [
        len(part) for part in page.split("```")
    ][::2]


@pytest.mark.extra
def test_the_warning_for_other_hosts(start):
    server = start("--host", "0.0.0.0", "--allow-host", "models.example", tasks=["sentiment"])
    assert "WARNING all that can reach 0.0.0.0 can use the server" in server.log.read_text()
    for host, status in (("models.example", 200), ("10.1.2.3", 200), ("evil.example", 403)):
        assert server.client.send("GET", "/healthz", headers={"Host": host}).status == status

"""The tiny runs of the four tasks behind a server, in this process and in one of its own."""

import base64
import contextlib
import dataclasses
import http.client
import json
import math
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from tests.pipelines.sentiment.conftest import pretrained  # noqa: F401

ROOT = pathlib.Path(__file__).resolve().parents[3]
START = 300  # seconds
PREDICT = "/v1/models/{}:predict"


@pytest.fixture(scope="session")
def runs(captioning_run, sentiment_run, translation_run, video_run) -> dict[str, pathlib.Path]:
    """Returns the run of each task."""
    made = {"captioning": captioning_run, "sentiment": sentiment_run, "translation": translation_run}
    return {task: shared.run for task, shared in {**made, "video": video_run}.items()}


@pytest.fixture(scope="session")
def models(runs):
    """Returns the loaded models by name."""
    from pipelines.serve import models

    return models.load({task: [path] for task, path in runs.items()})


@pytest.fixture(scope="session")
def rows(captioning_run) -> dict[str, list]:
    """Returns the rows of requests for each task, as JSON; of captioning, the last is not an image."""
    images = [captioning_run.image(number).read_bytes() for number in range(4)]
    frames = [
        [[[[40 * row + 9 * pixel + time, 7, time] for pixel in range(6)] for row in range(5)] for time in range(4)]
    ]
    return {
        "sentiment": ["A good, great film.", "the film was awful", "", "Don't", "it was dull<br />and bad!"],
        "translation": ["A red star.", "This house isn't blue!", "A grey door.", "Unknown words"],
        "captioning": [{"b64": base64.b64encode(image).decode()} for image in [*images, b"no image"]],
        "video": [{"frames": video, "lengths": length} for video in frames for length in (4, 3, 1)],
    }


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))

    @property
    def error(self) -> str:
        """The sentence of an answer to a request that failed, whose body has nothing else."""
        assert self.headers["content-type"] == "application/json"
        assert self.json.keys() == {"error"} and self.json["error"].strip() and "\n" not in self.json["error"]
        return self.json["error"]


@dataclasses.dataclass
class Client:
    """A client of a server on this machine; every request has a connection of its own."""

    port: int
    timeout: float = 600.0  # seconds; the machine may be busy

    def send(self, method: str, path: str, body: bytes | None = None, headers=None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def get(self, path: str) -> Answer:
        return self.send("GET", path)

    def predict(self, model: str, body, **headers) -> Answer:
        return self.send("POST", PREDICT.format(model), json.dumps(body).encode(), headers)

    def predictions(self, model: str, rows: list) -> list:
        answer = self.predict(model, {"instances": rows})
        assert answer.status == 200, answer
        return answer.json["predictions"]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=self.timeout)

    def raw(self, content: bytes) -> Answer:
        """Sends bytes as they are."""
        with self.connect() as connection:
            connection.sendall(content)
            return receive(connection)


def receive(connection: socket.socket) -> Answer:
    response = http.client.HTTPResponse(connection)
    response.begin()
    return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def assert_same(found, expected):
    """Compares JSON values: numbers to 5 digits, as a batch adds in another order, all else exactly."""
    assert type(found) is type(expected), (found, expected)
    if isinstance(found, dict):
        assert found.keys() == expected.keys()
        for name in found:
            assert_same(found[name], expected[name])
    elif isinstance(found, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(found, float):
        assert math.isclose(found, expected, rel_tol=1e-5, abs_tol=1e-6), (found, expected)
    else:
        assert found == expected


@contextlib.contextmanager
def serving(models, hosts=None, **limits):
    """Yields a client of a server in another thread, and its service."""
    import uvicorn

    from pipelines.serve.app import Service
    from pipelines.serve.connections import Protocol, Server
    from pipelines.serve.guard import Hosts
    from pipelines.serve.limits import Limits

    service = Service(models, Limits(**limits), hosts or Hosts())
    protocol = type("Protocol", (Protocol,), {"seconds": service.limits.receive})
    config = uvicorn.Config(
        service.app, http=protocol, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False
    )
    listener = socket.create_server(("127.0.0.1", 0))
    started = threading.Event()
    server = Server(config, started.set, service.stop)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        assert started.wait(30)
        yield Client(listener.getsockname()[1]), service
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
        assert service.close(10) and not thread.is_alive()


@pytest.fixture(scope="session")
def client(models) -> Client:
    """Returns a client of a server in this process, with short limits of time and small ones of size."""
    with serving(models, receive=1.5, body=2**20, answer=600) as (client, _):
        yield client


class Process:
    """`python -m pipelines.serve` with the given arguments, and a client of it."""

    def __init__(self, log: pathlib.Path, *arguments):
        self.log = log
        command = [sys.executable, "-m", "pipelines.serve", *map(str, arguments)]
        if "--port" not in command:
            command += ["--port", "0"]
        with open(log, "w") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, start_new_session=True)
        deadline = time.monotonic() + START
        while not (found := re.search(r"serving on http://[\d.]+:(\d+)", log.read_text())):
            assert self.process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        self.client = Client(int(found[1]))

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Sends the signal and returns the exit status."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)
        return self.process.wait(60)


@pytest.fixture
def start(runs, tmp_path):
    """Returns a function that starts the server of the four runs, in a process of its own."""
    started = []

    def start(*arguments, tasks=("sentiment", "translation", "captioning", "video")) -> Process:
        flags = [part for task in tasks for part in (f"--{task}", runs[task])]
        started.append(Process(tmp_path / f"log-{len(started)}", *flags, *arguments))
        return started[-1]

    yield start
    for process in started:
        process.kill()

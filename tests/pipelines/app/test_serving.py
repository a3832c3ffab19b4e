"""The REST interface and the page in one process: one port, one guard, one set of models."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("gradio", reason="needs the extra app: pip install 'unfold[app]'")

from tests.pipelines.app.conftest import showing
from tests.pipelines.serve.conftest import ROOT, START, Client

# Gradio's queue sets this option of pandas, in newer versions of which it is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated")


@pytest.fixture(scope="module")
def both(models, folder):
    """Returns a client of the page and of the REST interface."""
    with showing(models, folder, with_rest=True) as client:
        yield client


def test_the_page_is_shown_beside_the_rest_interface(both):
    page = both.get("/")
    assert page.status == 200 and b"gradio_config" in page.body and "x-request-id" in page.headers
    assert both.get("/config").json["analytics_enabled"] is False
    assert both.get("/gradio_api/openapi.json").error == "the page has nothing under this address"
    assert both.get("/metrics").body.count(b"unfold_requests_total{") >= 1
    assert both.get("/v1/models/other").error.startswith('there is no model "other": expected one of ')
    assert both.get("/v1/other").status == 404
    assert both.send("POST", "/v1/models/sentiment/metadata").status == 405


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}])
@pytest.mark.parametrize("path", ["/", "/v1/models/sentiment", "/healthz"])
def test_one_guard_refuses_for_both(both, path, headers):
    answer = both.send("GET", path, None, headers)
    assert answer.status == 403 and "foreign" in answer.error


def test_both_use_the_same_model(both, models):
    from pipelines.app.serving import Shared

    name = models.of("sentiment")[0].name
    loaded = models.get(name)
    assert Shared(models)["sentiment"] is Shared(models)[name] is loaded
    (found,) = both.predictions(name, ["A good film."])
    assert found == both.predictions("sentiment", ["A good film."])[0] and found["label"] in ("negative", "positive")
    state = both.get(f"/v1/models/{name}").json["model_version_status"][0]["state"]
    assert state == "AVAILABLE"


def test_calls_of_both_take_turns(both, models):
    models.get(models.of("sentiment")[0].name)
    answers = []
    with models.calls["sentiment"]:  # a call of the page
        asking = threading.Thread(target=lambda: answers.append(both.predictions("sentiment", ["A good film."])))
        asking.start()
        time.sleep(0.3)
        assert answers == []
    asking.join(60)
    assert len(answers) == 1


def test_models_that_failed_have_another_state(models):
    from pipelines.app.models import Models
    from pipelines.app.serving import Shared
    from pipelines.serve.pending import END, LOADING

    fresh = Models(list(models.found.values()))
    shared = Shared(fresh)
    assert {*shared} == {*fresh.found, *(each.task for each in fresh.found.values())} and len(shared) == len([*shared])
    assert shared["video"].state == LOADING
    fresh.failed.add(fresh.of("video")[0].name)
    assert shared["video"].state == END and "other" not in shared


@pytest.mark.extra
def test_the_page_needs_no_tensorflow_until_a_model_is_loaded():
    program = (
        "import sys, pathlib, tempfile\n"
        "from pipelines.app.__main__ import prepare\n"
        "prepare(pathlib.Path(tempfile.mkdtemp()))\n"
        "import pipelines.app.page, pipelines.app.serving\n"
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert (result.stdout, result.returncode) == ("[]\n", 0), result.stderr


@pytest.mark.extra
def test_a_process_shows_the_page_first_and_answers_what_it_has_begun(tmp_path, runs):
    flags = [part for task in ("sentiment", "translation") for part in (f"--{task}", runs[task])]
    command = [sys.executable, "-m", "pipelines.app", "--serve", "--port", "0", *flags]
    log = tmp_path / "log"
    with (
        open(log, "w") as output,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=output, text=True) as process,
    ):
        try:
            client = Client(int(re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())[1]))
            assert client.get("/").status == 200
            assert client.get("/healthz").error == "models are being loaded"
            assert client.predict("sentiment", {"instances": ["good"]}).headers["retry-after"] == "1"
            end = time.monotonic() + START
            while client.get("/healthz").status != 200:
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.1)
            assert len(client.predictions("translation", ["A red star."])) == 1
            body = json.dumps({"instances": ["good"]}).encode()
            head = (
                f"POST /v1/models/sentiment:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            with client.connect() as slow, client.connect() as stream:
                stream.sendall(b"GET /gradio_api/heartbeat/abc HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert stream.recv(12) == b"HTTP/1.1 200"
                slow.sendall(head.encode() + body[:-1])
                time.sleep(0.3)
                process.send_signal(signal.SIGTERM)
                time.sleep(0.5)
                slow.sendall(body[-1:])
                assert slow.recv(12) == b"HTTP/1.1 200"  # it had begun; the stream of the page is cut off
                assert process.wait(30) == 0
        finally:
            process.kill()
    said = log.read_text()
    assert "predict sentiment serving_default 1" in said and "Traceback" not in said and "good" not in said
    assert os.fspath(runs["sentiment"]) not in said

"""The app in this process, through FastAPI's TestClient: requests, answers, and how it refuses."""

# ruff: noqa: E402 (without the extra, the imports would fail)

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

REASON = "needs the extra serve: pip install 'unfold[serve]'"
pytest.importorskip("fastapi", reason=REASON)
pytest.importorskip("httpx2", reason=REASON)

from fastapi.testclient import TestClient

from pipelines.serve import rest
from pipelines.serve.app import Service
from pipelines.serve.guard import Hosts
from pipelines.serve.limits import Limits
from pipelines.serve.models import Signature
from pipelines.serve.pending import END, LOADING, Pending
from tests.pipelines.serve.conftest import PREDICT, assert_same

ROOT_URL = "http://127.0.0.1:8501"
TASKS = ("sentiment", "translation", "captioning", "video")


@pytest.fixture(scope="module")
def service(models):
    service = Service(models, Limits(body=10_000, batch_size=4, answer=600), Hosts(names=("models.example",)))
    yield service
    assert service.close(10)


@pytest.fixture(scope="module")
def web(service):
    with TestClient(service.app, base_url=ROOT_URL) as client:
        yield client


def predict(web, model, body, **options):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return web.post(PREDICT.format(model), content=content, **options)


def columns(rows):
    return (
        {name: [row[name] for row in rows] for name in rows[0]}
        if isinstance(rows[0], dict) and "b64" not in rows[0]
        else rows
    )


@pytest.mark.parametrize("task", TASKS)
def test_rows_and_columns_are_answered_as_the_signature_does(web, models, rows, task):
    signature = models[task].signatures["serving_default"]
    arrays, _ = rest.to_arrays(rest.Request("", True, rows[task]), signature.inputs)
    outputs = {name: rest.to_json(value, name) for name, value in signature(arrays).items()}
    by_row = predict(web, task, {"instances": rows[task]})
    by_column = predict(web, task, {"inputs": columns(rows[task])})
    assert by_row.status_code == by_column.status_code == 200
    assert_same(by_column.json(), {"outputs": outputs})
    expected = [dict(zip(outputs, values, strict=True)) for values in zip(*outputs.values(), strict=True)]
    assert_same(by_row.json(), {"predictions": expected})


def test_an_image_that_cannot_be_read_has_the_score_null(web, rows):
    *good, bad = predict(web, "captioning", {"instances": rows["captioning"]}).json()["predictions"]
    assert (bad["caption"], bad["score"]) == ("", None)
    assert all(isinstance(answer["score"], float) for answer in good)


def test_frames_past_the_length_have_no_label(web, rows):
    found = predict(web, "video", {"instances": rows["video"]}).json()["predictions"]
    assert [[label != "" for label in answer["labels"]].count(True) for answer in found] == [4, 3, 1]


def test_other_signatures(web):
    options = {"beam_size": 2, "length_penalty": 0.5, "min_length": 0, "max_length": 5}
    sources = {"source": ["A red star.", "A grey door."], "prefix": ["Une"], **options}
    answer = predict(web, "translation", {"signature_name": "beam", "inputs": sources})
    assert answer.status_code == 200, answer.text
    found = answer.json()["outputs"]
    assert np.shape(found["candidates"]) == (2, 2)
    assert all(sentence.startswith("Une") for sentence in found["translation"])
    defaults = predict(web, "translation", {"signature_name": "defaults", "inputs": {}}).json()["outputs"]
    assert defaults["beam_size"] >= 1
    explained = {"signature_name": "explain", "inputs": {"text": ["good film"]}}
    assert predict(web, "sentiment", explained).json()["outputs"]["tokens"] == [["good", "film"]]
    refused = predict(web, "sentiment", {"signature_name": "explain", "instances": ["good film"]})
    assert refused.status_code == 400 and 'the output "classes"' in refused.json()["error"]


def test_status_and_metadata(web, models):
    for path in ("/v1/models/sentiment", "/v1/models/sentiment/versions/1", "/v1/models/sentiment-run"):
        (status,) = web.get(path).json()["model_version_status"]
        assert status == {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in ("/v1/models/video/metadata", "/v1/models/video/versions/1/metadata"):
        found = web.get(path).json()
        assert found["model_spec"] == {"name": "video", "signature_name": "", "version": "1"}
        assert found["metadata"] == models["video"].metadata["metadata"]
    versioned = web.post("/v1/models/sentiment/versions/1:predict", json={"instances": ["good"]})
    assert versioned.json() == predict(web, "sentiment", {"instances": ["good"]}).json()
    assert web.get("/healthz").json()["status"] == "ok"


@pytest.mark.parametrize(
    ("method", "path", "status", "sentence"),
    [
        ("GET", "/v1/models/none", 404, 'there is no model "none": expected one of '),
        ("GET", "/v1/models/" + "x" * 100, 404, f'"{"x" * 40}…"'),
        ("GET", "/v1/models/sentiment/versions/2", 404, 'sentiment has no version "2": expected 1'),
        ("GET", "/v1/models/sentiment/versions/2/metadata", 404, "no version"),
        ("POST", "/v1/models/sentiment/versions/01:predict", 404, "no version"),
        ("POST", "/v1/models/sentiment/labels/stable:predict", 404, "not found: expected /v1/models/NAME"),
        ("POST", "/v1/models/sentiment:classify", 405, "method not allowed"),
        ("GET", "/v1/models/sentiment:predict", 404, 'no model "sentiment:predict"'),
        ("DELETE", "/v1/models/sentiment", 405, "method not allowed"),
        ("GET", "/v1/models/..%2F..%2Fetc", 404, "not found"),
        ("GET", "/docs", 404, "not found"),
        ("GET", "/openapi.json", 404, "not found"),
        ("POST", "/healthz", 405, "method not allowed"),
    ],
)
def test_other_addresses(web, method, path, status, sentence):
    answer = web.request(method, path, content=b"{}" if method == "POST" else None)
    assert answer.status_code == status and sentence in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"{", 400, "the body is not JSON"),
        ({"instances": [1]}, 400, "expected strings"),
        ({"instances": ["a"], "signature_name": "none"}, 404, 'no signature "none": expected one of'),
        ({"instances": ["a"] * 65}, 413, "has 65 rows: this signature takes at most 64"),
        ({"inputs": ["a"] * 5, "signature_name": "explain"}, 413, "has 5 rows: this signature takes at most 4"),
        ({"instances": ["x" * 10_000]}, 413, "the body is too large: expected at most 10000 bytes"),
    ],
)
def test_other_bodies(web, body, status, sentence):
    answer = predict(web, "sentiment", body)
    assert answer.status_code == status and sentence in answer.json()["error"]


def test_what_the_model_refuses_is_a_sentence(web):
    frames = [[[[[1, 2, 3]]]], [[[[1, 2, 3]]]]]
    answer = predict(web, "video", {"inputs": {"frames": frames, "lengths": [1]}})
    assert answer.status_code == 400 and "frames 2, lengths 1" in answer.json()["error"]
    beam = {"source": ["a", "b"], "prefix": ["a", "b", "c"], "beam_size": 1, "length_penalty": 0}
    body = {"signature_name": "beam", "inputs": {**beam, "min_length": 0, "max_length": 3}}
    answer = predict(web, "translation", body)
    assert answer.status_code == 400 and answer.json()["error"].startswith("the model refuses the inputs: ")


@pytest.mark.parametrize(
    ("header", "value", "allowed"),
    [
        *[("Host", host, True) for host in ("localhost", "LOCALHOST:8501", "127.0.0.1", "127.1.2.3:1", "[::1]:8501")],
        *[("Host", host, True) for host in ("models.example", "Models.Example.:8501")],
        *[("Host", host, False) for host in ("evil.example", "localhost.evil.example", "10.0.0.1", "[::2]")],
        *[("Host", host, False) for host in ("", "localhost:x", "me@localhost", "0.0.0.0", "127.0.0.1.nip.io")],
        *[("Origin", origin, True) for origin in (ROOT_URL, "HTTP://127.0.0.1:8501")],
        *[("Origin", origin, False) for origin in ("http://evil.example", "null", "http://127.0.0.1:80", "http://[")],
    ],
)  # fmt: skip
def test_foreign_hosts_and_origins(web, header, value, allowed):
    for answer in (
        web.get("/healthz", headers={header: value}),
        predict(web, "sentiment", b"", headers={header: value}),
    ):
        assert (answer.status_code == 403) != allowed
        if not allowed:
            assert f"the header {header} is foreign" in answer.json()["error"]


def test_addresses_of_other_machines_are_allowed_if_the_server_listens_for_them():
    assert Hosts(loopback=False).allows("10.0.0.1:8501") and Hosts(loopback=False).allows("[fe80::1]")
    assert not Hosts(loopback=False).allows("evil.example")


def test_a_compressed_body_is_refused(web):
    answer = predict(web, "sentiment", b"", headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415 and "compressed" in answer.json()["error"]


def test_the_log_has_numbers_and_no_text_of_users(web, caplog):
    caplog.set_level(logging.INFO)
    secret = "confidential"
    for body in ({"instances": [secret, secret]}, {"instances": [{secret: secret}]}, secret.encode()):
        assert predict(web, "sentiment", body).headers["x-request-id"]
    web.get(f"/{secret}?{secret}")
    web.get(f"/v1/models/{secret}")
    given = web.get("/healthz", headers={"X-Request-ID": "mine-1"})
    forged = web.get("/healthz", headers={"X-Request-ID": "a b"})
    assert given.headers["x-request-id"] == "mine-1" and forged.headers["x-request-id"] != "a b"
    lines = [record.getMessage() for record in caplog.records if record.name == "pipelines.serve"]
    assert len(lines) == 7 and "POST predict sentiment serving_default 2 200" in lines[0]
    assert "mine-1 GET healthz 200" in lines[5]
    assert secret not in "".join(lines)


def test_metrics(web):
    def value(name, **labels):
        return service_metrics(web).get((name, tuple(sorted(labels.items()))), 0.0)

    labels = {"model": "sentiment", "signature": "serving_default", "status": "200"}
    before = value("unfold_requests_total", **labels), value("unfold_batch_rows_sum", task="sentiment")
    predict(web, "sentiment", {"instances": ["good", "bad", "film"]})
    assert value("unfold_requests_total", **labels) == before[0] + 1
    assert value("unfold_batch_rows_sum", task="sentiment") == before[1] + 3
    assert value("process_resident_memory_bytes") > 10**7 and value("unfold_requests_in_progress") == 1


def service_metrics(web) -> dict:
    from prometheus_client.parser import text_string_to_metric_families

    families = text_string_to_metric_families(web.get("/metrics").text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


class HeldUp(Signature):
    """A signature of a real model that waits before it runs."""

    def __init__(self, signature):
        super().__init__(signature.function, signature.batches)
        self.entered, self.go = threading.Event(), threading.Event()

    def __call__(self, arrays):
        self.entered.set()
        assert self.go.wait(60)
        return super().__call__(arrays)


@pytest.fixture
def held_up(models, monkeypatch):
    held = HeldUp(models["sentiment"].signatures["serving_default"])
    monkeypatch.setitem(models["sentiment"].signatures, "serving_default", held)
    yield held
    held.go.set()


def test_a_full_queue_is_503_and_what_was_accepted_is_answered(models, held_up):
    service = Service(models, Limits(queue=2), Hosts())
    body = {"instances": ["good"]}
    with TestClient(service.app, base_url=ROOT_URL) as web, ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(predict, web, "sentiment", body)]
        assert held_up.entered.wait(30)
        waiting += [pool.submit(predict, web, "sentiment", body) for _ in range(2)]
        while service.batchers["sentiment"].queue.qsize() < 2:
            threading.Event().wait(0.01)
        refused = predict(web, "sentiment", body)
        assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
        assert refused.json()["error"] == "2 requests wait for this model: try again"
        assert predict(web, "translation", {"instances": ["A red star."]}).status_code == 200  # has its own queue
        held_up.go.set()
        assert [future.result(30).status_code for future in waiting] == [200, 200, 200]
    assert service.close(10)


def test_too_many_requests_at_once_are_503(models, held_up):
    service = Service(models, Limits(queue=1, wait=0), Hosts())
    with TestClient(service.app, base_url=ROOT_URL) as web, ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(predict, web, "sentiment", {"instances": ["good"]})]
        assert held_up.entered.wait(30)
        waiting += [pool.submit(predict, web, "sentiment", {"instances": ["good"]}) for _ in range(7)]
        while sum(future.done() for future in waiting) < 6:  # one is in the call and one in the queue
            threading.Event().wait(0.01)
        assert web.get("/healthz").status_code == 200
        held_up.go.set()
        assert sorted(future.result(30).status_code for future in waiting) == [200] * 2 + [503] * 6
    assert service.close(10)


def test_a_slow_model_is_504_and_the_next_request_is_answered(models, held_up):
    service = Service(models, Limits(answer=0.3), Hosts())
    with TestClient(service.app, base_url=ROOT_URL) as web:
        late = predict(web, "sentiment", {"instances": ["good"]})
        assert late.status_code == 504 and late.json()["error"] == "there is no answer after 0.3 s"
        held_up.go.set()
        while not service.batchers["sentiment"].queue.empty():
            threading.Event().wait(0.01)
        service.limits = Limits()
        assert predict(web, "sentiment", {"instances": ["good"]}).status_code == 200
    assert service.close(10)


def test_a_failure_is_500_without_its_message(models, held_up, monkeypatch, caplog):
    def fail(self, arrays):
        raise RuntimeError("confidential")

    monkeypatch.setattr(HeldUp, "__call__", fail)
    service = Service(models, Limits(), Hosts())
    with TestClient(service.app, base_url=ROOT_URL) as web:
        answer = predict(web, "sentiment", {"instances": ["good"]})
    assert answer.status_code == 500 and answer.headers["x-request-id"] in answer.json()["error"]
    assert "RuntimeError in" in caplog.text and "confidential" not in caplog.text + answer.text
    assert service.close(10)


def test_the_server_says_that_it_stops(models):
    service = Service(models, Limits(), Hosts())
    service.stop()
    with TestClient(service.app, base_url=ROOT_URL) as web:
        assert web.get("/healthz").status_code == 503
    assert service.close(10)


def test_models_that_are_not_loaded_are_503(models):
    pending = {"video": Pending("video", LOADING), "captioning": Pending("captioning", END)}
    known = {"sentiment": models["sentiment"], **pending}
    service = Service(known, Limits(), Hosts())
    with TestClient(service.app, base_url=ROOT_URL) as web:
        for name, sentence in (("video", "is being loaded"), ("captioning", "cannot be used")):
            for answer in (predict(web, name, {"instances": [1]}), web.get(f"/v1/models/{name}/metadata")):
                assert answer.status_code == 503 and sentence in answer.json()["error"]
                assert answer.headers["retry-after"] == "1"
        states = {
            name: web.get(f"/v1/models/{name}").json()["model_version_status"][0]["state"] for name in service.models
        }
        assert states == {"sentiment": "AVAILABLE", "video": "LOADING", "captioning": "END"}
        assert predict(web, "sentiment", {"instances": ["good"]}).status_code == 200
        assert web.get("/healthz").json() == {"error": "models are being loaded"}
        known["video"] = models["video"]
        assert web.get("/healthz").status_code == 200
        assert web.get("/v1/models/video/metadata").status_code == 200
    assert service.close(10)

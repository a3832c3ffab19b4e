"""Clients on real connections: many at once, slow ones, and 500 bad requests."""

import contextlib
import json
import random
import string
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve: pip install 'unfold[serve]'")

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipelines.serve.limits import Limits
from tests.pipelines.serve.conftest import PREDICT, assert_same, receive, serving

TASKS = ("sentiment", "translation", "captioning", "video")
GOOD = json.dumps({"instances": ["A good, great film."]}).encode()


@pytest.fixture(scope="module")
def alone(client, rows) -> dict[str, list]:
    """Returns the answers to the rows of each task, each in a request of its own."""
    return {task: [client.predictions(task, [row])[0] for row in rows[task]] for task in TASKS}


def test_answers_under_concurrent_clients_are_those_alone(client, rows, alone):
    """Requests of one to three rows, of all tasks, from 16 clients."""
    draw = random.Random(0)
    requests = []
    for _ in range(160):
        task = draw.choice(TASKS)
        requests.append((task, draw.sample(range(len(rows[task])), draw.randint(1, 3))))

    def answer(request):
        task, chosen = request
        return client.predictions(task, [rows[task][row] for row in chosen])

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(answer, requests))
    for (task, chosen), found in zip(requests, answers, strict=True):
        assert_same(found, [alone[task][row] for row in chosen])


def test_the_rows_of_a_request_that_is_larger_than_a_batch_are_answered_as_alone(client, rows, alone):
    for task in TASKS:
        chosen = [number % len(rows[task]) for number in range(2 * Limits.batch_size + 1)]
        found = client.predictions(task, [rows[task][row] for row in chosen])
        assert_same(found, [alone[task][row] for row in chosen])


def test_requests_that_arrive_together_share_a_call(models):
    with serving(models, wait=0.5, batch_size=8) as (client, service), ThreadPoolExecutor(8) as pool:
        began = time.monotonic()
        list(pool.map(lambda _: client.predictions("sentiment", ["good"]), range(8)))
        calls, rows = (service.metrics.registry.get_sample_value(f"unfold_batch_rows_{name}", {"task": "sentiment"})
                       for name in ("count", "sum"))  # fmt: skip
        assert rows == 8 and calls < 8
        assert time.monotonic() - began < 20


def request(body: bytes, *headers: str, length: int | None = None, path: str = PREDICT.format("sentiment")) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {length or len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def drip(client, content: bytes, rest: bytes):
    """Sends the content at once and then a byte of the rest every tenth of a second, until the server answers."""
    began = time.monotonic()
    with client.connect() as connection:
        connection.sendall(content)
        connection.settimeout(0.1)
        for byte in rest:
            with contextlib.suppress(TimeoutError):
                if connection.recv(1, 2):  # MSG_PEEK
                    break
            try:
                connection.sendall(bytes([byte]))
            except ConnectionError:
                break  # the answer can be read all the same
        connection.settimeout(client.timeout)
        answer = receive(connection)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""  # it is closed
    return answer, time.monotonic() - began


def test_slow_senders_are_refused_and_do_not_hold_up_others(client):
    """The limit of this server is 1.5 s: eight clients send nothing, and eight each a slow part of a request."""
    chunked = request(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    parts = {
        "nothing": (b"", b""),
        "headers": (b"POST /v1", b"x" * 600),
        "body": (request(b"{", length=1000), b" " * 600),
        "chunks": (chunked, b"1\r\n \r\n" * 100),
    }
    with ThreadPoolExecutor(8 * len(parts)) as pool:
        slow = [(name, pool.submit(drip, client, *part)) for name, part in parts.items() for _ in range(8)]
        assert client.send("POST", PREDICT.format("sentiment"), GOOD).status == 200
        for name, future in slow:
            answer, seconds = future.result(60)
            assert answer.status == 408 and "was not received within 1.5 s" in answer.error, name
            assert 1.4 < seconds < 30, name


def test_large_bodies_are_refused(client):
    """The limit of this server is 1 MiB; of up to 4 MiB the rest is read, so that the client gets its answer."""
    for size in (2**20 + 1, 4 * 2**20):
        answer = client.send("POST", PREDICT.format("sentiment"), b" " * size)
        assert answer.status == 413 and "at most 1048576 bytes" in answer.error
    answer = client.raw(request(b"", length=10**15))
    assert answer.status == 413 and answer.headers["connection"] == "close"
    chunked = request(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    chunks = (b"100000\r\n" + b" " * 2**20 + b"\r\n") * 2 + b"0\r\n\r\n"
    assert client.raw(chunked + chunks).status == 413
    assert client.send("POST", PREDICT.format("sentiment"), GOOD).status == 200


@pytest.mark.parametrize(
    "content",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # TLS
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nbroken\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
        request(b"").replace(b"Content-Length: 0", b"Content-Length: -1"),
        request(b"").replace(b"Content-Length: 0", b"Content-Length: 1\r\nContent-Length: 2"),
        request(b"zzz\r\n").replace(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    ],
    ids=range(10),
)
def test_what_is_not_http_is_refused_with_a_sentence(client, content):
    answer = client.raw(content)
    assert 400 <= answer.status < 500 and answer.error


def test_a_client_that_leaves_does_not_matter(client):
    for content in (b"POST /v1/mod", request(GOOD, length=9999), request(GOOD), request(GOOD)[:-1]):
        with client.connect() as connection:
            connection.sendall(content)
    assert client.send("POST", PREDICT.format("sentiment"), GOOD).status == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
NOT_TEXT = JSON.filter(lambda value: not isinstance(value, str))
NAMES = st.text(string.ascii_letters + string.digits + "./%\\?#& \u00e9'\"", min_size=1, max_size=40)
HOSTS = st.from_regex(r"[a-z0-9-]{1,20}(\.[a-z]{2,10}){1,3}(:[0-9]{1,5})?", fullmatch=True)
COLOUR = st.lists(st.integers(-300, 600) | st.floats() | st.none(), max_size=5)


def body_of(**values) -> bytes:
    return json.dumps(values).encode()


def path_of(name: str, action: str = ":predict") -> str:
    return f"/v1/models/{urllib.parse.quote(name, safe='')}{action}"


def is_bad_frame(colour: list) -> bool:
    return len(colour) != 3 or not all(type(value) is int and 0 <= value < 256 for value in colour)


def post(path, body, headers=st.just({})):  # noqa: B008 (a strategy is not changed)
    """Returns the strategy of (method, path, body, headers)."""
    paths = st.just(path) if isinstance(path, str) else path
    return st.tuples(st.just("POST"), paths, body, headers)


def get(path):
    return st.tuples(st.just("GET"), path, st.none(), st.just({}))


def beam(size, longest) -> bytes:
    options = {"beam_size": size, "length_penalty": 0, "min_length": 0, "max_length": longest}
    return body_of(signature_name="beam", inputs={"source": ["a"], "prefix": [""], **options})


SENTIMENT, GOOD_ONE = PREDICT.format("sentiment"), st.just(GOOD)
SIGNATURES = st.text(min_size=1).filter(lambda name: name not in ("serving_default", "explain"))
DEEP = st.builds(
    lambda start, depth: start + b"[" * depth, st.sampled_from([b"", b'{"inputs":']), st.integers(1, 10**5)
)
METHODS = st.sampled_from(["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
BAD = st.one_of(
    post(SENTIMENT, st.binary(max_size=300)),
    post(SENTIMENT, st.integers(0, len(GOOD) - 1).map(lambda length: GOOD[:length])),
    post(SENTIMENT, JSON.map(lambda value: json.dumps(value).encode())),
    post(SENTIMENT, NOT_TEXT.map(lambda value: body_of(instances=[value]))),
    post(SENTIMENT, NOT_TEXT.map(lambda value: body_of(inputs={"text": [value]}))),
    post(SENTIMENT, DEEP),
    post(SENTIMENT, SIGNATURES.map(lambda name: body_of(instances=["a"], signature_name=name))),
    post(SENTIMENT, GOOD_ONE, HOSTS.map(lambda host: {"Host": host})),
    post(SENTIMENT, GOOD_ONE, HOSTS.map(lambda host: {"Origin": f"http://{host}"})),
    post(
        PREDICT.format("video"),
        COLOUR.filter(is_bad_frame).map(lambda colour: body_of(instances=[{"frames": [[[colour]]], "lengths": 1}])),
    ),
    post(
        PREDICT.format("translation"),
        st.builds(beam, st.integers(max_value=0) | st.integers(min_value=101) | st.floats(), st.integers()),
    ),
    post(NAMES.map(path_of), GOOD_ONE),
    get(NAMES.map(lambda name: path_of(f"../../{name}", "/metadata"))),
    get(NAMES.map(lambda name: "/" + urllib.parse.quote(f"../{name}"))),
    st.tuples(METHODS, st.just(SENTIMENT), GOOD_ONE, st.just({})),
)


@pytest.mark.extra
def test_500_bad_requests_are_answered_with_a_sentence(client, rows, alone):
    statuses: dict[int, int] = {}

    @settings(
        max_examples=500,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(BAD)
    def send(bad):
        method, path, body, headers = bad
        answer = client.send(method, path, body, headers)
        assert 400 <= answer.status < 500, (bad, answer)
        assert answer.error
        statuses[answer.status] = statuses.get(answer.status, 0) + 1

    send()
    assert sum(statuses.values()) >= 500 and {400, 403, 404, 405} <= set(statuses)
    for task in TASKS:
        assert_same(client.predictions(task, rows[task]), alone[task])
    assert threading.active_count() < 50

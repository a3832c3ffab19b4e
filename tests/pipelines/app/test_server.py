"""Requests that the page refuses: other hosts, other paths, files of the machine, large bodies."""

import json
import re
import time

import pytest

pytest.importorskip("gradio", reason="needs the extra app: pip install 'unfold[app]'")

# Gradio's queue sets this option of pandas, in newer versions of which it is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated")
JSON = {"Content-Type": "application/json"}


def test_the_page_loads_nothing_from_other_sites(client):
    answer = client.get("/")
    assert answer.status == 200 and b"gradio_config" in answer.body
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    config = client.get("/config").json
    assert config["analytics_enabled"] is False and not config.get("footer_links")
    style = client.get("/theme.css").body.decode()
    assert not re.search(r"https?://(?!www\.w3\.org)", style)


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}])
def test_foreign_hosts_and_origins_are_refused(client, headers):
    for method, path in (("GET", "/"), ("POST", "/gradio_api/queue/join"), ("POST", "/gradio_api/upload")):
        answer = client.send(method, path, b"{}" if method == "POST" else None, headers)
        assert answer.status == 403 and "foreign" in answer.error


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=%2Fetc%2Fpasswd",
        "/gradio_api/file=setup.cfg",
        "/gradio_api/file={folder}/../../../../../../etc/passwd",
        "/gradio_api/file={folder}/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/gradio_api/file={folder}/link",
        "/gradio_api/file=http://127.0.0.1:1/",
        "/gradio_api/file=//etc/passwd",
        "/gradio_api/file=/etc/pass%00wd",
    ],
)
def test_no_other_file_is_shown(client, folder, path):
    link = folder.path / "link"
    if not link.is_symlink():
        link.symlink_to("/etc/passwd")
    answer = client.get(path.format(folder=folder.path))
    assert answer.status == 403 and answer.error == "the page shows no other files than its own"


def test_a_file_of_the_page_is_shown(client, folder):
    own = folder.new("own.png")
    own.write_bytes(b"picture")
    assert client.get(f"/gradio_api/file={own}").body == b"picture"


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file//etc/passwd",
        "/gradio_api/proxy=http://127.0.0.1/",
        "/gradio_api/api/predict",
        "/gradio_api/run/predict",
        "/gradio_api/call/predict",
        "/gradio_api/vibe-code",
        "/gradio_api/runs",
        "/gradio_api/openapi.json",
        "/monitoring",
        "/docs",
        "/assets",
    ],
)
def test_gradio_has_no_other_routes(client, path):
    assert client.get(path).status == 404
    assert client.send("POST", path, b"{}", JSON).status == 404


def test_large_bodies_are_refused(client):
    from pipelines.app import limits

    for path, size in (
        ("queue/join", limits.BODY + 1),
        ("upload", 2 * limits.VIDEO),
        ("upload", "-1"),
        ("upload", "x"),
    ):
        head = f"POST /gradio_api/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
        answer = client.raw(head.encode())
        assert answer.status in (400, 413) and answer.error


def events(client, session: str):
    """Returns the messages for a session until its call has ended."""
    body = client.get(f"/gradio_api/queue/data?session_hash={session}").body.decode()
    return [json.loads(line.removeprefix("data: ")) for line in body.splitlines() if line.startswith("data: ")]


def test_a_path_that_was_not_uploaded_is_not_read(client, tmp_path):
    """Gradio copies a file to where the page may show it, if a request says that it is an upload."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    config = client.get("/config").json
    ids = {each["props"].get("elem_id"): each["id"] for each in config["components"]}
    image = ids["captioning-image"]
    call = next(each for each in config["dependencies"] if image in each["inputs"])
    file = {"path": str(secret), "meta": {"_type": "gradio.FileData"}}
    data = [file if number == image else None for number in call["inputs"]]
    body = {"data": data, "fn_index": call["id"], "session_hash": "abc", "trigger_id": None}
    answer = client.send("POST", "/gradio_api/queue/join", json.dumps(body).encode(), JSON)
    assert answer.status == 200, answer
    time.sleep(0.1)
    found = events(client, "abc")
    (end,) = [each for each in found if each["msg"] == "process_completed"]
    assert not end["success"] and "secret.png" not in json.dumps(end).replace(str(secret), "")

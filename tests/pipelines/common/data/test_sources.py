import http.server
import socket
import threading
import time

import pytest

from pipelines.common.data import sources
from pipelines.common.errors import UserError

FALLBACKS = {"reviews": ("tfds:some_reviews", "https://example.org"), "clips": ("", "https://example.org/clips")}


@pytest.fixture
def real(tmp_path, monkeypatch):
    folder = tmp_path / "real"
    (folder / "reviews").mkdir(parents=True)
    monkeypatch.setenv("UNFOLD_DATA", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def locate(where):
    return sources.locate(where, "sentiment", FALLBACKS)


def test_the_sample_is_in_the_checkout(samples):
    assert locate("sample") == samples / "sentiment"


def test_the_sample_outside_of_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    with pytest.raises(UserError, match=r"the sample is part of a checkout .* give --data a file or folder"):
        locate("sample")


def test_a_path_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.csv").touch()
    assert locate("~/mine.csv") == tmp_path / "mine.csv"


def test_a_known_name_is_the_folder_of_the_real_data(real, tmp_path):
    assert locate("reviews") == real / "reviews"
    (tmp_path / "reviews").mkdir()
    assert locate("reviews") == real / "reviews"
    assert str(locate("./reviews")) == "reviews"  # as written, a path


def test_a_known_name_without_its_folder(real, tmp_path):
    (real / "reviews").rmdir()
    assert locate("reviews") == "tfds:some_reviews"
    (tmp_path / "reviews").mkdir()
    assert str(locate("reviews")) == "reviews"


def test_a_known_name_without_a_fallback_names_the_address(real):
    with pytest.raises(
        UserError, match=r"clips is not in .*: download it from https://example.org/clips or set UNFOLD_DATA"
    ):
        locate("clips")


def test_beside_the_checkout_without_the_variable(tmp_path, monkeypatch):
    monkeypatch.delenv("UNFOLD_DATA", raising=False)
    monkeypatch.setattr(sources, "ROOT", tmp_path / "checkout")
    assert sources.real_data() == tmp_path / "shared" / "data"


def test_paths(real, tmp_path):
    (tmp_path / "a.csv").touch()
    assert str(locate("a.csv")) == "a.csv"
    assert locate(str(tmp_path)) == tmp_path
    for wrong in ("none.csv", "", "tfds:"):
        with pytest.raises(UserError, match="expected"):
            locate(wrong)


def test_tfds_names_are_returned_unchanged():
    assert locate("tfds:imdb_reviews") == "tfds:imdb_reviews"


def test_reachable_asks_the_server():
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(404 if self.path == "/none" else 200)
            self.end_headers()

        def log_message(self, *unused):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert sources.reachable(address)
        assert sources.reachable(f"{address}/none")
        server.shutdown()
        thread.join()
    assert not sources.reachable(address)


def test_a_server_that_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        assert not sources.reachable(f"http://127.0.0.1:{silent.getsockname()[1]}", seconds=0.3)
        assert time.monotonic() - began < 2


def test_no_network_for_tfds(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "reachable", lambda address: False)
    archives = {"https://example.org/a.tar.gz": "a.tar.gz"}
    with pytest.raises(UserError, match=r"there is no network to download https://example.org/a.tar.gz .*--manual-dir"):
        sources.refuse_offline("some", archives, None)
    with pytest.raises(UserError, match="there is no network"):
        sources.refuse_offline("some", archives, tmp_path)
    (tmp_path / "a.tar.gz").touch()
    sources.refuse_offline("some", archives, tmp_path)

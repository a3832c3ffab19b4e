import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.captioning.config import Config as CaptioningConfig
from pipelines.common import files, release
from pipelines.common.config import from_json, replace
from pipelines.common.data.sources import public_name
from pipelines.common.errors import UserError
from pipelines.common.runs import Run, as_json
from pipelines.sentiment.config import Config as SentimentConfig
from pipelines.sentiment.language_model.config import Config as LanguageModelConfig
from pipelines.translation.config import Config as TranslationConfig
from pipelines.video.config import Config as VideoConfig

KINDS = [CaptioningConfig, SentimentConfig, LanguageModelConfig, TranslationConfig, VideoConfig]


IN_ANOTHER_PROCESS = """
import pathlib, sys
from pipelines.common import files
with files.partial_folder(pathlib.Path(sys.argv[1])):
    pass
"""


def with_absolute_paths(value, hint: str = ""):
    """Returns the JSON form of a configuration in which every string that may be a path is an absolute one."""
    if isinstance(value, dict):
        return {name: with_absolute_paths(each, name) for name, each in value.items()}
    if hint in ("location", "weights", "encoder_weights", "manual_dir", "base"):
        return f"/home/somebody/{hint}/name"
    if hint == "teachers":
        return ["/home/somebody/one", "/home/somebody/two"]
    return f"/home/somebody/{value}" if isinstance(value, str) and "/" in value else value


@pytest.mark.parametrize("kind", KINDS)
def test_no_path_of_the_machine_is_left(kind):
    stored = with_absolute_paths(as_json(kind()))
    assert stored["data"]["manual_dir"] and "/home/somebody" in json.dumps(stored)
    found = as_json(release.portable(from_json(kind, stored), None, Path("/somewhere/name")))
    text = json.dumps(found)
    assert "/home" not in text and "somebody" not in text and "somewhere" not in text
    assert found["run"] == "name" and found["data"]["location"] == "not-included/name"
    assert found["data"]["manual_dir"] is None
    assert found["data"].get("cache") == as_json(kind())["data"].get("cache")
    assert from_json(kind, found)


def test_what_a_command_needs_is_left():
    config = replace(SentimentConfig(), teachers=(Path("saved_models/sentiment/imdb"), Path("../b"), Path("~/c")))
    found = release.portable(config, "imdb", Path("to"))
    assert found.transfer.teachers == (Path("saved_models/sentiment/imdb"), Path("b"), Path("c"))
    assert found.data.location == "imdb"
    assert release.portable(CaptioningConfig(), "sample", Path("to")).model.weights == "imagenet"


def test_data_that_is_found_by_its_name_on_every_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("UNFOLD_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "imdb").mkdir(parents=True)
    (tmp_path / "other").mkdir()  # a folder of one's own with the name of a data set
    named = ("imdb", "other")
    for where in ("sample", "tfds:imdb_reviews", "imdb"):
        assert public_name(where, named) == where
    assert public_name(str(tmp_path / "data" / "imdb"), named) == public_name("data/imdb", named) == "imdb"
    assert public_name("other", named) is None and public_name("reviews.csv", named) is None


def start(folder) -> Run:
    return Run.start(folder, "sentiment", {"units": 2})


def test_what_cannot_be_released(tmp_path):
    run = start(tmp_path / "run")
    with pytest.raises(UserError, match="is not finished: expected a run whose training has ended"):
        release.refuse(run)
    run.finish({})
    with pytest.raises(UserError, match=r"has no model\.weights\.h5 yet"):
        release.refuse(run)
    files.write_json(run.config_file, {"task": "sentiment", "config": {}, "weights": {"sha256": "0"}})
    with pytest.raises(UserError, match="is a release already: expected the run that was trained"):
        release.refuse(Run.open(run.path, "sentiment"))


def test_folders_that_are_not_empty(tmp_path):
    release.refuse_other_files(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    release.refuse_other_files(tmp_path / "empty")
    with pytest.raises(UserError, match=r"is not empty \(it contains empty\): expected a new or empty folder"):
        release.refuse_other_files(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file: expected a new or empty folder"):
        release.refuse_other_files(tmp_path / "file")


def test_limits(tmp_path):
    assert release.read_limits(None) == ""
    (tmp_path / "limits.md").write_text("* It is small.\n")
    assert release.read_limits(tmp_path / "limits.md") == "* It is small."
    (tmp_path / "limits.md").write_bytes(b"\xff")
    for path, reason in (("limits.md", "it is not UTF-8"), ("none.md", "No such file or directory")):
        with pytest.raises(UserError, match=f"--limits .*{path} could not be read: {reason}"):
            release.read_limits(tmp_path / path)


def test_a_partial_folder_is_removed_or_renamed(tmp_path):
    with files.partial_folder(tmp_path / "deep" / "to") as folder:
        (folder / "file").touch()
        os.replace(folder, tmp_path / "deep" / "to")
    with pytest.raises(RuntimeError), files.partial_folder(tmp_path / "deep" / "other"):
        raise RuntimeError
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "deep",
        "deep/to",
        "deep/to/file",
    ]


def test_what_a_killed_process_left_is_removed_but_not_what_is_in_use(tmp_path):
    left, other = (tmp_path / f"{files.PARTIAL}0123456789ab-{name}" for name in ("to", "other"))
    for folder in (left, other):
        folder.mkdir()
    with files.partial_folder(tmp_path / "to") as used:
        assert not left.exists() and other.exists()
        subprocess.run([sys.executable, "-c", IN_ANOTHER_PROCESS, tmp_path / "to"], check=True)
        assert used.is_dir()
    assert [entry.name for entry in tmp_path.iterdir()] == [other.name]

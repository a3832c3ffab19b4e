import dataclasses
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.common import files
from pipelines.common.errors import UserError
from pipelines.common.files import write_tsv
from pipelines.common.runs import Run

CONFIG = {"run": "somewhere", "layers": 2, "training": {"epochs": 3, "rates": [0.1, 0.2]}}


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    with files.atomic_write(path) as file:
        file.write("old")
    with pytest.raises(RuntimeError, match="half way"), files.atomic_write(path) as file:
        file.write("new, but")
        raise RuntimeError("half way")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


def test_binary_writes_replace(tmp_path):
    path = tmp_path / "deeper" / "file.bin"
    for content in (b"\x00\xff\n", b"other"):
        with files.atomic_write(path, "wb") as file:
            file.write(content)
        assert path.read_bytes() == content


def test_disk_full_is_one_sentence_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(UserError, match=r"file\.txt could not be written: File too large"):
            files.write_json(path, "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


def test_read_json_names_the_file(tmp_path):
    (tmp_path / "broken.json").write_text('{"a": ')
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "half.json").write_text('{"film \\ud83d": 1}')
    for name, reason in (
        ("broken.json", "is not a JSON file"),
        ("binary.json", "is not a JSON file"),
        ("deep.json", "is not a JSON file: its objects or lists are nested too deeply"),
        ("half.json", r"is not a JSON file: \\ud83d is a lone surrogate, half of a character"),
        ("missing.json", "could not be read"),
    ):
        with pytest.raises(UserError, match=f"{name} {reason}"):
            files.read_json(tmp_path / name)


def test_start_then_go_on_then_finish(tmp_path):
    with Run.start(tmp_path / "run", "sentiment", CONFIG, preset="sample") as run:
        assert not run.finished and run.summary == {}
    again = Run.start(tmp_path / "run", "sentiment", {**CONFIG, "run": "elsewhere"})
    assert again.config == CONFIG and again.preset == "sample"
    again.finish({"best_epoch": 2, "score": 0.5})
    done = Run.start(tmp_path / "run", "sentiment", CONFIG)
    assert done.finished and done.summary == {"best_epoch": 2, "score": 0.5}
    stored = files.read_json(run.config_file)
    assert stored["task"] == "sentiment" and stored["versions"]["tensorflow"].startswith("2.")


@pytest.mark.parametrize("content", ["{}", "[]", "null", '{"seconds": 1.0}'])
def test_a_summary_that_was_changed(tmp_path, content):
    with Run.start(tmp_path / "run", "sentiment", CONFIG) as run:
        run.status_file.write_text(content)
    with pytest.raises(UserError, match=r"status.json is not the summary of a training: "):
        run.summary["best_epoch"]


def test_a_dataclass_is_stored_as_json(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Config:
        names: tuple[str, ...] = ("a", "b")
        run: Path = tmp_path / "run"

    for _ in range(2):  # the second time it is compared with what was stored
        Run.start(tmp_path / "run", "sentiment", Config()).close()
    assert Run.open(tmp_path / "run", "sentiment").config["names"] == ["a", "b"]


def test_another_config_names_the_fields(tmp_path):
    Run.start(tmp_path, "sentiment", CONFIG).close()
    other = {**CONFIG, "layers": 3, "training": {"epochs": 4, "rates": [0.1, 0.2]}, "new": True}
    with pytest.raises(UserError) as caught:
        Run.start(tmp_path, "sentiment", other)
    message = str(caught.value)
    assert "layers was 2 and is now 3" in message
    assert "training.epochs was 3 and is now 4" in message
    assert "new was (none) and is now true" in message
    assert "rates" not in message


def test_a_release_is_not_trained_on(tmp_path):
    released = Path(__file__).parents[3] / "saved_models" / "video" / "50salads-actions"
    folder = shutil.copytree(released, tmp_path / "actions")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match=r"is a released model, .* expected --run .*my-actions"):
        Run.prepare(folder, "video", Run.open(folder, "video").config)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_field_that_is_newer_than_the_run_has_its_default(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Config:
        units: int = 2
        newer: tuple[str, ...] = ()

    files.write_json(tmp_path / "config.json", {"task": "sentiment", "preset": None, "config": {"units": 3}})
    Run.start(tmp_path, "sentiment", Config(units=3)).close()
    with pytest.raises(UserError, match=r'newer was \[\] and is now \["a"\]'):
        Run.start(tmp_path, "sentiment", Config(units=3, newer=("a",)))


def test_a_second_training_of_the_same_run_is_refused(tmp_path):
    with Run.start(tmp_path, "sentiment", {}):
        program = (
            "import sys; from pipelines.common.runs import Run; from pipelines.common.errors import UserError\n"
            "try: Run.start(sys.argv[1], 'sentiment', {})\n"
            "except UserError as error: print(error)"
        )
        other = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
        assert other.stdout.strip() == f"another process is training in {tmp_path}"
    Run.start(tmp_path, "sentiment", {}).close()


def test_prepare_writes_nothing_and_create_does(tmp_path):
    run, late = (Run.prepare(tmp_path / "run", "sentiment", CONFIG) for _ in range(2))
    assert not run.finished and not (tmp_path / "run").exists()
    with run.create():
        assert run.create() is run and Run.open(tmp_path / "run", "sentiment").config == run.config
        with pytest.raises(UserError, match="another process is training"):
            late.create()
    with Run.prepare(tmp_path / "run", "sentiment", CONFIG) as again, pytest.raises(UserError, match="is training"):
        assert again.create() is again
        late.create()


def test_start_sweeps_what_a_kill_left(tmp_path):
    Run.start(tmp_path, "sentiment", {}).close()
    (tmp_path / "checkpoints").mkdir()
    left = [tmp_path / f"{files.PARTIAL}1-history.csv", tmp_path / "checkpoints" / f"{files.PARTIAL}2-step-1.npz"]
    for path in left:
        path.write_text("half a li")
    Run.start(tmp_path, "sentiment", {}).close()
    assert not any(path.exists() for path in left)


def test_a_kill_between_folder_and_config_is_no_stranger(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / f"{files.PARTIAL}1-config.json").write_text("{")
    Run.start(tmp_path, "sentiment", {}).close()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".lock", "config.json"]


def test_folders_that_are_no_run_of_this_task(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        Run.open(tmp_path / "nowhere", "sentiment")
    with pytest.raises(UserError, match=r"not a run: it has no config\.json"):
        Run.open(tmp_path, "sentiment")
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(UserError, match=r"not empty \(it contains holiday\.jpg\)"):
        Run.start(tmp_path, "sentiment", {})
    with pytest.raises(UserError, match="cannot be created"):
        Run.start(tmp_path / "holiday.jpg" / "run", "sentiment", {})
    export = tmp_path / "run" / "export"
    export.mkdir(parents=True)
    (export / "saved_model.pb").touch()
    with pytest.raises(UserError, match="is an export"):
        Run.open(export, "sentiment")
    other = Run.start(tmp_path / "other", "translation", {})
    other.close()
    for opening in (Run.open, lambda path, task: Run.start(path, task, {})):
        with pytest.raises(UserError, match="a run of the pipeline translation: expected one of sentiment"):
            opening(tmp_path / "other", "sentiment")
    with pytest.raises(UserError, match=r"has no model\.weights\.h5 yet"):
        Run.open(tmp_path / "other", "translation").require_weights()
    (tmp_path / "other" / "config.json").write_text("[1, 2]")
    with pytest.raises(UserError, match="not the configuration of a run"):
        Run.open(tmp_path / "other", "translation")


def test_publish_replaces(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    for content in ("one", "two"):
        with files.atomic_write(source) as file:
            file.write(content)
        files.publish(source, target)
        assert target.read_text() == content


def test_cells_of_a_table_are_one_line(tmp_path):
    write_tsv(tmp_path / "table.tsv", "number text", [(1, "a\tb\n c"), (0.5, "")])
    assert (tmp_path / "table.tsv").read_text() == "number\ttext\n1\ta b c\n0.5\t\n"


@dataclasses.dataclass(frozen=True)
class Data:
    location: str = "sample"
    cache: Path = Path("cache")


@dataclasses.dataclass(frozen=True)
class Configured:
    run: Path
    data: Data
    teachers: tuple[Path, ...] = ()


def test_the_same_data_by_another_path_is_the_same_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "reviews.csv").touch()
    (tmp_path / "other.csv").touch()

    def start(location, cache="cache", teacher="teacher"):
        config = Configured(Path("run"), Data(str(location), Path(cache)), (Path(teacher),))
        Run.start(tmp_path / "run", "sentiment", config).close()

    start("reviews.csv")
    for same in (tmp_path / "reviews.csv", "./reviews.csv", tmp_path / "run" / ".." / "reviews.csv", "~/reviews.csv"):
        start(same)
    start("reviews.csv", tmp_path / "cache", tmp_path / "teacher")
    with pytest.raises(UserError, match=r"data.location was .*reviews.csv. and is now .*other.csv"):
        start("other.csv")
    with pytest.raises(UserError, match=r"data.cache was .*cache. and is now .*other"):
        start("reviews.csv", "other")
    with pytest.raises(UserError, match=r"data.location was .* and is now .sample"):
        (tmp_path / "sample").touch()
        start("sample")

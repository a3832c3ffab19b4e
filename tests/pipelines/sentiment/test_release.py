import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipelines.common import weights
from pipelines.common.data import corpora
from pipelines.common.files import PARTIAL
from pipelines.common.runs import Run
from pipelines.sentiment.model import load_trained
from tests import killing


@pytest.fixture(scope="module")
def released(shared, command, tmp_path_factory):
    """Returns the folder of a release in int8; the smallest weights of the tiny run are rounded as well."""
    folder = tmp_path_factory.mktemp("released")
    limits = folder / "limits.md"
    limits.write_text("* It only knows *good* and *bad*.\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "SMALL", 16)
        assert command("release", "--run", shared.run, "--to", folder / "small", "--limits", limits) == 0
    return folder / "small"


def test_it_is_a_run_with_rounded_weights(shared, released, command, capsys):
    names = ["README.md", "config.json", "history.csv", "labels.json", "metrics.json", "model.weights.h5"]
    assert sorted(path.name for path in released.iterdir()) == [*names, "status.json", "vocabulary.txt"]
    small, run = Run.open(released, "sentiment"), Run.open(shared.run, "sentiment")
    assert small.finished and small.summary == run.summary and small.preset == "sample"
    assert small.released == {"format": "int8", "sha256": weights.sha256(small.weights_file)}
    pairs = list(zip(load_trained(small).model.get_weights(), load_trained(run).model.get_weights(), strict=True))
    assert any((one != other).any() for one, other in pairs)
    for one, other in pairs:
        np.testing.assert_allclose(one, other, atol=np.abs(other).max() / 127 / 2 * 1.001)
    stored = json.loads((released / "metrics.json").read_text())
    capsys.readouterr()
    assert command("evaluate", "--run", released) == 2  # its data is not public
    assert "--data not-included/data does not exist" in capsys.readouterr().err
    copy = shutil.copytree(released, released.parent / "copy")
    assert command("evaluate", "--run", copy, "--data", shared.data) == 0
    assert json.loads((copy / "metrics.json").read_text()) == {**stored, "data": str(shared.data)}


def test_no_file_has_a_path_of_the_machine(shared, released):
    for path in released.iterdir():
        content = path.read_bytes()
        for folder in (shared.data, shared.run, released.parent):
            assert str(folder).encode() not in content, path.name


def test_the_card(released):
    text = (released / "README.md").read_text()
    _, matter, body = text.split("---\n", 2)
    for line in (
        'license: "unknown"', 'library_name: "unfold"', 'pipeline_tag: "text-classification"', 'metrics:\n- "accuracy"',
        'model-index:\n- name: "sentiment/small"\n  results:\n  - task:\n      type: "text-classification"',
        '    dataset:\n      type: "not-included/data"',
        '    metrics:\n    - type: "accuracy"\n      name: "accuracy, %"',
    ):  # fmt: skip
        assert line in matter
    assert "predict --model sentiment/small" in body and "* It only knows *good* and *bad*." in body
    assert "python -m pipelines.sentiment train sample --data not-included/data --group-column film" in body
    assert re.search(r"\d\.\d minutes on .*\d cores?\. The weights are those of epoch \d of 2\.", body)
    accuracy = json.loads((released / "metrics.json").read_text())["accuracy"]
    assert re.search(rf"\| accuracy, % \| \d+\.\d\d \| {100 * accuracy:.2f} \|", body)
    assert f"int8, SHA-256 `{weights.sha256(released / 'model.weights.h5')}`" in body
    assert re.search(r"python 3\.\d+\.\d+, tensorflow 2\.\d+", body)


@pytest.mark.parametrize("use", ["evaluate", "export", "predict", "fine-tune", "teachers", "average"])
def test_damaged_weights_are_refused_by_every_command(shared, released, command, capsys, tmp_path, tiny, use):
    broken = shutil.copytree(released, tmp_path / "broken", ignore=shutil.ignore_patterns("export"))
    with open(broken / "model.weights.h5", "r+b") as file:
        file.seek(-50, 2)
        file.write(b"\xff")
    train = ["--data", shared.data, "--run", tmp_path / "run"]
    arguments = {
        "evaluate": ["evaluate", "--run", broken, "--data", shared.data],
        "export": ["export", "--run", broken],
        "predict": ["predict", "--model", broken, "good"],
        "fine-tune": ["fine-tune", "--from", broken, *train],
        "teachers": ["train", "sample", "--teachers", broken, "--group-column", "film", *train, *tiny],
        "average": ["export", "--run", shared.run, broken, "--to", tmp_path / "to"],
    }[use]
    assert command(*arguments) == 2
    error = capsys.readouterr().err
    assert f"{broken / 'model.weights.h5'} is damaged or not that of this release: its SHA-256 is not" in error
    left = {path.name for path in tmp_path.iterdir()} - {corpora.CACHE}  # the texts are read before the teachers
    assert left == {"broken"} and not (broken / "export").exists()


@pytest.mark.extra
def test_it_predicts_and_is_fine_tuned_and_averaged_by_its_name(
    shared, released, command, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr("pipelines.common.named_runs.SAVED_MODELS", tmp_path)
    shutil.copytree(released, tmp_path / "sentiment" / "small")
    assert command("predict", "--model", "sentiment/small", "good film") == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["text"] == "good film" and "has no export yet: making it" in output.err
    assert command("predict", "--model", "sentiment/small", "good film") == 0
    assert capsys.readouterr() == (output.out, "")
    run = tmp_path / "run"
    assert command("fine-tune", "--from", "sentiment/small", "--data", shared.data, "--run", run) == 0
    tuned = Run.open(run, "sentiment")
    assert tuned.released is None and tuned.config["data"]["location"] == str(shared.data)
    assert command("export", "--run", "sentiment/small", run, "--to", tmp_path / "both") == 0
    assert command("release", "--run", "sentiment/small", "--to", tmp_path / "again") == 2
    assert "is a release already" in capsys.readouterr().err
    assert command("predict", "--model", "sentiment/smal", "good film") == 2
    assert "expected a path, or one of the names sentiment/small in saved_models" in capsys.readouterr().err


@pytest.mark.extra
def test_two_processes_make_one_export(released, tmp_path):
    run = shutil.copytree(released, tmp_path / "run", ignore=shutil.ignore_patterns("export"))
    logs = [tmp_path / f"log{number}" for number in range(2)]
    both = [killing.start("pipelines.sentiment", ["predict", "--model", run, "good film"], log) for log in logs]
    for process, log in zip(both, logs, strict=True):
        process.join()
        assert process.exitcode == 0, log.read_text()
    said = [log.read_text() for log in logs]
    assert sum("has no export yet: making it" in text for text in said) == 1
    assert all('{"text": "good film"' in text for text in said)
    assert not list(run.glob(f"{PARTIAL}*"))


@pytest.mark.extra
@pytest.mark.parametrize("use", ["release", "predict"])
def test_a_kill_leaves_nothing_half_made(shared, released, tmp_path, use):
    run = shutil.copytree(shared.run, tmp_path / "run", ignore=shutil.ignore_patterns("export"))
    to = tmp_path / "to" if use == "release" else run / "export"
    arguments = ["release", "--run", run, "--to", to] if use == "release" else ["predict", "--model", run, "good"]
    log, left = tmp_path / "log", f"{PARTIAL}*"
    process = killing.start("pipelines.sentiment", arguments, log)
    while process.exitcode is None and not list(to.parent.glob(left)):
        process.join(0.005)
    killing.kill(process)
    assert not to.exists() and list(to.parent.glob(left)), log.read_text()
    killing.finish("pipelines.sentiment", arguments, log)
    assert to.is_dir() and not list(to.parent.glob(left))


@pytest.mark.extra
def test_the_release_of_a_fine_tuned_run_with_the_data_of_the_run_before(shared, command, capsys, tmp_path, make):
    make_reviews, write_csv = make
    tuned, to = tmp_path / "tuned", tmp_path / "small"
    new = write_csv(tmp_path / "new.csv", make_reviews(40, 5))
    tune = ["fine-tune", "--from", shared.run, "--data", new, "--run", tuned, "--epochs", "1", "--mixture", "0.5"]
    assert command(*tune) == 0
    assert command("release", "--run", tuned, "--to", to, "--base-data") == 0
    config = json.loads((to / "config.json").read_text())["config"]
    assert (Path(config["data"]["location"]).name, config["data"]["group_column"]) == (shared.data.name, "film")
    card = (to / "README.md").read_text()
    assert "--data not-included/new.csv" in card and f"{shared.data.name}" in card
    capsys.readouterr()
    assert command("release", "--run", shared.run, "--to", tmp_path / "other", "--base-data") == 2
    assert "--base-data is for a fine-tuned run, but this one was not fine-tuned" in capsys.readouterr().err

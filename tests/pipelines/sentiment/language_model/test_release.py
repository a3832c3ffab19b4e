import json
import shutil

import pytest

from pipelines.common import weights


@pytest.mark.extra
def test_a_language_model_is_released_and_classifiers_start_from_it(pretrained, command, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "SMALL", 16)
    to = tmp_path / "sentiment" / "small"
    assert command("release", "--run", pretrained.run, "--to", to) == 0
    names = ["README.md", "config.json", "history.csv", "metrics.json", "model.weights.h5", "status.json"]
    assert sorted(path.name for path in to.iterdir()) == [*names, "vocabulary.txt"]
    before = json.loads((pretrained.run / "status.json").read_text())["best_score"]
    after = json.loads((to / "metrics.json").read_text())
    assert after["split"] == "validation" and after["val_perplexity"] == pytest.approx(before, rel=0.02)
    assert f"| perplexity | {before:.2f} | {after['val_perplexity']:.2f} |" in (to / "README.md").read_text()
    monkeypatch.setattr("pipelines.common.named_runs.SAVED_MODELS", tmp_path)
    capsys.readouterr()
    assert command("generate", "--run", "sentiment/small", "--prefix", "the film") == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["prefix"] == "the film" and "has no export yet: making it" in output.err
    start = ["train", "sample", "--init-from", "sentiment/small", "--data", pretrained.data, "--group-column", "film"]
    assert command(*start, "--run", tmp_path / "run", "--epochs", "1", "--no-tensorboard") == 2  # test.csv is no table
    assert "test.csv" in capsys.readouterr().err
    shutil.copy(to / "vocabulary.txt", to / "model.weights.h5")
    shutil.rmtree(to / "export")
    assert command("generate", "--run", to) == 2
    assert "is damaged or not that of this release" in capsys.readouterr().err

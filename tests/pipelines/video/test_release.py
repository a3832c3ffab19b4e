import json

import pytest

from pipelines.common import weights


@pytest.mark.extra
def test_a_release_is_used_and_fine_tuned(shared, command, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "SMALL", 16)
    to = tmp_path / "small"
    assert command("release", "--run", shared.run, "--to", to, "--split", "validation") == 0
    assert capsys.readouterr().out == f"{to}\n"
    names = ["README.md", "confidence.json", "config.json", "history.csv", "labels.json", "metrics.json"]
    assert sorted(path.name for path in to.iterdir()) == [*names, "model.weights.h5", "status.json"]
    text, scores = (to / "README.md").read_text(), json.loads((to / "metrics.json").read_text())
    assert scores["split"] == "validation" and f" {scores['accuracy']:.2f} |\n" in text
    assert "evaluate --run video/small --split validation" in text and str(shared.data) not in text
    assert command("predict", "--model", to, shared.data / "clips" / "0.mp4") == 0
    answer = json.loads(capsys.readouterr().out)
    assert list(answer) == ["video", "fps", "labels", "segments"] and 0 < answer["segments"][0]["confidence"] < 1
    tune = ["fine-tune", "--from", to, "--data", shared.data, "--cache", tmp_path / "cache", "--run", tmp_path / "run"]
    assert command(*tune, "--epochs", "1") == 0
    with open(to / "model.weights.h5", "r+b") as file:
        file.seek(-50, 2)
        file.write(b"\xff")
    assert command("evaluate", "--run", to, shared.run, "--data", shared.data) == 2
    assert command("evaluate", "--run", to, "--data", shared.data) == 2
    assert "is damaged or not that of this release" in capsys.readouterr().err

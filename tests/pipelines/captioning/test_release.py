import json

import pytest

from pipelines.common import weights


@pytest.mark.extra
def test_a_release_has_the_cnn_inside_and_is_used_and_fine_tuned(shared, command, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "SMALL", 16)
    to = tmp_path / "small"
    assert command("release", "--run", shared.run, "--to", to) == 0
    assert capsys.readouterr().out == f"{to}\n"
    names = [
        "README.md",
        "confidence.json",
        "config.json",
        "history.csv",
        "metrics.json",
        "model.weights.h5",
        "status.json",
    ]
    assert sorted(path.name for path in to.iterdir()) == [*names, "vocabulary.txt"]
    text, scores = (to / "README.md").read_text(), json.loads((to / "metrics.json").read_text())
    ((beam, row),) = scores["beams"].items()
    assert f"| CIDEr-D, beam {beam} | " in text and f" {row['cider']:.3f} |\n" in text
    assert str(tmp_path) not in text and str(shared.cache) not in (to / "config.json").read_text()
    capsys.readouterr()
    assert command("predict", "--model", to, shared.image()) == 0
    assert list(json.loads(capsys.readouterr().out)) == ["image", "caption", "score", "confidence"]
    tune = ["fine-tune", "--from", to, "--data", shared.data, "--cache", shared.cache, "--run", tmp_path / "run"]
    assert command(*tune, "--epochs", "1") == 0
    with open(to / "model.weights.h5", "r+b") as file:
        file.seek(-50, 2)
        file.write(b"\xff")
    assert command("evaluate", "--run", to, "--data", shared.data) == 2
    assert "is damaged or not that of this release" in capsys.readouterr().err

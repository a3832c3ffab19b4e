import json

import pytest

from pipelines.common import weights
from pipelines.common.runs import Run


@pytest.mark.extra
@pytest.mark.parametrize("kind", weights.FORMATS)
def test_a_release_is_evaluated_used_and_fine_tuned(shared, command, capsys, tmp_path, monkeypatch, tiny, kind):
    monkeypatch.setattr(weights, "SMALL", 16)
    to = tmp_path / "small"
    assert command("release", "--run", shared.run, "--to", to, "--weights", kind) == 0
    assert capsys.readouterr().out == f"{to}\n"
    names = ["README.md", "confidence.json", "config.json", "history.csv", "metrics.json", "model.weights.h5"]
    names += ["seen_words.npy", "status.json", "vocabulary.source.txt", "vocabulary.target.txt"]
    assert sorted(path.name for path in to.iterdir()) == names
    assert Run.open(to, "translation").released == {"format": kind, "sha256": weights.sha256(to / "model.weights.h5")}
    text, scores = (to / "README.md").read_text(), json.loads((to / "metrics.json").read_text())
    ((beam, row),) = scores["beams"].items()
    table = "| float32 |\n" if kind == "float32" else f"| float32 | {kind} |\n"
    assert table in text and f" {row['bleu']:.2f} |\n" in text and f"BLEU, beam {beam}" in text
    assert 'language:\n- "en"\n- "fr"\n' in text
    assert str(tmp_path) not in text and str(shared.data) not in text
    capsys.readouterr()
    assert command("predict", "--model", to, "A red star.") == 0
    assert list(json.loads(capsys.readouterr().out)) == ["source", "translation", "score", "confidence", "unknown"]
    run = tmp_path / "run"
    assert command("fine-tune", "--from", to, "--data", shared.data, "--run", run, "--epochs", "1") == 0
    assert command("export", "--run", to, shared.run, "--to", tmp_path / "both") == 0

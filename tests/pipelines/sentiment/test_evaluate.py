import json

import pytest


def test_table_metrics_and_picture(shared, command, capsys):
    assert command("evaluate", "--run", shared.run) == 0
    printed = capsys.readouterr().out
    metrics = json.loads((shared.run / "metrics.json").read_text())
    assert metrics["split"] == "test"
    assert metrics["examples"] == 40
    assert metrics["cut"] == 0
    confusion = metrics["confusion"]
    assert metrics["accuracy"] == pytest.approx((confusion[0][0] + confusion[1][1]) / 40)
    assert set(metrics["classes"]["negative"]) == {"precision", "recall", "f1", "support"}
    assert f"{metrics['accuracy']:.4f}" in printed
    assert "negative" in printed
    assert sum(metrics["reliability"]["examples"]) == 40
    gaps = [
        abs(a - c) for a, c in zip(*(metrics["reliability"][name] for name in ("accuracy", "confidence")), strict=True)
    ]
    assert 0 < min(gaps) <= metrics["ece"] <= max(gaps) < 1
    assert f"ECE      {metrics['ece']:9.4f}" in printed
    for name in ("confusion_matrix.png", "reliability.png"):
        assert (shared.run / name).read_bytes().startswith(b"\x89PNG")


def test_parts_and_other_data(shared, command, tmp_path, make, capsys):
    assert command("evaluate", "--run", shared.run, "--split", "validation") == 0
    validation = json.loads((shared.run / "metrics.json").read_text())["examples"]
    assert command("evaluate", "--run", shared.run, "--split", "train") == 0
    assert json.loads((shared.run / "metrics.json").read_text())["examples"] + validation == 96
    _, write_csv = make
    rows = [{"words": "good " * 100, "label": 1}, {"words": "", "label": 0}]  # integers, one review that is cut
    other = write_csv(tmp_path / "other.csv", rows)
    assert command("evaluate", "--run", shared.run, "--data", other, "--text-column", "words") == 0
    metrics = json.loads((shared.run / "metrics.json").read_text())
    assert (metrics["examples"], metrics["cut"], metrics["data"]) == (2, 1, str(other))
    assert "1 of 2 reviews were cut at 50 words" in capsys.readouterr().err
    assert command("evaluate", "--run", shared.run, "--data", shared.data, "--split", "validation") == 2
    assert "has no part validation: it has train, test" in capsys.readouterr().err

import json

import numpy as np
import pytest

from pipelines.common.config import from_json, replace
from pipelines.common.runs import Run
from pipelines.video import dataset
from pipelines.video.config import Config
from pipelines.video.evaluate import Labeller
from pipelines.video.model import load_trained, make_model
from pipelines.video.tracks import make_tracks


def test_table_metrics_and_pictures(shared, command, capsys):
    assert command("evaluate", "--run", shared.run) == 0
    printed = capsys.readouterr().out
    metrics = json.loads((shared.run / "metrics.json").read_text())
    assert (metrics["split"], metrics["videos"], metrics["frames"], metrics["left_out"]) == ("test", 2, 26, 0)
    confusion = np.array(metrics["confusion"])
    assert metrics["accuracy"] == pytest.approx(100 * np.trace(confusion) / 26)
    assert {"edit", "f1@10", "f1@25", "f1@50", "latency", "macro_f1", "loss", "clip_accuracy"} <= metrics.keys()
    assert metrics["smoothed"]["filter"] == from_json(Config, Run.open(shared.run, "video").config).evaluation.filter
    assert f"{metrics['accuracy']:.2f}" in printed and "F1@50" in printed and "F1 of left" in printed
    for name in ("confusion_matrix.png", "timelines.png"):
        assert (shared.run / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.extra
def test_runs_beside_each_other_and_another_filter(shared, command, tiny, tmp_path, capsys):
    baseline = tmp_path / "frame-by-frame"
    assert command("train", "sample", "--data", shared.data, "--run", baseline, *tiny, "--cell", "none",
                   "--epochs", "1") == 0  # fmt: skip
    capsys.readouterr()
    assert command("evaluate", "--run", shared.run, "--beside", baseline, "--filter", "5") == 0
    printed = capsys.readouterr().out
    assert "frame-by-frame" in printed and "filter 5" in printed
    first, second = (json.loads((run / "metrics.json").read_text()) for run in (shared.run, baseline))
    assert (first["cell"], second["cell"], first["smoothed"]["filter"]) == ("lstm", "none", 5)
    assert command("evaluate", "--run", shared.run, "--filter", "4") == 2
    assert "--filter is 4, but must be odd" in capsys.readouterr().err


def test_parts_and_other_data(shared, command, make, tmp_path, capsys):
    assert command("evaluate", "--run", shared.run, "--split", "train") == 0
    assert json.loads((shared.run / "metrics.json").read_text())["videos"] == 8
    other = make.data(tmp_path / "other", clips=2, split=False)
    (other / "clips" / "1.mp4").write_bytes(b"")
    assert command("evaluate", "--run", shared.run, "--data", other) == 0
    metrics = json.loads((shared.run / "metrics.json").read_text())
    assert (metrics["videos"], metrics["left_out"], metrics["data"]) == (1, 1, str(other))
    assert "left out 1 of 2 clips" in capsys.readouterr().err


@pytest.mark.parametrize(("cell", "bidirectional"), [("lstm", False), ("rnn", False), ("lstm", True), ("none", False)])
def test_long_videos_have_the_same_labels_as_in_a_batch(shared, cell, bidirectional, monkeypatch):
    """Window by window with the state carried over, or from the features of all frames."""
    trained = load_trained(Run.open(shared.run, "video"))
    config = replace(trained.config, cell=cell, bidirectional=bidirectional)
    model = make_model(config, trained.names)
    videos = dataset.load_part(config.data, "train")
    inputs = dataset.make_inputs(videos, config, model, trained.preprocessing)
    tracks = make_tracks(videos, inputs, trained.names, config.data, "train")
    whole = Labeller(model)(tracks, 4, 1000)
    for number, answer in enumerate(whole):
        pixels = np.concatenate(list(tracks.chunks(number)))
        logits = model(pixels[None]).numpy()[0]
        expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(answer, expected, atol=1e-5)
    from pipelines.video import evaluate

    monkeypatch.setattr(evaluate, "WINDOW", 4)
    for one, other in zip(whole, Labeller(model)(tracks, 4, 1), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)

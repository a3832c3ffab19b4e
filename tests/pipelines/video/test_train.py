import csv
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from pipelines.common.config import from_json
from pipelines.common.runs import Run
from pipelines.common.vision import encoders
from pipelines.video import dataset
from pipelines.video.config import Config
from pipelines.video.model import load_trained
from pipelines.video.train import frame_loss
from tests import killing


def test_a_run_explains_itself(shared):
    stored = json.loads((shared.run / "config.json").read_text())
    assert (stored["task"], stored["preset"]) == ("video", "sample")
    assert from_json(Config, stored["config"]).model.units == 8
    assert json.loads((shared.run / "labels.json").read_text()) == ["left", "right"]
    with open(shared.run / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "val_edit", "val_f1_50"} <= rows[0].keys()
    assert (shared.run / "curves.png").stat().st_size > 1000


def test_a_finished_run_is_reported(shared, command, tiny, capsys):
    arguments = ["train", "sample", "--data", shared.data, "--run", shared.run, *tiny]
    assert command(*arguments) == 0
    assert "finished, validation frame accuracy" in capsys.readouterr().out
    assert command(*arguments, "--units", "5") == 2
    assert "units was 8 and is now 5" in capsys.readouterr().err


@pytest.mark.extra
def test_an_interrupted_run_goes_on_to_the_same_weights(shared, tmp_path, command, tiny, capsys, monkeypatch):
    arguments = ["train", "sample", "--data", shared.data, "--run", tmp_path / "run", *tiny]
    batches = dataset.batches

    def interrupted(tracks, *, epoch=0, seed=None, **options):
        found = batches(tracks, epoch=epoch, seed=seed, **options)
        if epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return found

    monkeypatch.setattr(dataset, "batches", interrupted)
    assert command(*arguments) == 130
    assert "the same command resumes where it stopped" in capsys.readouterr().err
    monkeypatch.undo()
    assert command(*arguments) == 0
    killing.assert_same_run(tmp_path / "run", shared.run)


OPTIONS = """
--bidirectional --cell rnn --layers 2 --dropout 0.2 --class-weights --smoothing 0.15 --ema 0.9 --accumulate 2
--cell none --fps 5 --fit crop --no-train-encoder
--k1 3 --k2 5 --cell rnn --recurrent-dropout 0.1 --deltas 10 --schedule linear
--xla --precision mixed_bfloat16 --no-train-encoder --deltas 2 --batch-videos 8
"""


@pytest.mark.extra
@pytest.mark.parametrize("options", OPTIONS.strip().splitlines())
def test_every_option_trains_and_scores(shared, command, tiny, tmp_path, options):
    if "--no-train-encoder" in options:  # its random weights in a file, as a person may have one
        encoder = encoders.build_encoder("small", weights="none", image_size=16)
        encoder.save_weights(tmp_path / "random.weights.h5")
        options += f" --encoder-weights {tmp_path / 'random.weights.h5'}"
    arguments = [
        "--data",
        shared.data,
        "--run",
        tmp_path / "run",
        "--cache",
        tmp_path / "cache",
        *tiny,
        "--epochs",
        "1",
    ]
    assert command("train", "sample", *arguments, *options.split()) == 0
    assert command("evaluate", "--run", tmp_path / "run") == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert 0 <= metrics["accuracy"] <= 100
    assert (tmp_path / "cache").exists() == ("--no-train-encoder" in options)


@pytest.mark.extra
def test_one_label_per_clip_and_joined_clips(shared, command, tiny, make, tmp_path):
    clips = sorted((shared.data / "clips").glob("*.mp4"))
    labels = [{"file": str(path), "label": "ab"[number % 2], "scene": number} for number, path in enumerate(clips)]
    make.csv(tmp_path / "labels.csv", labels)
    rows = [{"clips": f"{clips[n]};{clips[n + 1]}", "labels": "a;b", "split": part}
            for n, part in ((0, "train"), (2, "train"), (4, "val"), (6, "test"))]  # fmt: skip
    make.csv(tmp_path / "sequences.csv", rows)
    for name in ("labels", "sequences"):
        run = tmp_path / name
        arguments = ["--data", tmp_path, "--annotations", f"{name}.csv", "--run", run, *tiny, "--epochs", "1"]
        assert command("train", "sample", *arguments) == 0
        assert command("evaluate", "--run", run) == 0
        metrics = json.loads((run / "metrics.json").read_text())
        assert metrics["clips"] == 2 and metrics["clip_accuracy"] is not None


def test_fine_tuning_on_other_labels(shared, tmp_path, command, make, capsys):
    data = make.data(tmp_path / "data", names=("west", "east"))
    run = tmp_path / "tuned"
    arguments = ["fine-tune", "--from", shared.run, "--data", data, "--run", run, "--epochs", "1", "--learning-rate",
                 "1e-9"]  # fmt: skip
    assert command(*arguments) == 0
    assert json.loads((run / "labels.json").read_text()) == ["east", "west"]
    before, after = (load_trained(Run.open(path, "video")).model for path in (shared.run, run))
    for old, new in zip(before.weights, after.weights, strict=True):
        if "head/kernel" in old.path:
            assert not np.allclose(old.numpy(), new.numpy(), atol=1e-3)
        elif "seed" not in old.path and "head/" not in old.path:
            np.testing.assert_allclose(old.numpy(), new.numpy(), atol=1e-6)
    config = json.loads((run / "config.json").read_text())["config"]
    assert (config["base"], config["model"]["units"]) == (str(shared.run), 8)
    assert command(*arguments) == 0
    assert "finished" in capsys.readouterr().out


@pytest.mark.extra
@pytest.mark.parametrize("cell", ["lstm", "rnn"])
def test_fine_tuning_on_the_same_labels_keeps_their_columns(shared, tmp_path, command, tiny, cell):
    base = shared.run
    if cell == "rnn":
        base = tmp_path / "base"
        assert command("train", "sample", "--data", shared.data, "--run", base, *tiny, "--cell", "rnn",
                       "--epochs", "1") == 0  # fmt: skip
    run = tmp_path / "tuned"
    assert command("fine-tune", "--from", base, "--data", shared.data, "--run", run, "--learning-rate", "1e-12",
                   "--label-names", "right", "left", "--epochs", "1", "--no-train-encoder", "--cache",
                   tmp_path / "cache") == 0  # fmt: skip
    before, after = (load_trained(Run.open(path, "video")) for path in (base, run))
    assert after.names == ("right", "left")
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 5, 16, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(after.model(pixels).numpy()[:, :, ::-1], before.model(pixels), atol=1e-5)


LOGITS = np.random.default_rng(1).normal(size=(2, 4, 3)).astype(np.float32) * 3
LABELS = np.array([[0, 1, 1, 2], [2, 0, 0, 0]], np.int32)
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], np.float32)


def test_the_loss_is_that_of_the_equations():
    weights = np.array([1.0, 2.0, 0.5])
    found = frame_loss(LOGITS, LABELS, MASK, weights, smoothing=0.15)
    expected = weight = smooth = 0.0
    for row in range(2):
        p = np.exp(LOGITS[row]) / np.exp(LOGITS[row]).sum(axis=1, keepdims=True)
        for t in range(int(MASK[row].sum())):
            expected -= weights[LABELS[row, t]] * np.log(p[t, LABELS[row, t]])
            weight += weights[LABELS[row, t]]
            if t:
                smooth += np.mean(np.minimum(np.abs(np.log(p[t]) - np.log(p[t - 1])), 4) ** 2)
    assert float(found["loss"][1]) == pytest.approx(weight)
    assert float(found["loss"][0]) == pytest.approx(expected + 0.15 * smooth, rel=1e-5)
    assert float(frame_loss(LOGITS, LABELS, MASK, weights, 0.0)["loss"][0]) == pytest.approx(expected, rel=1e-5)
    right = (LOGITS.argmax(axis=2) == LABELS) * MASK
    assert [float(value) for value in found["accuracy"]] == [right.sum(), 6]


def test_the_smoothing_term_has_no_gradient_through_the_frame_before():
    """So the term does not change the first frame."""
    logits = tf.Variable(LOGITS)
    with tf.GradientTape() as tape:
        with_term = frame_loss(logits, LABELS, MASK, np.ones(3), 1.0)["loss"][0]
        term = with_term - frame_loss(logits, LABELS, MASK, np.ones(3), 0.0)["loss"][0]
    gradient = tape.gradient(term, logits).numpy()
    np.testing.assert_allclose(gradient[:, 0], 0, atol=1e-6)
    assert np.abs(gradient[0, 1:]).max() > 0.01
    np.testing.assert_allclose(gradient[1, 2:], 0, atol=1e-6)


@pytest.mark.slow
def test_half_an_hour_of_video_trains_in_the_memory_of_a_window(make, tiny, tmp_path):
    """The command's resident memory by TBPTT on clips of 30 minutes within 100 MB of that on clips of 100 seconds."""
    peaks = []
    for seconds in (100, 1800):
        data, rows = tmp_path / str(seconds), []
        for number, part in enumerate(("train", "val", "test")):
            clip = make.clip(data / f"{number}.mp4", make.moving([2, 2, -2, -2] * (seconds * 10 // 4)))
            half = seconds / 2
            rows += [{"file": clip.name, "start": start, "end": start + half, "label": label, "split": part}
                     for start, label in ((0, "a"), (half, "b"))]  # fmt: skip
        make.csv(data / "segments.csv", rows)
        program = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=-3);"
        program += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        words = ["-m", "pipelines.video", "train", "sample", "--data", data, "--run", data / "run", *tiny]
        command = [sys.executable, "-c", program, sys.executable, *map(str, words), "--k1", "50", "--epochs", "1"]
        found = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(found.stdout) / 1024)
    assert peaks[1] - peaks[0] < 100, peaks

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.runs import Run
from pipelines.video import confidence, dataset
from pipelines.video.evaluate import Labeller
from pipelines.video.model import load_trained
from pipelines.video.tracks import make_tracks

RANDOM = np.random.default_rng(2)


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_the_temperature_of_logits_that_are_too_sharp_or_too_flat_is_found(temperature):
    logits = RANDOM.normal(size=(20_000, 4)) * 2
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (p.cumsum(axis=1) < RANDOM.uniform(size=(20_000, 1))).sum(axis=1)
    wrong = p**temperature / (p**temperature).sum(axis=1, keepdims=True)
    halves = [wrong[:9_000], wrong[9_000:]], [labels[:9_000], labels[9_000:]]
    assert confidence.fit(*halves) == pytest.approx(temperature, rel=0.05)
    np.testing.assert_allclose(confidence.confidence_of(wrong, temperature), p.max(axis=1), rtol=1e-5)


def test_frames_that_are_all_right_or_all_wrong():
    p = np.array([[0.9, 0.1]] * 20)
    assert 0 < confidence.fit([p], [np.zeros(20, int)]) < 1 < confidence.fit([p], [np.ones(20, int)]) <= 20
    assert np.isfinite(confidence.confidence_of(np.array([[1.0, 0.0]]), 0.05)).all()


@pytest.mark.parametrize("text", ["[]", '{"temperature": "warm"}', '{"temperature": 0}'])
def test_a_damaged_file_is_named(tmp_path, text):
    assert confidence.load(tmp_path) is None
    (tmp_path / "confidence.json").write_text(text)
    with pytest.raises(UserError, match=r"confidence.json is not the confidence of a run: expected temperature"):
        confidence.load(tmp_path)


def test_several_runs_have_the_mean_temperature():
    assert confidence.average([1.0, 2.0]) == 1.5 and confidence.average([1.0, None]) is None


def test_training_fits_the_temperature_and_the_export_returns_the_confidence(shared, command, capsys):
    trained = load_trained(Run.open(shared.run, "video"))
    data = trained.config.data
    videos = dataset.load_part(data, "validation")
    inputs = dataset.make_inputs(videos, trained.config, trained.model, trained.preprocessing)
    tracks = make_tracks(videos, inputs, trained.names, data, "validation")
    probabilities = Labeller(trained.model)(tracks, data.batch_videos, data.batch_frames)
    fitted = confidence.fit(probabilities, [track.labels for track in tracks.tracks])
    assert trained.temperature == pytest.approx(fitted, rel=1e-3)
    loaded = tf.saved_model.load(str(shared.run / "export"))
    frames = RANDOM.integers(0, 255, [2, 5, 24, 32, 3]).astype(np.uint8)
    found = loaded.signatures["serving_default"](frames=tf.constant(frames), lengths=tf.constant([5, 3]))
    scaled = found["probabilities"].numpy()[0] ** (1 / trained.temperature)
    expected = scaled.max(axis=1) / scaled.sum(axis=1)
    np.testing.assert_allclose(found["confidence"][0], expected, rtol=1e-4)
    assert not found["confidence"].numpy()[1, 3:].any()
    step = loaded.signatures["step"]
    state = {
        name: tf.zeros([2, spec.shape[1]])
        for name, spec in step.structured_input_signature[1].items()
        if name != "frames"
    }
    np.testing.assert_allclose(step(frames=tf.constant(frames[:, 0]), **state)["confidence"],
                               found["confidence"][:, 0], rtol=1e-4)  # fmt: skip
    capsys.readouterr()
    assert command("predict", "--model", shared.run, shared.data / "clips" / "5.mp4") == 0
    segments = json.loads(capsys.readouterr().out)["segments"]
    assert all(list(each) == ["start", "end", "label", "confidence"] for each in segments)
    assert all(0.5 < each["confidence"] < 1 for each in segments)


@pytest.mark.extra
def test_a_run_without_confidence_gets_one_from_evaluate(shared, command, capsys, tmp_path):
    run = shutil.copytree(shared.run, tmp_path / "run")
    before = load_trained(Run.open(run, "video")).temperature
    (run / "confidence.json").unlink()
    assert command("export", "--run", shared.run, run, "--to", tmp_path / "export") == 0
    assert f"{run} has no confidence: python -m pipelines.video evaluate --run {run}" in capsys.readouterr().err
    assert "confidence" not in tf.saved_model.load(str(tmp_path / "export")).signatures["window"].structured_outputs
    assert command("evaluate", "--run", run) == 0
    out, err = capsys.readouterr()
    assert "had no confidence: it was fitted" in err and "run: confidence: mean " in out
    assert load_trained(Run.open(run, "video")).temperature == pytest.approx(before, rel=1e-3)
    found = json.loads((run / "metrics.json").read_text())["confidence"]
    assert 0 <= found["ece"] <= 1 and 0 <= found["other_half"] <= 100
    assert (run / "reliability.png").read_bytes().startswith(b"\x89PNG")

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from layers.text import END, START
from pipelines.captioning import confidence, dataset
from pipelines.captioning.decoder import image_decoder
from pipelines.captioning.model import load_trained
from pipelines.captioning.scores import scores_of_each
from pipelines.common.runs import Run


@pytest.fixture(scope="module")
def trained(shared):
    return load_trained(Run.open(shared.run, "captioning"))


def test_training_fits_the_confidence_to_validation(trained):
    """Fitted again, from the weights and the features, it is the same."""
    part = dataset.load_part(trained.config.data, "validation")
    images = dataset.with_features(part, trained.model.encoder, trained.config)
    again = confidence.learn(trained, images.features, list(images.captioned.references.values()))
    found = trained.confidence
    assert found.bar == {"cider": 0.5} and found.fitted == again.fitted and found.fitted["images"] == 12
    assert list(found.inputs) == ["log_probability", "log_length"]
    assert found.bias == pytest.approx(again.bias, abs=1e-3)
    for name, each in found.inputs.items():
        assert vars(each) == pytest.approx(vars(again.inputs[name]), abs=1e-3)


def test_the_export_returns_the_probability_of_the_regression(shared, trained):
    """Its input is the mean log-probability of the words and the end when the model is forced to say them."""
    loaded = tf.saved_model.load(str(shared.run / "export"))
    images = [shared.image(number).read_bytes() for number in range(3)] + [b"no image"]
    found = {name: value.numpy() for name, value in loaded.signatures["serving_default"](
        image=tf.constant(images)).items()}  # fmt: skip
    _, numbers = image_decoder([trained]).batched(with_evidence=True)(images)
    np.testing.assert_allclose(found["confidence"], numbers["confidence"], atol=1e-5)
    assert ((found["confidence"] > 0) & (found["confidence"] < 1)).tolist() == [True] * 3 + [False]
    pixels, _ = trained.preprocessing.pixels(tf.constant(images[:1]))
    ids = trained.preprocessing.encode(tf.constant(found["caption"][:1]))[0].flat_values.numpy().tolist()
    log_probability = tf.nn.log_softmax(trained.model((pixels, tf.constant([[START, *ids]]))))[0].numpy()
    mean = np.mean([log_probability[t, word] for t, word in enumerate([*ids, END])])
    assert numbers["log_probability"][0] == pytest.approx(mean, abs=1e-4)
    expected = trained.confidence({name: values[:1] for name, values in numbers.items()})
    assert found["confidence"][0] == pytest.approx(float(expected[0]), abs=1e-5)


def test_a_bar_is_reached_by_the_score_of_a_caption():
    references = [["a dog runs on grass"], ["two cats"], ["three birds fly"], ["a red boat"]]
    scores = scores_of_each(["a dog runs on grass", "a boat"] + [""] * 2, references)
    assert confidence.reaches(scores).tolist() == [True, False, False, False]


@pytest.mark.extra
def test_a_run_without_confidence_gets_one_from_evaluate(shared, command, capsys, tmp_path):
    run = shutil.copytree(shared.run, tmp_path / "run")
    before = (run / "confidence.json").read_text()
    (run / "confidence.json").unlink()
    shutil.rmtree(run / "export")
    assert command("predict", "--model", run, shared.image()) == 0  # makes an export
    captured = capsys.readouterr()
    assert list(json.loads(captured.out)) == ["image", "caption", "score"]
    assert "has no confidence: python -m pipelines.captioning evaluate" in captured.err
    assert command("evaluate", "--run", run) == 0
    out, err = capsys.readouterr()
    assert "had no confidence: it was fitted" in err and "CIDEr-D of the most confident half" in out
    after = json.loads((run / "confidence.json").read_text())
    assert after["bias"] == pytest.approx(json.loads(before)["bias"], abs=1e-3)
    found = json.loads((run / "metrics.json").read_text())["confidence"]
    assert 0 <= found["ece"] <= 1 and set(found) >= {"reliability", "confident_half", "other_half"}
    assert (run / "reliability.png").read_bytes().startswith(b"\x89PNG")
    assert command("export", "--run", run, shared.run) == 0
    capsys.readouterr()
    assert command("predict", "--model", run, shared.image()) == 0
    assert 0 < json.loads(capsys.readouterr().out)["confidence"] < 1


@pytest.mark.extra
def test_a_confidence_that_cannot_be_fitted(shared, command, capsys, tmp_path):
    """The data of the run is gone: other data is scored without a confidence."""
    run = shutil.copytree(shared.run, tmp_path / "run")
    (run / "confidence.json").unlink()
    config = run / "config.json"
    config.write_text(config.read_text().replace(str(shared.data), str(tmp_path / "gone")))
    assert command("evaluate", "--run", run, "--data", shared.data, "--beam-size", "1") == 0
    captured = capsys.readouterr()
    assert "has no confidence, and it cannot be fitted: " in captured.err and "confidence" not in captured.out
    assert "confidence" not in json.loads((run / "metrics.json").read_text())

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from layers.text import pad
from pipelines.common.config import from_json
from pipelines.common.data.loading import load_vocabulary
from pipelines.common.errors import UserError
from pipelines.common.options import Export
from pipelines.common.runs import Run
from pipelines.common.weights import save_weights
from pipelines.sentiment import export as sentiment_export
from pipelines.sentiment.config import Config
from pipelines.sentiment.export import PREFIXES_PER_BATCH, export
from pipelines.sentiment.model import load_trained, make_model

TEXTS = [
    b"the film was good",
    b"",
    b" <br /> ",
    "映画はとても良い。".encode(),
    "фильм, فيلم 😀 ภาพยนตร์".encode(),
    b"broken \xff\xfe bytes \xc3",
    b"bad " * 400,
    b"Don't!",
]
SEPARATE_PROCESS = """
import json, sys
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
answer = loaded.signatures["serving_default"]
texts = [bytes.fromhex(text) for text in json.load(sys.stdin)]
found = [answer(text=tf.constant(texts[:1])), answer(text=tf.constant(texts))]
found += [loaded.signatures["explain"](text=tf.constant(texts[:1]))]
ours = sorted(name for name in sys.modules if name.split(".")[0] in ("layers", "pipelines"))
assert not ours, ours
print(json.dumps([{k: v.numpy().tolist() for k, v in one.items()} for one in found], default=bytes.decode))
"""


@pytest.fixture(scope="module")
def trained(shared):
    return load_trained(Run.open(shared.run, "sentiment"))


@pytest.fixture(scope="module")
def loaded(shared):
    return tf.saved_model.load(str(shared.run / "export"))


def probabilities(trained, texts):
    ids, _ = trained.preprocessing(tf.constant(texts))
    return tf.nn.softmax(trained.model(pad(ids), training=False)).numpy()


@pytest.mark.extra
def test_a_process_with_only_tensorflow_gives_the_same_answers(shared, trained, tmp_path):
    texts = (TEXTS * 38)[:300]
    (shared.run / "export").rename(tmp_path / "moved")
    try:
        answer = subprocess.run(
            [sys.executable, "-c", SEPARATE_PROCESS, tmp_path / "moved"],
            input=json.dumps([text.hex() for text in texts]), capture_output=True, text=True, cwd=tmp_path, timeout=300,
        )  # fmt: skip
    finally:
        (tmp_path / "moved").rename(shared.run / "export")
    assert answer.returncode == 0, answer.stderr
    one, many, explained = json.loads(answer.stdout)
    expected = probabilities(trained, texts)
    np.testing.assert_allclose(one["probabilities"], expected[:1], atol=1e-5)
    np.testing.assert_allclose(many["probabilities"], expected, atol=1e-5)
    np.testing.assert_allclose(many["probability"], expected.max(axis=1), atol=1e-5)
    assert many["label"] == [trained.names[number] for number in expected.argmax(axis=1)]
    assert explained["tokens"] == [["the", "film", "was", "good"]]


def test_the_export_predicts_the_same_as_the_model(loaded, trained):
    found = {name: value.numpy() for name, value in loaded.signatures["serving_default"](text=TEXTS).items()}
    expected = probabilities(trained, TEXTS)
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)
    np.testing.assert_allclose(found["probability"], expected.max(axis=1), atol=1e-5)
    assert [label.decode() for label in found["label"]] == [trained.names[n] for n in expected.argmax(axis=1)]


def test_signatures_name_their_tensors(loaded):
    assert set(loaded.signatures) == {"serving_default", "explain"}
    found = loaded.signatures["serving_default"]
    assert {name: (spec.dtype, spec.shape.as_list()) for name, spec in found.structured_outputs.items()} == {
        "label": (tf.string, [None]),
        "probability": (tf.float32, [None]),
        "probabilities": (tf.float32, [None, 2]),
    }
    assert found(text=tf.constant([], tf.string))["label"].shape == (0,)


def test_explain_predicts_every_prefix(loaded, trained):
    text = "The film was good, and the end was awful and bad bad"
    found = {name: value.numpy() for name, value in loaded.signatures["explain"](text=tf.constant(["", text])).items()}
    words = text.lower().replace(",", " ,").split()
    assert [word.decode() for word in found["tokens"][1]] == words
    assert not any(found["tokens"][0])
    prefixes = [" ".join(words[: end + 1]) for end in range(len(words))]
    np.testing.assert_allclose(found["probability"][1], probabilities(trained, prefixes), atol=1e-5)
    np.testing.assert_allclose(
        found["probability"][0], np.repeat(probabilities(trained, [""]), len(words), 0), atol=1e-5
    )
    assert found["classes"].tolist() == [b"negative", b"positive"]
    for name in ("i", "f", "g", "o", "c"):
        assert found[name].shape == (2, len(words), 4)
    o, c = found["o"][1], found["c"][1]
    ids, _ = trained.preprocessing(tf.constant([text]))
    embedded = trained.model.get_layer("embedding")(ids.to_tensor())
    states = trained.model.get_layer("recurrent_1").forward_layer(embedded)[0]
    np.testing.assert_allclose(o * np.tanh(c), states[0], atol=1e-5)


def make_run(shared, run, **model):
    """Writes a run with another architecture and the same labels and words, its weights random."""
    run.mkdir()
    for name in ("vocabulary.txt", "labels.json"):
        (run / name).write_bytes((shared.run / name).read_bytes())
    stored = json.loads((shared.run / "config.json").read_text())
    stored["config"]["model"] |= model
    (run / "config.json").write_text(json.dumps(stored))
    opened = Run.open(run, "sentiment")
    vocabulary = load_vocabulary(run / "vocabulary.txt")
    made = make_model(from_json(Config, opened.config), vocabulary, ("negative", "positive"))
    save_weights(made, opened.weights_file)
    return run


def test_explain_has_the_attention_only_with_that_pooling(shared, loaded, tmp_path):
    run = make_run(shared, tmp_path / "attending", pooling=["max", "attention"], cell="rnn")
    trained = load_trained(Run.open(run, "sentiment"))
    classifier = sentiment_export.Classifier([trained])
    found = classifier.explain(tf.constant(["", "the film was good"]))
    assert set(found) == {"tokens", "probability", "classes", "h", "attention"}
    weights = found["attention"].numpy()
    assert weights.shape == found["tokens"].shape == (2, 4) and weights.dtype == np.float32
    np.testing.assert_allclose(weights.sum(axis=1), [0, 1], atol=1e-6)
    np.testing.assert_allclose(found["probability"][1, -1], probabilities(trained, ["the film was good"])[0], atol=1e-5)
    assert "attention" not in loaded.signatures["explain"].structured_outputs


@pytest.mark.extra
def test_an_export_with_attention_averaged_with_one_without_it(shared, tmp_path, command, capsys):
    run = make_run(shared, tmp_path / "attending", pooling=["attention"])
    for runs, has_attention in (([run, shared.run], True), ([shared.run, run], False)):
        assert command("export", "--run", *runs, "--to", tmp_path / "both") == 0
        model = tf.saved_model.load(str(tmp_path / "both"))
        specs = model.signatures["explain"].structured_outputs
        assert ("attention" in specs) == has_attention
        found = model.signatures["serving_default"](text=tf.constant(TEXTS))["probabilities"]
        each = [probabilities(load_trained(Run.open(path, "sentiment")), TEXTS) for path in runs]
        np.testing.assert_allclose(found, sum(each) / 2, atol=1e-5)
        assert command("predict", "--model", tmp_path / "both", "--picture", tmp_path / "a.png", "good film", "") == 0
        if has_attention:
            assert (specs["attention"].dtype, specs["attention"].shape.as_list()) == (tf.float32, [None, None])
            explained = model.signatures["explain"](text=tf.constant(["good film", ""]))["attention"]
            np.testing.assert_allclose(tf.reduce_sum(explained, axis=1), [1, 0], atol=1e-6)


def test_explain_is_bounded(loaded):
    found = loaded.signatures["explain"](text=tf.constant(["good " * 2000]))
    assert found["tokens"].shape == (1, 50)  # the run reads no more words


def test_explain_has_a_maximum_number_of_words(trained, monkeypatch):
    monkeypatch.setattr(sentiment_export, "MAX_EXPLAINED_WORDS", 10)
    found = sentiment_export.Classifier([trained]).explain(tf.constant(["good " * 30, "bad"]))
    assert found["tokens"].shape == (2, 10)


def test_explain_of_more_prefixes_than_a_batch_has(loaded, trained):
    texts = ["good film it was and " * 8, "bad", "so it was"]
    assert PREFIXES_PER_BATCH < 40
    found = loaded.signatures["explain"](text=tf.constant(texts))["probability"].numpy()
    assert found.shape == (3, 40, 2)
    for row, text in enumerate(texts):
        words = text.split()
        prefixes = [" ".join(words[: end + 1]) for end in range(40)]
        np.testing.assert_allclose(found[row], probabilities(trained, prefixes), atol=1e-5)


@pytest.fixture
def other(shared, tmp_path):
    """A run of another cell with the same labels and words, its weights random."""
    return make_run(shared, tmp_path / "other", cell="rnn")


def test_several_runs_are_averaged(shared, other, tmp_path, command, trained):
    assert command("export", "--run", other, shared.run, "--to", tmp_path / "both") == 0
    loaded = tf.saved_model.load(str(tmp_path / "both"))
    found = loaded.signatures["serving_default"](text=tf.constant(TEXTS))["probabilities"].numpy()
    second = probabilities(load_trained(Run.open(other, "sentiment")), TEXTS)
    np.testing.assert_allclose(found, (probabilities(trained, TEXTS) + second) / 2, atol=1e-5)
    shown = loaded.signatures["explain"](text=tf.constant(["good film"]))
    assert set(shown) == {"tokens", "probability", "classes", "h"}  # the first run's: a vanilla RNN has no gates


def test_runs_that_differ_are_not_averaged(shared, other, tmp_path):
    (other / "labels.json").write_text('["bad", "good"]')
    with pytest.raises(UserError, match="cannot be averaged: their labels are"):
        export(Export((shared.run, other), tmp_path / "export"))

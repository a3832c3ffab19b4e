import dataclasses
import json
import shutil

import numpy as np
import pytest
import sacrebleu
import tensorflow as tf

from layers.text import END, START, pad
from pipelines.common.confidence import Confidence, Input
from pipelines.common.config import replace
from pipelines.common.runs import Run
from pipelines.translation import confidence, dataset
from pipelines.translation.decoder import make_decoder
from pipelines.translation.model import load_trained

FIRST, SECOND, STRANGE = "A red star.", "This house isn't green!", "Der Vermieter kündigt den Vertrag"


@pytest.fixture(scope="module")
def trained(shared):
    return load_trained(Run.open(shared.run, "translation"))


def test_training_fits_the_confidence_to_validation_and_to_made_up_sentences(trained):
    """Fitted again, from the weights and the data, it is the same."""
    parts = dataset.load(trained.config.data)
    again = confidence.learn(dataclasses.replace(trained, seen=None), parts["train"].sources, parts["validation"])
    found = trained.confidence
    assert found.bar == {"bleu": 30.0} and found.fitted == again.confidence.fitted
    assert found.fitted["sentences"] == found.fitted["made_up"] == len(set(parts["validation"].sources))
    assert list(found.inputs) == list(confidence.INPUTS)
    assert found.bias == pytest.approx(again.confidence.bias, abs=1e-3)
    np.testing.assert_array_equal(trained.seen.table, again.seen.table)


def test_the_export_returns_the_probability_of_the_regression_and_the_unknown_words(shared, trained):
    loaded = tf.saved_model.load(str(shared.run / "export"))
    texts = [FIRST, SECOND, "", STRANGE, f"A red {STRANGE}"]
    found = {name: value.numpy() for name, value in loaded.signatures["serving_default"](
        source=tf.constant(texts)).items()}  # fmt: skip
    _, numbers = make_decoder([trained]).batched(with_evidence=True)(texts)
    np.testing.assert_allclose(found["confidence"], numbers["confidence"], atol=1e-5)
    assert found["confidence"][2] == 0 and ((found["confidence"][[0, 1, 3, 4]] > 0).all())
    words = [row.decode().split() for row in found["unknown"]]
    assert words == [[], [], [], STRANGE.split(), STRANGE.split()]
    assert numbers["unseen_words"].tolist() == pytest.approx([0, 0, 0, 1, 5 / 7])
    preprocessing = trained.preprocessing
    source = pad(preprocessing.source.encode(tf.constant(texts[:1]))[0])
    ids = preprocessing.target.encode(tf.constant(found["translation"][:1]))[0].flat_values.numpy().tolist()
    log_probability = tf.nn.log_softmax(trained.model((source, tf.constant([[START, *ids]]))))[0].numpy()
    mean = np.mean([log_probability[t, token] for t, token in enumerate([*ids, END])])
    assert numbers["log_probability"][0] == pytest.approx(mean, abs=1e-4)


def test_texts_of_several_sentences_have_the_mean_confidence_and_all_unknown_words(trained):
    whole = make_decoder([trained])
    split = make_decoder([dataclasses.replace(trained, config=replace(trained.config, split_sentences=True))])
    alone = whole.beam(tf.constant([FIRST, "The Vermieter.", "Quux"]))["confidence"].numpy()
    texts = tf.constant([f"{FIRST} The Vermieter.\nQuux", "", FIRST])
    found = split.beam(texts)
    np.testing.assert_allclose(found["confidence"], [alone.mean(), 0, alone[0]], atol=1e-4)
    assert found["unknown"].numpy().tolist() == [b"The Vermieter Quux", b"", b""]
    _, numbers = split.batched(with_evidence=True)([FIRST, f"{FIRST} {FIRST}"])
    assert numbers["log_words"][0] == pytest.approx(numbers["log_words"][1])


def test_several_runs_have_the_mean_of_their_confidences(trained):
    other = dataclasses.replace(trained, confidence=Confidence({"log_words": Input(0.0, 1.0, 1.0)}, -1.0, {}, {}))
    texts = tf.constant([FIRST, SECOND])
    one, two, both = (make_decoder(each).beam(texts)["confidence"].numpy()
                      for each in ([trained, trained], [other, other], [trained, other]))  # fmt: skip
    np.testing.assert_allclose(both, (one + two) / 2, atol=1e-5)
    np.testing.assert_allclose(two, 1 / (1 + np.exp(1 - np.log([5, 6]))), rtol=1e-5)
    none = dataclasses.replace(trained, confidence=None)
    assert "confidence" not in make_decoder([trained, none]).beam(texts)


def test_made_up_sentences_have_as_many_words_but_others():
    sources = ["the red star shines", "a house stands on a hill", "one"] * 50
    found = confidence.made_up(sources, np.random.default_rng(0))
    assert found == confidence.made_up(sources, np.random.default_rng(0))
    assert [len(text.split()) for text in found] == [len(text.split()) for text in sources]
    words = {word for text in sources for word in text.split()}
    places = [(a, b) for one, other in zip(sources, found, strict=True)
              for a, b in zip(one.split(), other.split(), strict=True)]  # fmt: skip
    kept, known = np.mean([a == b for a, b in places]), np.mean([b in words for _, b in places])
    assert 0.25 < kept < 0.5 < known < 0.9  # 0.35 stay; half of the others are known words


def test_the_bar_is_the_bleu_of_a_sentence():
    texts, references = ["a b c d e", "a x y", "z"], [["a b c d e"], ["q", "a b c d"], ["a b c d e f g h"]]
    scores = confidence.sentence_bleu(texts, references)
    expected = [sacrebleu.sentence_bleu(text, each).score for text, each in zip(texts, references, strict=True)]
    np.testing.assert_allclose(scores, expected)
    assert confidence.reaches(scores).tolist() == [True, False, False]


@pytest.mark.extra
def test_a_run_without_confidence_gets_one_from_evaluate(shared, command, capsys, tmp_path):
    run = shutil.copytree(shared.run, tmp_path / "run")
    before = json.loads((run / "confidence.json").read_text())
    (run / "confidence.json").unlink()
    (run / "seen_words.npy").unlink()
    shutil.rmtree(run / "export")
    assert command("predict", "--model", run, FIRST, "A Vermieter") == 0  # makes an export
    captured = capsys.readouterr()
    rows = [json.loads(line) for line in captured.out.splitlines()]
    assert list(rows[0]) == ["source", "translation", "score", "unknown"] and rows[1]["unknown"] == ["Vermieter"]
    assert "has no confidence: python -m pipelines.translation evaluate" in captured.err
    assert command("evaluate", "--run", run) == 0
    out, err = capsys.readouterr()
    assert "had no confidence: it was fitted" in err and "BLEU of the most confident half" in out
    assert json.loads((run / "confidence.json").read_text())["bias"] == pytest.approx(before["bias"], abs=1e-3)
    found = json.loads((run / "metrics.json").read_text())["confidence"]
    assert 0 <= found["ece"] <= 1 and set(found) >= {"reliability", "confident_half", "other_half"}
    assert (run / "reliability.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.extra
def test_fine_tuning_still_knows_the_words_of_the_base_run(shared, command, make, tmp_path):
    _, write = make
    pairs = [("The Vermieter.", "Le bailleur."), ("The Anwalt.", "Un avocat.")] * 8
    for part in ("train", "val", "test"):
        write(tmp_path / "data", part, pairs)
    run = tmp_path / "run"
    tune = ["fine-tune", "--from", shared.run, "--data", tmp_path / "data", "--run", run, "--epochs", "1"]
    assert command(*tune) == 0
    examine = make_decoder([load_trained(Run.open(run, "translation"))]).examine
    evidence, _ = examine(tf.constant([FIRST, "The Vermieter.", "Quux"]))
    assert evidence["unseen_words"].numpy().tolist() == [0, 0, 1]

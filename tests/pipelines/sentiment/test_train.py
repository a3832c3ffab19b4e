import csv
import json
import os
import shutil
import signal

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.common.config import from_json, replace
from pipelines.common.runs import Run
from pipelines.sentiment import dataset, fine_tuning, word_ids
from pipelines.sentiment import train as sentiment_train
from pipelines.sentiment.config import Config
from pipelines.sentiment.labels import label_ids
from pipelines.sentiment.model import build_model, load_trained
from pipelines.sentiment.train import make_loss, perturbation


def weights(run) -> dict[str, np.ndarray]:
    found = {}
    with h5py.File(run / "model.weights.h5") as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def same(first, second):
    assert first.keys() == second.keys()
    return all(np.array_equal(first[name], second[name]) for name in first)


def test_the_files_of_a_run(shared):
    stored = json.loads((shared.run / "config.json").read_text())
    assert (stored["task"], stored["preset"]) == ("sentiment", "sample")
    assert from_json(Config, stored["config"]).data.group_column == "film"
    assert json.loads((shared.run / "labels.json").read_text()) == ["negative", "positive"]
    words = (shared.run / "vocabulary.txt").read_text().split("\n")
    assert words[:2] == ["<pad>", "<unk>"]
    assert "don't" in words
    assert "br" not in words
    with open(shared.run / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= rows[0].keys()
    assert (shared.run / "curves.png").stat().st_size > 1000


def test_a_finished_run_is_reported(shared, command, tiny, capsys):
    before = (shared.run / "model.weights.h5").stat().st_mtime_ns
    arguments = ["train", "sample", "--data", shared.data, "--run", shared.run, "--group-column", "film", *tiny]
    assert command(*arguments) == 0
    assert "finished, validation accuracy" in capsys.readouterr().out
    assert (shared.run / "model.weights.h5").stat().st_mtime_ns == before
    assert command(*arguments, "--units", "5") == 2
    assert "units was 4 and is now 5" in capsys.readouterr().err


def test_an_interrupted_run_goes_on_to_the_same_weights(shared, tmp_path, command, tiny, capsys, monkeypatch):
    arguments = ["train", "sample", "--data", shared.data, "--run", tmp_path / "run", "--group-column", "film", *tiny]
    batches = word_ids.batches

    def interrupted(encoded, *, epoch=0, seed=None, **options):
        found = batches(encoded, epoch=epoch, seed=seed, **options)
        if epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return found

    monkeypatch.setattr(word_ids, "batches", interrupted)
    assert command(*arguments) == 130
    assert "the same command resumes where it stopped" in capsys.readouterr().err
    assert not Run.open(tmp_path / "run", "sentiment").finished
    monkeypatch.undo()
    assert command(*arguments) == 0
    assert same(weights(tmp_path / "run"), weights(shared.run))


@pytest.mark.extra
def test_calibration_is_part_of_the_run_and_survives_a_kill(shared, tmp_path, command, tiny, capsys, monkeypatch):
    run = tmp_path / "run"
    arguments = ["train", "sample", "--data", shared.data, "--group-column", "film", *tiny, "--calibrate"]

    def killed(*unused):
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "finish", killed)  # the weights are written by then
    assert command(*arguments, "--run", run) == 130
    monkeypatch.undo()
    assert command(*arguments, "--run", run) == 0
    assert "calibrated: logits times" in capsys.readouterr().out
    before, found = (Run.open(run, "sentiment").summary[name] for name in ("scores", "calibration"))
    assert found["val_loss"] < before["val_loss"]
    assert command("evaluate", "--run", run, "--split", "validation") == 0
    assert json.loads((run / "metrics.json").read_text())["loss"] == pytest.approx(found["val_loss"], rel=1e-5)
    own, plain = weights(run), weights(shared.run)  # the same training
    kernel, bias = "layers/dense/vars/0", "layers/dense/vars/1"  # of the head
    assert all(np.array_equal(own[name], plain[name]) for name in own.keys() - {kernel, bias})
    np.testing.assert_allclose(own[kernel], found["scale"] * plain[kernel], rtol=1e-5)
    np.testing.assert_allclose(own[bias], found["scale"] * plain[bias] + found["bias"], rtol=1e-5, atol=1e-6)


SHORT = "--pieces 0.5 --strong-word-dropout 0.3 --calibrate-lengths --split-negation --pooling last max"


@pytest.fixture(scope="module")
def short(shared, tmp_path_factory, command, tiny):
    """A run that was also trained on pieces, and the arguments that trained it."""
    arguments = ["train", "sample", "--data", shared.data, "--group-column", "film", *tiny, *SHORT.split()]
    run = tmp_path_factory.mktemp("short") / "run"
    assert command(*arguments, "--run", run) == 0
    return run, arguments


@pytest.mark.extra
def test_a_run_on_pieces_resumes_exactly_and_is_calibrated_by_length(short, tmp_path, command, capsys, monkeypatch):
    run, arguments = short
    seen = []
    batches = word_ids.batches

    def interrupted(texts, *, epoch=0, **options):
        seen.append(len(texts.ids))
        if len(seen) == 3:  # the batches of the first epoch are counted before it begins
            os.kill(os.getpid(), signal.SIGINT)
        return batches(texts, epoch=epoch, **options)

    monkeypatch.setattr(word_ids, "batches", interrupted)
    assert command(*arguments, "--run", tmp_path / "run") == 130
    monkeypatch.undo()
    assert seen[0] == seen[1] != seen[2]
    capsys.readouterr()
    assert command(*arguments, "--run", tmp_path / "run") == 0
    assert same(weights(tmp_path / "run"), weights(run))
    printed = capsys.readouterr().out
    assert [f"calibrated, at {knot} known words: logits times" in printed for knot in (1, 16, 256)] == [True] * 3
    summary = Run.open(run, "sentiment").summary
    assert {"val_loss", "val_accuracy", "val_pieces_loss", "val_pieces_accuracy"} <= summary["scores"].keys()
    found = summary["calibration"]
    assert np.shape(found["scale"]) == (3,) and np.shape(found["bias"]) == (3, 2)
    assert found["val_loss"] < summary["scores"]["val_loss"]
    assert command("evaluate", "--run", run, "--split", "validation") == 0
    assert json.loads((run / "metrics.json").read_text())["loss"] == pytest.approx(found["val_loss"], rel=1e-5)
    words = (run / "vocabulary.txt").read_text().split()
    assert {"do", "n't"} <= set(words) and "don't" not in words


@pytest.mark.extra
def test_a_text_without_a_known_word_says_nothing_in_the_export(short, command, capsys):
    run, _ = short
    capsys.readouterr()
    assert command("predict", "--model", run, "", "zzzz qqqq", "good") == 0
    empty, unknown, good = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert empty["probability"] == unknown["probability"] == 0.5 < good["probability"]
    assert command("export", "--run", run) == 0
    found = tf.saved_model.load(str(run / "export")).signatures["explain"](text=tf.constant(["zzzz good"]))
    assert found["probability"][0, 0].numpy().tolist() == [0.5, 0.5]
    assert found["probability"][0, 1, 0] != 0.5


@pytest.mark.extra
def test_fine_tuning_of_a_run_that_is_calibrated_by_length(short, shared, tmp_path, command):
    run, _ = short
    tune = ["fine-tune", "--from", run, "--data", shared.data, "--epochs", "1"]
    assert command(*tune, "--run", tmp_path / "plain") == 0
    assert command(*tune, "--run", tmp_path / "again", "--calibrate-lengths", "--learning-rate", "1e-12") == 0
    assert "calibration" not in Run.open(tmp_path / "plain", "sentiment").summary
    before, after = (Run.open(path, "sentiment").summary["calibration"] for path in (run, tmp_path / "again"))
    assert after["scale"] != before["scale"]  # fitted anew, to other validation reviews


@pytest.mark.extra
def test_a_run_of_version_0_1(shared, tmp_path, command, tiny, capsys):
    """Its configuration was flat."""
    run = tmp_path / "run"
    shutil.copytree(shared.run, run, ignore=shutil.ignore_patterns("export"))
    stored = json.loads((run / "config.json").read_text())
    config = stored["config"]
    flat = {name: config[name] for name in ("run", "base", "training")}
    for group in ("data", "text", "vocabulary", "model", "regularization", "augmentation", "loss", "transfer"):
        flat |= config[group]
    flat["data"] = flat.pop("location")
    (run / "config.json").write_text(json.dumps({**stored, "config": flat}))
    for folder in (shared.run, run):
        assert command("evaluate", "--run", folder) == 0
    assert (run / "metrics.json").read_text() == (shared.run / "metrics.json").read_text()
    data = ["--data", shared.data, "--group-column", "film"]
    assert command("train", "sample", *data, "--run", run, *tiny) == 0
    assert "finished, validation accuracy" in capsys.readouterr().out
    assert command("train", "sample", *data, "--run", run, *tiny, "--units", "5") == 2
    assert "model.units was 4 and is now 5" in capsys.readouterr().err
    assert command("fine-tune", "--from", run, *data, "--run", tmp_path / "tuned", "--epochs", "1") == 0
    assert from_json(Config, json.loads((tmp_path / "tuned" / "config.json").read_text())["config"]).model.units == 4


@pytest.mark.extra
def test_the_sample_is_learned(tmp_path, command):
    run = tmp_path / "run"
    assert command("train", "sample", "--run", run, "--no-tensorboard") == 0
    assert command("evaluate", "--run", run) == 0
    scores = json.loads((run / "metrics.json").read_text())
    assert scores["examples"] == 400 and scores["accuracy"] >= 0.99
    trained = load_trained(Run.open(run, "sentiment"))
    texts = {  # in no file: what decides is never a word alone
        "The cast was dull and the ending is awful, but the story is far from boring.": "positive",
        "Nobody called the plot clever, although I found the film very moving.": "negative",
        "It would be wrong to call this a bad film.": "positive",
        "It would be wrong to call this a good film.": "negative",
    }
    ids, _ = trained.preprocessing(tf.constant(list(texts)))
    answers = trained.model(ids.to_tensor()).numpy().argmax(axis=1)
    assert [trained.names[answer] for answer in answers] == list(texts.values())


@pytest.mark.extra
def test_three_labels_of_integers_with_names_and_a_vanilla_rnn(tmp_path, command, tiny, make, monkeypatch):
    make_reviews, write_csv = make
    data = write_csv(tmp_path / "reviews.tsv.csv", make_reviews(60, 3, names=(0, 1, 2)))
    options = "--label-names bad good mixed --cell rnn --layers 2 --pooling last mean max attention --no-bidirectional"
    options += " --class-weights --label-smoothing 0.1 --ema 0.9 --accumulate 2 --dropout 0.1 --recurrent-dropout 0.1"
    options += " --calibrate-lengths --adversarial 0.01 --pieces 0.3 --strong-word-dropout 0.1"
    given = []
    monkeypatch.setattr(sentiment_train, "make_loss", lambda *all_: given.append(all_[1:]) or make_loss(*all_))
    assert command("train", "sample", "--data", data, "--run", tmp_path / "run", "--group-column", "",
                   *tiny, *options.split()) == 0  # fmt: skip
    assert command("evaluate", "--run", tmp_path / "run") == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert list(metrics["classes"]) == ["bad", "good", "mixed"]
    found = Run.open(tmp_path / "run", "sentiment").summary["calibration"]
    assert np.shape(found["bias"]) == (3, 3) and np.sum(found["bias"]) == pytest.approx(0, abs=1e-6)
    assert 0 < metrics["examples"] < 20  # the tenth of the file that training did not see
    ((weights, *others),) = given
    assert len(set(weights)) > 1 and others == [0.1, 0.01]


@pytest.mark.extra
def test_xla_and_half_precision(tmp_path, command, tiny, make):
    make_reviews, write_csv = make
    rows = [{**row, "text": f"it was {row['text'][-6:]}"} for row in make_reviews(40, 6)]  # one shape to compile
    arguments = ["--data", write_csv(tmp_path / "a.csv", rows), "--group-column", "", *tiny, "--no-bidirectional"]
    arguments += ["--pooling", "max", "attention"]
    assert command("train", "sample", "--run", tmp_path / "run", *arguments, "--epochs", "1", "--xla",
                   "--precision", "mixed_bfloat16") == 0  # fmt: skip
    assert all(value.dtype == np.float32 for value in weights(tmp_path / "run").values())


def test_fine_tuning_on_other_labels_and_words(shared, tmp_path, command, make, capsys):
    make_reviews, write_csv = make
    rows = [{"body": row["text"] + " brandnew", "mood": row["label"]} for row in
            make_reviews(60, 4, names=("sad", "happy", "calm"))]  # fmt: skip
    data = write_csv(tmp_path / "moods.csv", rows)
    run = tmp_path / "tuned"
    arguments = ["fine-tune", "--from", shared.run, "--data", data, "--run", run, "--text-column", "body"]
    arguments += ["--label-column", "mood", "--epochs", "1", "--learning-rate", "1e-12"]
    assert command(*arguments) == 0
    assert json.loads((run / "labels.json").read_text()) == ["calm", "happy", "sad"]
    old, new = ((folder / "vocabulary.txt").read_text().split("\n")[:-1] for folder in (shared.run, run))
    assert new[: len(old)] == old
    assert "brandnew" in new[len(old) :]
    before, after = (load_trained(Run.open(path, "sentiment")).model for path in (shared.run, run))
    before, after = (model.get_layer("embedding").get_weights()[0] for model in (before, after))
    np.testing.assert_allclose(after[: len(old)], before, atol=1e-6)
    np.testing.assert_allclose(after[len(old) :], np.repeat(before[1:2], len(new) - len(old), axis=0), atol=1e-6)
    config = json.loads((run / "config.json").read_text())["config"]
    assert (config["base"], config["model"]["units"], config["data"]["group_column"]) == (str(shared.run), 4, "")
    assert command(*arguments) == 0
    assert "finished" in capsys.readouterr().out
    assert command("evaluate", "--run", run) == 0


@pytest.mark.extra
def test_fine_tuning_starts_from_the_weights_of_the_run(shared, tmp_path, command, make):
    """With a learning rate of next to nothing the answers are those of the run before, names in any order."""
    make_reviews, write_csv = make
    data = write_csv(tmp_path / "reviews.csv", make_reviews(40, 5))
    run = tmp_path / "tuned"
    assert command("fine-tune", "--from", shared.run, "--data", data, "--run", run, "--learning-rate", "1e-12",
                   "--label-names", "positive", "negative", "--epochs", "1") == 0  # fmt: skip
    before, after = (load_trained(Run.open(path, "sentiment")) for path in (shared.run, run))
    assert after.names == ("positive", "negative")
    texts = ["the film was good", "awful it was", ""]

    def logits(trained):
        ids, _ = trained.preprocessing(tf.constant(texts))
        return trained.model(ids.to_tensor()).numpy()

    np.testing.assert_allclose(logits(after)[:, ::-1], logits(before), atol=1e-6)


@pytest.mark.extra
def test_the_average_with_the_weights_before_fine_tuning(shared, tmp_path, command, make, capsys):
    make_reviews, write_csv = make
    data = write_csv(
        tmp_path / "reviews.csv", [row | {"text": row["text"] + " brandnew"} for row in make_reviews(40, 5)]
    )
    tune = ["fine-tune", "--from", shared.run, "--data", data, "--epochs", "1"]
    runs = {share: tmp_path / f"share-{share}" for share in ("0", "0.25", "start")}
    assert command(*tune, "--run", runs["start"], "--learning-rate", "1e-12") == 0
    assert command(*tune, "--run", runs["0"]) == 0
    capsys.readouterr()
    assert command(*tune, "--run", runs["0.25"], "--base-share", "0.25") == 0
    start, end, found = (weights(runs[share]) for share in ("start", "0", "0.25"))
    assert not same(start, end)
    for name, value in found.items():
        np.testing.assert_allclose(value, 0.25 * start[name] + 0.75 * end[name], atol=1e-5)
    scores = json.loads((runs["0.25"] / "status.json").read_text())["average"]
    told = f"averaged with the run before: loss {scores['val_loss']:.4f}, accuracy {scores['val_accuracy']:.4f}"
    assert told in capsys.readouterr().out


def test_a_mixture_with_the_reviews_of_the_run_before(shared):
    base = load_trained(Run.open(shared.run, "sentiment"))
    config = replace(base.config.for_fine_tuning(shared.run), mixture=0.75)
    own = dataset.load(base.config.data)
    new = {"train": own["train"].take(range(10)), "validation": own["validation"].take(range(2))}
    found = fine_tuning.draw_mixture(config, base, new)
    assert [len(found[name]) for name in fine_tuning.MIXTURES.values()] == [30, 6]
    for part, name in fine_tuning.MIXTURES.items():
        label = dict(zip(own[part].texts, label_ids(own[part], base.names), strict=True))
        assert [label[text] for text in found[name].texts] == label_ids(found[name], base.names).tolist()
    many = {part: own["train"].take([0] * 10**5) for part in new}
    found = fine_tuning.draw_mixture(config, base, many)
    assert len(found["mixture in train"]) == len(own["train"])


@pytest.mark.extra
def test_fine_tuning_with_a_mixture(shared, tmp_path, command, make):
    make_reviews, write_csv = make
    data = write_csv(tmp_path / "reviews.csv", make_reviews(40, 5))
    tune = ["fine-tune", "--from", shared.run, "--data", data, "--epochs", "1"]
    for name, options in {"alone": [], "mixed": ["--mixture", "0.5"]}.items():
        assert command(*tune, "--run", tmp_path / name, *options) == 0
    steps = [json.loads((tmp_path / name / "status.json").read_text())["steps"] for name in ("alone", "mixed")]
    assert steps[1] > steps[0]


@pytest.mark.parametrize("option", ["--base-share", "--mixture"])
def test_the_average_and_the_mixture_need_the_same_labels(shared, tmp_path, command, make, capsys, option):
    make_reviews, write_csv = make
    data = write_csv(tmp_path / "moods.csv", make_reviews(60, 4, names=("sad", "happy", "calm")))
    tune = ["fine-tune", "--from", shared.run, "--data", data, "--run", tmp_path / "run", option, "0.5"]
    assert command(*tune) == 2
    told = f"{option} needs the labels of the run"
    assert told in (error := capsys.readouterr().err) and "calm, happy, sad: expected the same labels" in error


def test_the_default_configuration_of_fine_tuning(shared):
    config = from_json(Config, json.loads((shared.run / "config.json").read_text())["config"])
    tuned = config.for_fine_tuning(shared.run)
    assert tuned.run == shared.run.with_name("run-finetuned")
    assert (tuned.base, tuned.data.group_column, tuned.model.units) == (shared.run, "", 4)


def test_the_loss_ignores_fillers_and_smooths_labels():
    logits = np.array([[2.0, 0.0], [0.0, 1.0], [9.0, -9.0]], np.float32)
    batch = {
        "ids": np.zeros((3, 1), np.int32),
        "labels": np.array([0, 0, 1], np.int32),
        "targets": np.array([[1, 0], [0.75, 0.25], [0, 1]], np.float32),
        "real": np.array([1, 1, 0], np.float32),
    }
    total, weight = make_loss(lambda ids, training: logits, np.array([2.0, 1.0]), 0.2)(batch, True)["loss"]
    log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    targets = np.array([[0.9, 0.1], [0.7, 0.3]])
    assert float(weight) == 4
    assert float(total) == pytest.approx(-2 * (targets * log_softmax[:2]).sum(), rel=1e-5)


def test_adversarial_training_perturbs_each_review_where_its_loss_grows_most():
    """Against a search: no random change of the same length raises the loss of a review as much."""
    model = build_model(
        vocabulary_size=9, classes=2, cell="lstm", units=4, layers=1, bidirectional=True, pooling=("max",),
        embedding_units=5, embedding_dropout=0.0, word_dropout=0.0, recurrent_dropout=0.0, dropout=0.0, seed=1,
    )  # fmt: skip
    batch = {
        "ids": np.array([[3, 4, 5, 6], [7, 1, 0, 0], [0, 0, 0, 0]], np.int32),
        "labels": np.array([0, 1, 1], np.int32),
        "targets": np.array([[1, 0], [0, 1], [0, 1]], np.float32),
        "real": np.array([1, 1, 1], np.float32),
    }
    plain, _ = make_loss(model, np.ones(2), 0.0)(batch, True)["loss"]
    nearly, _ = make_loss(model, np.ones(2), 0.0, adversarial=1e-6)(batch, True)["loss"]
    assert float(nearly) == pytest.approx(2 * float(plain), rel=1e-5)
    classify = keras.Model(
        [model.get_layer("embedding_dropout").output, model.get_layer("padding_mask").output], model.output
    )
    embeddings, padding_mask = model.get_layer("embedding")(batch["ids"]), tf.constant(batch["ids"] != 0)

    def losses(change):
        logits = classify([embeddings + change, padding_mask])
        return tf.nn.sparse_softmax_cross_entropy_with_logits(batch["labels"], logits)

    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        total = tf.reduce_sum(losses(0.0))
    change = perturbation(tape.gradient(total, embeddings), embeddings, padding_mask)
    pairs = zip(embeddings.numpy()[:2], padding_mask.numpy()[:2], strict=True)  # the third review has no word
    root_mean_squares = [np.sqrt(np.mean(np.square(rows[some]))) for rows, some in pairs]
    lengths = np.linalg.norm(change.numpy().reshape(3, -1), axis=1)
    np.testing.assert_allclose(lengths, [*root_mean_squares, 0.0], rtol=1e-5)
    assert not change.numpy()[1, 2:].any()  # padding stays where it is
    worst = losses(0.1 * change).numpy()
    both, _ = make_loss(model, np.ones(2), 0.0, adversarial=0.1)(batch, True)["loss"]
    assert float(both) == pytest.approx(float(plain) + worst.sum(), rel=1e-5)
    # In float16, the sum of squares of long reviews would overflow, and that of small gradients would be zero.
    long = tf.constant(np.random.default_rng(0).normal(size=[1, 600, 128]), tf.float32)
    some = tf.ones([1, 600], tf.bool)
    half = perturbation(tf.cast(1e-5 * long, tf.float16), tf.cast(long, tf.float16), some)
    np.testing.assert_allclose(half, perturbation(1e-5 * long, long, some), atol=5e-4)
    draw = np.random.default_rng(0)
    for _ in range(50):
        other = draw.normal(size=change.shape).astype(np.float32) * padding_mask.numpy()[:, :, None]
        other *= (0.1 * lengths / np.maximum(np.linalg.norm(other.reshape(3, -1), axis=1), 1e-9))[:, None, None]
        assert (losses(other).numpy()[:2] < worst[:2]).all()

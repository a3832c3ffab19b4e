import csv
import json

import numpy as np
import pytest
import tensorflow as tf

from layers.text import END, START, UNKNOWN, pad
from layers.tokenizer import Tokenizer
from pipelines.common.config import from_json
from pipelines.common.runs import Run
from pipelines.common.training.options import TrainingOptions
from pipelines.translation.config import Config, LossConfig
from pipelines.translation.model import load_trained
from pipelines.translation.train import make_loss, sampled_inputs


@pytest.fixture(scope="module")
def trained(shared):
    return load_trained(Run.open(shared.run, "translation"))


def batch_of(trained) -> dict:
    source, target = (
        pad(tokenizer.encode(tf.constant(texts))[0])
        for tokenizer, texts in (
            (trained.preprocessing.source, ["A red star.", "A car.", ""]),
            (trained.preprocessing.target, ["Une étoile rouge.", "Une", ""]),
        )
    )
    return {"source": source, "target": target, "real": tf.constant([1.0, 1.0, 0.0])}


def test_the_files_of_a_run(shared):
    stored = json.loads((shared.run / "config.json").read_text())
    assert (stored["task"], stored["preset"]) == ("translation", "sample")
    assert from_json(Config, stored["config"]).model.layers == 2
    for name, word in (("source", "▁star"), ("target", "▁étoile")):
        words = (shared.run / f"vocabulary.{name}.txt").read_text().split("\n")
        assert words[:4] == ["<pad>", "<unk>", "<s>", "</s>"] and word in words
    with open(shared.run / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"loss", "nll", "val_loss", "val_perplexity", "val_bleu"} <= rows[0].keys()
    assert float(rows[1]["val_loss"]) < float(rows[0]["val_loss"])
    assert (shared.run / "curves.png").stat().st_size > 1000


def test_a_finished_run_is_reported(shared, command, tiny, capsys):
    arguments = ["train", "sample", "--data", shared.data, "--run", shared.run, *tiny]
    assert command(*arguments) == 0
    assert "finished, validation BLEU" in capsys.readouterr().out
    assert command(*arguments, "--units", "6") == 2
    assert "units was 16 and is now 6" in capsys.readouterr().err


def test_the_loss_equals_its_equation(trained):
    batch = batch_of(trained)
    total, weight = make_loss(trained.model, trained.config.loss, TrainingOptions())(batch, False)["loss"]
    target = batch["target"].numpy()
    inputs = np.concatenate([np.full((3, 1), START), target], axis=1).astype(np.int32)
    logits = trained.model((batch["source"], inputs)).numpy()
    expected, tokens = 0.0, 0
    for row in (0, 1):
        words = [*target[row][target[row] != 0], END]
        for t, word in enumerate(words):
            log_probability = logits[row, t] - np.log(np.exp(logits[row, t]).sum())
            expected -= log_probability[word]
            tokens += 1
    assert float(weight) == tokens == 5 + 2
    assert float(total) == pytest.approx(expected, rel=1e-5)
    by_sentence = LossConfig(loss_per="sentence", label_smoothing=0.0)
    assert float(make_loss(trained.model, by_sentence, TrainingOptions())(batch, True)["loss"][1]) == 2
    smoothed = make_loss(trained.model, LossConfig(label_smoothing=0.2), TrainingOptions())(batch, False)
    assert float(smoothed["nll"][0]) == pytest.approx(expected, rel=1e-5)
    assert float(smoothed["loss"][0]) > expected


def test_scheduled_sampling_follows_its_schedule(trained):
    model, batch = trained.model, batch_of(trained)
    inputs = tf.concat([tf.fill([64, 1], START), tf.tile(batch["target"][:1], [64, 1])], axis=1)
    state = model.encode(tf.tile(batch["source"][:1], [64, 1]))

    def changed(**fields) -> float:
        model.random.state.assign([1, 0])
        mixed = sampled_inputs(model, LossConfig(**fields), 0, inputs, state)
        assert (mixed.numpy()[:, 0] == START).all()
        return float((mixed.numpy()[:, 1:] != inputs.numpy()[:, 1:]).mean())

    assert changed(teacher_forcing="constant", teacher_probability=1.0) == 0
    assert changed(teacher_forcing="linear", teacher_updates=10.0) == 0  # the first update is made on true words
    some = changed(teacher_forcing="constant", teacher_probability=0.5)
    everything = changed(teacher_forcing="constant", teacher_probability=0.0)
    assert 0 < some < everything


def test_the_schedule_of_scheduled_sampling_counts_training_batches(trained):
    trained.model.sampled_batches.assign(0)
    loss = make_loss(trained.model, LossConfig(teacher_forcing="constant"), TrainingOptions(accumulate=2))
    for training in (True, False, True):
        loss(batch_of(trained), training)
    assert int(trained.model.sampled_batches) == 2


OPTIONS = """
--teacher-forcing inverse-sigmoid --teacher-updates 5 --cell rnn --no-reverse --level subword
--softmax sampled --softmax-samples 12 --initial-range 0.08 --loss-per sentence --optimizer sgd --schedule halving
--bidirectional --residual --context max --tied --ema 0.9 --accumulate 2 --word-dropout 0.1 --precision mixed_bfloat16
--xla --layers 1 --context last --monitor perplexity
--attention dot --context none --variational --recurrent-dropout 0.2 --teacher-forcing constant --xla
--attention additive --attention-input --context none --cell rnn --tied --bidirectional --teacher-forcing linear --xla
"""


@pytest.mark.extra
@pytest.mark.parametrize("options", OPTIONS.strip().splitlines())
def test_crossed_options_train_and_translate(shared, command, tiny, tmp_path, options, capsys):
    arguments = ["--data", shared.data, "--run", tmp_path / "run", *tiny, "--epochs", "1", *options.split()]
    assert command("train", "sample", *arguments) == 0
    assert command("evaluate", "--run", tmp_path / "run", "--beam-size", "2") == 0
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["perplexity"] > 1


@pytest.mark.parametrize("initial_range", [0, pytest.param(0.05, marks=pytest.mark.extra)])
def test_the_softmax_begins_with_the_frequencies_of_the_words(shared, command, tiny, tmp_path, initial_range):
    """Except if --initial-range sets all weights. The learning rate is almost zero."""
    run = tmp_path / "run"
    changes = ["--epochs", "1", "--layers", "1", "--learning-rate", "1e-12", "--initial-range", initial_range]
    assert command("train", "sample", "--data", shared.data, "--run", run, *tiny, *changes) == 0
    begun = load_trained(Run.open(run, "translation"))
    bias = begun.model.softmax.bias.numpy()
    if initial_range:
        assert np.abs(bias).max() <= initial_range
        return
    texts = (shared.data / "train.fr").read_text(encoding="utf-8").splitlines()
    ids = begun.preprocessing.target.encode(tf.constant(texts))[0].flat_values.numpy()
    counts = np.bincount([*ids, *[END] * len(texts)], minlength=len(bias)) + 1
    np.testing.assert_allclose(np.exp(bias), counts / counts.sum(), rtol=1e-4)


def test_fine_tuning_on_new_words_keeps_the_known_ones(shared, trained, command, make, tmp_path):
    """Vocabularies grow; with a learning rate of almost zero, ids and answers do not change."""
    make_pairs, write_parallel = make
    write_parallel(tmp_path / "data", "train", [*make_pairs(30, 5), ("A brandnew star.", "Une étoile toute neuve.")])
    write_parallel(tmp_path / "data", "val", make_pairs(10, 6))
    run = tmp_path / "tuned"
    assert command("fine-tune", "--from", shared.run, "--data", tmp_path / "data", "--run", run, "--epochs", "1",
                   "--learning-rate", "1e-12", "--mixture", "0.5") == 0  # fmt: skip
    tuned = load_trained(Run.open(run, "translation"))
    for old, new in ((trained.preprocessing.source, tuned.preprocessing.source),
                     (trained.preprocessing.target, tuned.preprocessing.target)):  # fmt: skip
        assert isinstance(new, Tokenizer)
        size = len(old.vocabulary)
        assert new.vocabulary.words[:size] == old.vocabulary.words and len(new.vocabulary) > size
    batch = batch_of(trained)
    inputs = tf.concat([tf.fill([3, 1], START), batch["target"]], axis=1)
    before, after = (each.model((batch["source"], inputs)).numpy() for each in (trained, tuned))
    np.testing.assert_allclose(after[:, :, : before.shape[2]], before, atol=1e-4)
    assert (after[:, :, before.shape[2] :] <= before[:, :, UNKNOWN : UNKNOWN + 1] + 1e-4).all()
    config = from_json(Config, json.loads((run / "config.json").read_text())["config"])
    assert (config.base, config.data.mixture, config.model.units) == (shared.run, 0.5, 16)

import csv
import json
import math
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from layers.text import END, GENERATION, START, Vocabulary
from pipelines.common.config import from_json, replace
from pipelines.common.runs import Run
from pipelines.common.training import strategies
from pipelines.sentiment import dataset, word_ids
from pipelines.sentiment.language_model import train as language_model_train
from pipelines.sentiment.language_model.config import TASK, Config
from pipelines.sentiment.language_model.dataset import load
from pipelines.sentiment.language_model.evaluate import make_perplexity
from pipelines.sentiment.language_model.model import load_trained, make_model
from pipelines.sentiment.language_model.train import fit, make_loss, make_step, make_streams
from pipelines.sentiment.reviews import all_texts
from tests import killing

VOCABULARY = Vocabulary([*GENERATION, *"abcdefg"])
TINY = replace(Config(), units=4, embedding_units=3, streams=1, validation_words=0)
IDS = tf.constant(np.random.default_rng(0).integers(1, 11, (3, 7)), tf.int32)


def history(run) -> list[dict]:
    with open(run / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_the_files_of_a_run(pretrained, command, capsys, tiny_language_model):
    stored = json.loads((pretrained.run / "config.json").read_text())
    assert (stored["task"], stored["preset"]) == ("sentiment language model", "sample")
    assert from_json(Config, stored["config"]).windows.k2 == 8
    assert (pretrained.run / "vocabulary.txt").read_text().split("\n")[:4] == list(GENERATION)
    rows = history(pretrained.run)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    forward, backward = (float(rows[-1][f"val_perplexity_{name}"]) for name in ("forward", "backward"))
    assert float(rows[-1]["val_perplexity"]) == pytest.approx(math.sqrt(forward * backward))
    arguments = ["pretrain", "sample", "--data", pretrained.data, "--run", pretrained.run, *tiny_language_model]
    assert command(*arguments) == 0
    assert "finished, validation perplexity" in capsys.readouterr().out
    assert command(*arguments, "--k1", "5") == 2
    assert "k1 was 8 and is now 5" in capsys.readouterr().err


@pytest.mark.extra
@pytest.mark.parametrize(
    "options",
    [
        ["--k1", "5", "--k2", "8", "--state", "reset", "--softmax", "sampled", "--softmax-samples", "20"],
        ["--k1", "5", "--k2", "8", "--state", "reset", "--precision", "mixed_bfloat16"],
        ["--objective", "autoencoder", "--cell", "rnn", "--no-tied", "--embedding-dropout", "0"],
    ],
)
def test_perplexity_falls_far_below_that_of_a_uniform_distribution(
    pretrained, tmp_path, command, tiny_language_model, options
):
    tiny = [*tiny_language_model, "--no-bidirectional", "--layers", "1", "--units", "12", "--epochs", "3"]
    assert command("pretrain", "sample", "--data", pretrained.data, "--run", tmp_path / "run", *tiny, *options) == 0
    words = len((tmp_path / "run" / "vocabulary.txt").read_text().split())
    perplexities = [float(row["val_perplexity"]) for row in history(tmp_path / "run")]
    assert perplexities[-1] < perplexities[0]
    assert perplexities[-1] < 0.7 * words


def test_the_softmax_starts_with_the_frequencies_of_the_words(monkeypatch):
    models = []
    monkeypatch.setattr(language_model_train, "Trainer", lambda model, **options: models.append(model) or mock.Mock())
    texts = word_ids.Texts(np.array([4, 5, 4, 4], np.int32), np.array([0, 1, 4]), 0)
    fit(None, TINY, {"train": texts, "validation": texts}, VOCABULARY)
    counts = np.bincount([*texts.ids, *[END] * len(texts)], minlength=len(VOCABULARY)) + 1
    np.testing.assert_allclose(np.exp(models[0].softmax.bias), counts / counts.sum(), rtol=1e-4)


@pytest.mark.parametrize(
    ("softmax", "state"), [("full", "carried"), ("sampled", "carried"), ("sampled", "reset")]
)  # an exact softmax does not depend on the state
def test_the_loss_is_that_of_all_words_in_both_directions(softmax, state):
    """With as many samples as words, the sampled softmax is exact."""
    config = replace(TINY, layers=2, bidirectional=True, softmax=softmax, softmax_samples=11, state=state)
    model = make_model(config, VOCABULARY)
    outputs, _ = model.outputs({"forward": IDS, "backward": IDS[:, ::-1]}, model.initial_state(3))
    targets = {"forward": tf.roll(IDS, 1, 1), "backward": tf.roll(IDS, 2, 1)}
    weights = np.float32(np.arange(21).reshape(3, 7) % 3 > 0)
    total, words = make_loss(model, config)(outputs, targets, tf.constant(weights))["loss"]
    expected = 0.0
    for direction in model.directions:
        logits = outputs[direction].numpy() @ model.softmax.kernel.numpy().T + model.softmax.bias.numpy()
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        expected -= (np.take_along_axis(log_p, targets[direction].numpy()[..., None], -1)[..., 0] * weights).sum()
    assert float(words) == 2 * weights.sum()
    assert float(total) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"k1": 3, "k2": 3},
        {"k1": 3, "k2": 7, "bidirectional": True},
        {"k1": 3, "k2": 7, "state": "reset"},
        {"k1": 4, "k2": 4, "objective": "autoencoder", "cell": "rnn", "bidirectional": True},
    ],
)
def test_the_losses_of_all_windows_add_up_to_that_of_whole_texts(changes):
    """As long as no weight changes: to the loss of the stream, or, if each text resets the state, to the perplexity of
    validation."""
    config = replace(TINY, softmax="full", **changes)
    model = make_model(config, VOCABULARY)
    ids = np.random.default_rng(1).integers(4, 11, 23).astype(np.int32)
    texts = word_ids.Texts(ids, np.array([0, 5, 5, 6, 20, 23]), 0)
    step, total, words = make_step(model, config), 0.0, 0.0
    for batch in make_streams(config, texts).epoch(0):
        loss = step(batch, False)["loss"]
        total, words = total + float(loss[0]), words + float(loss[1])
    assert words == (23 + 5) * len(model.directions)
    if config.windows.carried:  # as one long text, in the order of the first epoch
        order = np.random.default_rng((config.training.seed, 0)).permutation(5)
        parts = {name: [] for name in model.directions}
        for number in order:
            text = ids[texts.splits[number] : texts.splits[number + 1]]
            parts["forward"].append([START, *text, END])
            parts.get("backward", []).append([START, *text[::-1], END])
        inputs, targets = (
            {name: tf.constant([[word for part in found for word in part[cut]]]) for name, found in parts.items()}
            for cut in (slice(None, -1), slice(1, None))
        )
        outputs, _ = model.outputs(inputs, model.initial_state(1))
        expected = float(make_loss(model, config)(outputs, targets, tf.ones([1, 28]))["loss"][0])
    else:
        expected = make_perplexity(model, config, texts)()["val_loss"] * words
    assert total == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("softmax", ["full", "sampled"])
def test_the_loss_in_half_precision_is_close_and_its_weights_are_not_rounded(softmax):
    changes = {"units": 6, "layers": 2, "bidirectional": True, "k1": 3, "k2": 7, "softmax": softmax}
    texts = word_ids.Texts(np.arange(4, 10, dtype=np.int32).repeat(3), np.array([0, 7, 18]), 0)
    losses = []
    for precision in ("float32", "mixed_bfloat16"):
        config = replace(TINY, **changes, softmax_samples=11, precision=precision)
        model = strategies.build(config.training, lambda config=config: make_model(config, VOCABULARY))
        step = make_step(model, config)
        assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
        assert model.recurrent["backward"][1].compute_dtype == precision.removeprefix("mixed_")
        losses.append([float(step(batch, False)["loss"][0]) for batch in make_streams(config, texts).epoch(0)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.01)


@pytest.mark.extra
def test_a_killed_run_resumes_exactly(pretrained, tmp_path, tiny_language_model):
    command = ["pretrain", "sample", "--data", pretrained.data, *tiny_language_model, "--layers", "1"]
    command += ["--no-bidirectional", "--epochs", "12", "--checkpoint-steps", "7"]
    command += ["--softmax", "sampled", "--softmax-samples", "8"]  # draws at random
    assert killing.check_command("sentiment", command, tmp_path, kills=1, longest_delay=0.1)


def test_a_classifier_has_the_same_parts(pretrained):
    config = load_trained(Run.open(pretrained.run, TASK)).config
    parts = load(config.data, config.text.max_characters)
    labelled = dataset.load(config.data, labelled=False)
    train, validation = (set(all_texts(parts[part])) for part in ("train", "validation"))
    assert validation == set(labelled["validation"].texts)
    assert set(labelled["train"].texts) <= train
    assert not validation & train - set(labelled["train"].texts)

import csv
import json
import math

import numpy as np
import pytest
import tensorflow as tf

from layers.text import END, GENERATION, START, Vocabulary
from pipelines.sentiment import corpus, dataset
from pipelines.sentiment.language_model import load_language_model, make_language_model, open_language_model
from pipelines.sentiment.pretrain import Perplexity, make_loss, make_step, make_streams
from pipelines.sentiment.pretraining_config import PretrainingConfig
from tests import killing


def history(run) -> list[dict]:
    with open(run / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_explains_itself(pretrained, command, capsys, tiny_language_model):
    stored = json.loads((pretrained.run / "config.json").read_text())
    assert (stored["task"], stored["preset"]) == ("sentiment language model", "sample")
    assert PretrainingConfig.from_json(stored["config"]).k2 == 8
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
        ["--objective", "autoencoder", "--cell", "rnn", "--no-tied", "--embedding-dropout", "0"],
    ],
)
def test_perplexity_falls_far_below_that_of_chance(pretrained, tmp_path, command, tiny_language_model, options):
    tiny = [*tiny_language_model, "--no-bidirectional", "--layers", "1", "--units", "12", "--epochs", "3"]
    assert command("pretrain", "sample", "--data", pretrained.data, "--run", tmp_path / "run", *tiny, *options) == 0
    words = len((tmp_path / "run" / "vocabulary.txt").read_text().split())
    found = [float(row["val_perplexity"]) for row in history(tmp_path / "run")]
    assert found[-1] < found[0]
    assert found[-1] < 0.7 * words


@pytest.mark.extra
def test_the_softmax_begins_with_the_frequencies_of_the_words(pretrained, tmp_path, command, tiny_language_model):
    changes = ["--epochs", "1", "--learning-rate", "1e-12"]
    run = ["--data", pretrained.data, "--run", tmp_path / "run"]
    assert command("pretrain", "sample", *run, *tiny_language_model, *changes) == 0
    begun = load_language_model(open_language_model(tmp_path / "run"))
    texts = dataset.encode_texts(corpus.load(begun.config)["train"], begun.preprocessing)
    counts = np.bincount([*texts.ids, *[END] * len(texts)], minlength=begun.model.vocabulary_size) + 1
    np.testing.assert_allclose(np.exp(begun.model.softmax.bias), counts / counts.sum(), rtol=1e-4)


def test_perplexity_is_that_of_each_text_by_itself():
    """Against the model driven word by word, on texts of any length; and no more words than were asked for."""
    vocabulary = Vocabulary([*GENERATION, *"abcdefg"])
    config = PretrainingConfig(units=4, embedding_units=3, bidirectional=True, validation_words=0)
    model = make_language_model(config, vocabulary)
    texts = [[4, 5, 6], [], [7, 8, 9, 10, 4, 4, 4, 5, 1], [6]]
    ids = np.array([word for text in texts for word in text], np.int32)
    encoded = dataset.Texts(ids, np.cumsum([0, *map(len, texts)]), 0)
    total = 0.0
    for text in texts:
        state = model.initial_state(1)["forward"]
        for read, said in zip([START, *text], [*text, END], strict=True):
            logits, state = model.step(tf.constant([read]), state)
            total -= float(tf.nn.log_softmax(logits)[0, said])
    scores = Perplexity(model, encoded, config)()
    assert scores["val_perplexity_forward"] == pytest.approx(math.exp(total / 17), rel=1e-5)
    few = Perplexity(model, encoded, PretrainingConfig(validation_words=5, bidirectional=True))
    assert sum(few.lengths[few.chosen] + 1) <= 5


@pytest.mark.parametrize(
    "changes",
    [
        {"k1": 3, "k2": 3},
        {"k1": 3, "k2": 7, "bidirectional": True},
        {"k1": 3, "k2": 7, "state": "reset"},
        {"k1": 4, "k2": 4, "objective": "autoencoder", "cell": "rnn", "bidirectional": True},
    ],
)
def test_windows_say_of_every_word_what_the_whole_says(changes):
    """While nothing is learned, the windows with their carried states add up to texts read whole: to the stream, or,
    where the state begins with each text, to what perplexity is measured on."""
    config = PretrainingConfig(
        **{"units": 4, "embedding_units": 3, "streams": 1, "softmax": "full", "validation_words": 0, **changes}
    )
    model = make_language_model(config, Vocabulary([*GENERATION, *"abcdefg"]))
    ids = np.random.default_rng(1).integers(4, 11, 23).astype(np.int32)
    texts = dataset.Texts(ids, np.array([0, 5, 5, 6, 20, 23]), 0)
    step, total, words = make_step(model, config), 0.0, 0.0
    for batch in make_streams(config, texts).epoch(0):
        loss = step(batch, False)["loss"]
        total, words = total + float(loss[0]), words + float(loss[1])
    assert words == (23 + 5) * len(model.directions)
    if config.carried:  # as one long text of what the stream holds, in the order of its first epoch
        order = np.random.default_rng((config.training.seed, 0)).permutation(5)
        parts = {name: [] for name in model.directions}
        for number in order:
            text = ids[texts.splits[number] : texts.splits[number + 1]]
            parts["forward"].append([START, *text, END])
            parts.get("backward", []).append([START, *text[::-1], END])
        read, said = (
            {name: tf.constant([[word for part in found for word in part[cut]]]) for name, found in parts.items()}
            for cut in (slice(None, -1), slice(1, None))
        )
        hidden, _ = model.read(read, model.initial_state(1))
        expected = float(make_loss(model, config)(hidden, said, tf.ones([1, 28]))["loss"][0])
    else:
        expected = Perplexity(model, texts, config)()["val_loss"] * words
    assert total == pytest.approx(expected, rel=1e-5)


@pytest.mark.extra
def test_killed_and_given_again(pretrained, tmp_path, tiny_language_model):
    command = ["pretrain", "sample", "--data", pretrained.data, *tiny_language_model, "--layers", "1"]
    command += ["--no-bidirectional", "--epochs", "12", "--checkpoint-steps", "7"]
    command += ["--softmax", "sampled", "--softmax-samples", "8"]  # draws at random
    assert killing.check_command("sentiment", command, tmp_path, kills=1, longest_delay=0.1)


def test_the_classifier_is_given_the_same_parts(pretrained):
    run = open_language_model(pretrained.run)
    config = load_language_model(run).config
    parts = corpus.load(config)
    labelled = dataset.load(config, labelled=False)
    assert parts["validation"].texts == labelled["validation"].texts
    assert set(labelled["train"].texts) <= set(parts["train"].texts)
    assert not set(parts["validation"].texts) & set(parts["train"].texts) - set(labelled["train"].texts)

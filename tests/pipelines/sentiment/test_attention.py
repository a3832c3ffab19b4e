"""Runs with attention pooling: from a language model, interrupted, fine-tuned, as a teacher, averaged."""

import os
import signal

import numpy as np
import pytest
import tensorflow as tf

from pipelines.common.runs import Run
from pipelines.sentiment import word_ids
from pipelines.sentiment.model import load_trained
from tests.killing import assert_same_run


@pytest.mark.extra
def test_the_commands_with_attention_pooling(pretrained, tmp_path, command, make, monkeypatch, capsys):
    make_reviews, write_csv = make
    data = tmp_path / "data"
    data.mkdir()
    for part, number in (("train", 96), ("test", 40), ("unsup", 24)):
        write_csv(data / f"{part}.csv", make_reviews(number, seed=number))
    about = ["--data", data, "--group-column", "film", "--no-tensorboard", "--pooling", "attention", "max"]
    about += ["--max-words", "50", "--batch-words", "2000", "--batch-reviews", "16"]
    whole, run, student = (tmp_path / name for name in ("whole", "run", "student"))
    arguments = ["train", "sample", *about, "--epochs", "2", "--init-from", pretrained.run]
    assert command(*arguments, "--run", whole) == 0
    batches = word_ids.batches

    def interrupted(encoded, *, epoch=0, **options):
        if epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return batches(encoded, epoch=epoch, **options)

    monkeypatch.setattr(word_ids, "batches", interrupted)
    assert command(*arguments, "--run", run) == 130
    monkeypatch.undo()
    assert command(*arguments, "--run", run) == 0
    assert_same_run(whole, run)

    tuned = ["fine-tune", "--from", run, "--data", data, "--epochs", "1"]
    capsys.readouterr()
    assert command(*tuned, "--pooling", "max", "--run", tmp_path / "other") == 2
    assert "--pooling is ('max',), but fine-tuning keeps the model it starts from" in capsys.readouterr().err
    assert command(*tuned, "--learning-rate", "1e-12", "--run", tmp_path / "tuned") == 0
    first, second = (load_trained(Run.open(path, "sentiment")).model for path in (run, tmp_path / "tuned"))
    weights = [model.get_layer("attention_over_time").get_weights() for model in (first, second)]
    assert len(weights[0]) == 3
    for before, after in zip(*weights, strict=True):
        np.testing.assert_allclose(after, before, atol=1e-6)

    assert command("train", "sample", *about, "--epochs", "1", "--units", "4", "--embedding-units", "4",
                   "--precision", "mixed_bfloat16", "--teachers", run, "--run", student) == 0  # fmt: skip
    assert command("evaluate", "--run", student) == 0
    assert command("export", "--run", student, run, "--to", tmp_path / "export") == 0
    explain = tf.saved_model.load(str(tmp_path / "export")).signatures["explain"]
    found = explain(text=tf.constant(["a good film", ""]))["attention"].numpy()
    np.testing.assert_allclose(found.sum(axis=1), [1, 0], atol=1e-6)

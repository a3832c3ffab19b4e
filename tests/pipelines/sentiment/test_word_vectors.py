"""Training from a file of word vectors: what the embeddings start from, when they are trained, and exact resuming."""

import gzip
import json
import os
import signal

import numpy as np
import pytest

from layers.text import RESERVED, Vocabulary
from pipelines.common.config import replace
from pipelines.common.data import word_vectors
from pipelines.common.data.loading import load_vocabulary
from pipelines.common.errors import UserError
from pipelines.common.runs import Run
from pipelines.sentiment import warm_start, word_ids
from pipelines.sentiment.config import Config
from pipelines.sentiment.model import load_trained
from tests.killing import assert_same_run


def write_vectors(path, words=("good", "bad", "film", "elsewhere"), units=4):
    draw = np.random.default_rng(0)
    lines = [f"{word} {' '.join(f'{number:.4f}' for number in draw.normal(size=units))}\n" for word in words]
    path.write_bytes(gzip.compress("".join(lines).encode()))
    return path


def embeddings(run):
    (found,) = load_trained(Run.open(run, "sentiment")).model.get_layer("embedding").get_weights()
    return found


def expected(run, vectors, seed=1):
    words = load_vocabulary(run / "vocabulary.txt").words
    return word_vectors.read(vectors, words, 4).embeddings(seed)


@pytest.fixture
def arguments(shared, tiny):
    return ["train", "sample", "--data", shared.data, "--group-column", "film", *tiny]


@pytest.mark.extra
def test_frozen_vectors_stay_as_in_the_file_and_the_run_needs_it_no_more(arguments, tmp_path, command, capsys):
    vectors, run = write_vectors(tmp_path / "some.vec.gz"), tmp_path / "run"
    given = [*arguments, "--vectors", vectors, "--freeze-vectors", "2", "--run", run]
    capsys.readouterr()
    assert command(*given) == 0
    words = len(load_vocabulary(run / "vocabulary.txt"))
    assert f"{vectors}: vectors for 3 of the {words} words of the vocabulary" in capsys.readouterr().err
    np.testing.assert_array_equal(embeddings(run), expected(run, vectors))
    vectors.unlink()
    assert command(*given) == 0
    assert "finished" in capsys.readouterr().out
    for arguments in (["evaluate"], ["export"], ["fine-tune", "--data", given[3], "--epochs", "1"]):
        assert command(*arguments, "--from" if arguments[0] == "fine-tune" else "--run", run) == 0
    config = json.loads((run / "config.json").read_text())["config"]["transfer"]
    assert (config["vectors"], config["freeze_vectors"]) == (str(vectors), 2)


@pytest.mark.extra
@pytest.mark.parametrize("frozen", [0, 1, 3])
def test_an_interrupted_run_goes_on_without_the_file(arguments, tmp_path, command, capsys, monkeypatch, frozen):
    vectors, whole, run = write_vectors(tmp_path / "some.vec.gz"), tmp_path / "whole", tmp_path / "run"
    given = [*arguments, "--vectors", vectors, "--freeze-vectors", frozen, "--epochs", "3", "--ema", "0.5"]
    assert command(*given, "--run", whole) == 0
    start = expected(whole, vectors)
    assert np.array_equal(embeddings(whole), start) == (frozen == 3)
    batches = word_ids.batches

    def interrupted(encoded, *, epoch=0, **options):
        if epoch == 1 and list((run / "checkpoints").glob("step-*.npz")):  # not while the batches are counted
            os.kill(os.getpid(), signal.SIGINT)
        return batches(encoded, epoch=epoch, **options)

    monkeypatch.setattr(word_ids, "batches", interrupted)
    assert command(*given, "--run", run) == 130
    monkeypatch.undo()
    vectors.unlink()
    capsys.readouterr()
    assert command(*given, "--run", run) == 0
    assert "vectors for" not in capsys.readouterr().err
    assert_same_run(whole, run)


def test_a_run_reads_the_file_until_it_has_a_checkpoint(tmp_path):
    vectors = write_vectors(tmp_path / "some.vec.gz")
    config = replace(Config(run=tmp_path / "run"), vectors=vectors, embedding_units=4)
    vocabulary = Vocabulary([*RESERVED, "film", "unheard"])
    read = warm_start.read_vectors(config, vocabulary)
    np.testing.assert_array_equal(read.found, [False, False, True, False])
    (config.run / "checkpoints").mkdir(parents=True)
    vectors.unlink()
    with pytest.raises(UserError, match="could not be read: No such file"):
        warm_start.read_vectors(config, vocabulary)
    (config.run / "checkpoints" / "step-000000001.npz").touch()
    assert warm_start.read_vectors(config, vocabulary) is None
    assert warm_start.read_vectors(Config(run=tmp_path / "other"), vocabulary) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--vectors", "{}", "--embedding-units", "5"],
         "has vectors of 4 numbers, but --embedding-units is 5: give --embedding-units 4"),
        (["--vectors", "{}.none"], "some.vec.gz.none could not be read: No such file"),
        (["--freeze-vectors", "1"], "--freeze-vectors is 1, but must be 0 without --vectors"),
        (["--vectors", "{}", "--freeze-vectors", "-1"], "--freeze-vectors is -1, but must be at least 0"),
    ],
)  # fmt: skip
def test_bad_options(arguments, tmp_path, command, capsys, options, message):
    vectors, run = write_vectors(tmp_path / "some.vec.gz"), tmp_path / "run"
    assert command(*arguments, *(option.format(vectors) for option in options), "--run", run) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    assert not run.exists()


def test_vectors_are_not_read_beside_other_starts(shared, pretrained, tmp_path, command, capsys):
    vectors, run = write_vectors(tmp_path / "some.vec.gz"), tmp_path / "run"
    about = ["--data", shared.data, "--run", run, "--vectors", vectors]
    assert command("train", "sample", "--init-from", pretrained.run, *about) == 2
    assert f"--vectors is {vectors}, but the language model {pretrained.run} has embeddings" in capsys.readouterr().err
    assert command("fine-tune", "--from", shared.run, *about) == 2
    assert f"--vectors is {vectors}, but fine-tune starts from the run {shared.run}" in capsys.readouterr().err
    assert not run.exists()

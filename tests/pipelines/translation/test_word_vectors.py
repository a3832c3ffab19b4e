"""Embeddings from files of word vectors: what they start from, when they are trained, and exact resuming."""

import os
import signal

import numpy as np
import pytest

from layers.text import GENERATION, Vocabulary
from pipelines.common.config import replace
from pipelines.common.data import word_vectors
from pipelines.common.errors import UserError
from pipelines.common.runs import Run
from pipelines.translation import dataset
from pipelines.translation.config import Config
from pipelines.translation.model import load_trained
from pipelines.translation.preprocessing import Preprocessing
from pipelines.translation.train import read_vectors
from tests.killing import assert_same_run


def write_vectors(path, words, units=8):
    draw = np.random.default_rng(len(words))
    lines = [f"{word} {' '.join(f'{number:.4f}' for number in draw.normal(size=units))}\n" for word in words]
    path.write_text(f"{len(words)} {units}\n" + "".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def files(tmp_path):
    source = write_vectors(tmp_path / "en.vec", ["red", "a", "star", "elsewhere"])
    return {"source": source, "target": write_vectors(tmp_path / "fr.vec", ["étoile", "une", "."])}


def embeddings(trained, side):
    (found,) = getattr(trained.model, f"{side}_embedding").get_weights()
    return found


def expected(trained, side, path):
    words = getattr(trained.preprocessing, side).vocabulary.words
    return word_vectors.read(path, words, 8).embeddings(seed={"source": 1, "target": 2}[side])


@pytest.mark.extra
@pytest.mark.parametrize("options", [["--freeze-vectors", "1"], ["--freeze-vectors", "3", "--tied", "--ema", "0.5"]])
def test_an_interrupted_run_goes_on_without_the_files(
    shared, files, tmp_path, command, tiny, capsys, monkeypatch, options
):
    whole, run = tmp_path / "whole", tmp_path / "run"
    given = ["train", "sample", "--data", shared.data, *tiny, "--epochs", "3", *options]
    given += ["--source-vectors", files["source"], "--target-vectors", files["target"]]
    capsys.readouterr()
    assert command(*given, "--run", whole) == 0
    told = capsys.readouterr().err
    assert f"{files['source']}: vectors for 3 of the" in told and f"{files['target']}: vectors for 3 of the" in told
    trained = load_trained(Run.open(whole, "translation"))
    for side, path in files.items():
        start = expected(trained, side, path)
        assert np.array_equal(embeddings(trained, side), start) == ("--tied" in options)
        words = getattr(trained.preprocessing, side).vocabulary.words
        assert ("▁étoile" if side == "target" else "▁A") in words  # looked up without the mark, then in lower case
    batches = dataset.batches

    def interrupted(encoded, *, epoch=0, **more):
        if epoch == 1 and list((run / "checkpoints").glob("step-*.npz")):  # not while the batches are counted
            os.kill(os.getpid(), signal.SIGINT)
        return batches(encoded, epoch=epoch, **more)

    monkeypatch.setattr(dataset, "batches", interrupted)
    assert command(*given, "--run", run) == 130
    monkeypatch.undo()
    for path in files.values():
        path.unlink()
    assert command(*given, "--run", run) == 0
    assert_same_run(whole, run)
    assert command("evaluate", "--run", run) == 0
    assert command("fine-tune", "--from", run, "--data", shared.data, "--epochs", "1", "--run", tmp_path / "tuned") == 0


def test_a_run_reads_the_files_until_it_has_a_checkpoint(files, tmp_path):
    run = Run(tmp_path / "run", "translation", {}, None)
    config = replace(Config(), source_vectors=files["source"], embedding_units=8)
    words = Vocabulary([*GENERATION, "▁A", "▁unheard"])
    preprocessing = Preprocessing(words, words, **vars(config.text))
    found = read_vectors(run, config, preprocessing)
    assert list(found) == ["source"] and found["source"].found.tolist() == [False] * 4 + [True, False]
    run.checkpoints.mkdir(parents=True)
    files["source"].unlink()
    with pytest.raises(UserError, match="could not be read: No such file"):
        read_vectors(run, config, preprocessing)
    (run.checkpoints / "step-000000001.npz").touch()
    assert read_vectors(run, config, preprocessing) == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target-vectors", "{target}", "--embedding-units", "5"],
         "fr.vec has vectors of 8 numbers, but --embedding-units is 5: give --embedding-units 8"),
        (["--source-vectors", "{target}"], "fr.vec has no vector for any of the"),
        (["--freeze-vectors", "1"], "--freeze-vectors is 1, but must be 0 without --source-vectors or"),
    ],
)  # fmt: skip
def test_bad_options(shared, files, tmp_path, command, tiny, capsys, options, message):
    given = ["--data", shared.data, "--run", tmp_path / "run", *tiny, *(option.format(**files) for option in options)]
    if "no vector" in message:
        write_vectors(files["target"], ["étoile", "unheard"])  # no word of the source
    capsys.readouterr()
    assert command("train", "sample", *given) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_fine_tuning_does_not_read_vectors(shared, files, tmp_path, command, capsys):
    about = ["--data", shared.data, "--run", tmp_path / "run", "--source-vectors", files["source"]]
    assert command("fine-tune", "--from", shared.run, *about) == 2
    assert f"--source-vectors is {files['source']}, but fine-tune starts from the run" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    tuned = replace(Config(), source_vectors=files["source"], freeze_vectors=1).for_fine_tuning(shared.run)
    assert tuned.vectors.files == {} and tuned.vectors.freeze_vectors == 0

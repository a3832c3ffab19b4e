"""Invalid input ends with a message of one line, exit status 2, and no run folder."""

import gzip
import shutil

import pytest

from pipelines.common.data import sources


@pytest.fixture
def refused(command, tiny, tmp_path, capsys):
    """Returns a function that runs `train` on invalid data and returns the message."""

    def refused(data, *arguments):
        run = tmp_path / "run"
        capsys.readouterr()
        assert command("train", "sample", "--data", data, "--run", run, *tiny, *arguments) == 2
        out, err = capsys.readouterr()
        assert "Traceback" not in err and out == ""
        assert not run.exists()  # the next try, with better data, is not "another config"
        return err.splitlines()[-1]

    return refused


@pytest.fixture
def folder(tmp_path, make):
    """Returns a folder of valid data, for a test to damage."""
    make_pairs, write_parallel = make
    for part in ("train", "val"):
        write_parallel(tmp_path / "data", part, make_pairs(20, seed=1))
    return tmp_path / "data"


def test_misaligned_files(refused, folder):
    with open(folder / "train.fr", "a", encoding="utf-8") as file:
        file.write("Une ligne de trop.\n")
    message = refused(folder)
    assert "train.en has 20 lines and" in message and "train.fr has 21: expected as many" in message


def test_a_missing_language(refused, folder):
    message = refused(folder, "--target", "de")
    assert "has train.en but no train.de: expected line-parallel files" in message
    message = refused(folder, "--source", "es", "--target", "de")
    assert "expected train.es and train.de (.gz, .xz) or train.tsv; found train files of en, fr" in message


def test_missing_empty_and_damaged_files(refused, folder, tmp_path):
    assert f"--data {tmp_path / 'none'} does not exist" in refused(tmp_path / "none")
    for language in ("en", "fr"):
        (folder / f"train.{language}").write_text("")
    assert "train.en is empty: expected a sentence a line" in refused(folder)
    (folder / "train.en").write_bytes(b"good\nsch\xf6n\n")
    assert "train.en, line 2: byte 4 of the line is 0xf6, which is not UTF-8" in refused(folder)
    (folder / "train.en").unlink()
    (folder / "train.en.gz").write_bytes(gzip.compress(b"good\n" * 1000)[:-20])
    assert "train.en.gz is damaged after line" in refused(folder)


def test_tables(refused, folder):
    table = folder.parent / "pairs.tsv"
    table.write_text("One.\tUn.\nTwo\n")
    assert "pairs.tsv, line 2: 1 columns, expected 2: a sentence, a tab, its translation" in refused(table)
    table.write_text("One.\tUn.\n" * 5)
    assert "cannot be split: expected two different source sentences" in refused(table)
    table.write_text("\n")
    assert "pairs.tsv is empty" in refused(table)


def test_no_validation(refused, folder):
    (folder / "val.en").unlink()
    (folder / "val.fr").unlink()
    assert "has no part validation: expected one, or a --validation-share above 0" in refused(
        folder, "--validation-share", "0"
    )


def test_fewer_subwords_than_characters(refused, folder):
    assert "--source-vocabulary is 8, but" in refused(folder, "--level", "subword", "--source-vocabulary", "8")


@pytest.mark.extra
def test_empty_and_long_lines_are_left_out_and_counted(folder, tmp_path, command, tiny, capsys):
    """One of the lines has 80,000 characters."""
    for language, extra in (("en", ["", "star " * 16_000, "A star.", "A car."]), ("fr", ["Un.", "x", " ", "Une."])):
        with open(folder / f"train.{language}", "a", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in extra))
    arguments = ["train", "sample", "--data", folder, "--run", tmp_path / "run", *tiny]
    assert command(*arguments, "--epochs", "1", "--layers", "1", "--test-share", "0") == 0
    assert "train: left out 2 with an empty side, 1 too long, of 24 pairs" in capsys.readouterr().err


def test_only_empty_pairs(refused, folder):
    for language in ("en", "fr"):
        (folder / f"val.{language}").write_text("\n\n")
    assert "has no usable pair in the part validation: all 2 were left out" in refused(folder)


def test_no_network(refused, monkeypatch):
    monkeypatch.setattr(sources, "reachable", lambda address: False)
    assert "there is no network to download" in refused("tfds:wmt14_translate/fr-en")


def test_a_vocabulary_of_another_run(shared, tmp_path, command, capsys):
    """Loading fails if the weights do not fit the vocabulary."""
    shutil.copytree(shared.run, tmp_path / "run")
    path = tmp_path / "run" / "vocabulary.target.txt"
    path.write_text(path.read_text() + "▁intrus\n")
    assert command("evaluate", "--run", tmp_path / "run") == 2
    assert "does not hold the weights of this model" in capsys.readouterr().err
    path.write_text("un\ndeux\n")
    assert command("evaluate", "--run", tmp_path / "run") == 2
    assert "vocabulary.target.txt is not a vocabulary" in capsys.readouterr().err
    path.unlink()
    assert command("evaluate", "--run", tmp_path / "run") == 2
    assert "vocabulary.target.txt could not be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "multi3k"], "there is no preset multi3k (did you mean multi30k?)"),
        (["translate", "x"], "there is no command translate"),
        (["train", "sample", "--unitz", "3"], "--units"),
        (["train", "sample", "--cell", "gru"], "lstm"),
        (["export"], "run"),
        (["evaluate", "--run", "none"], "there is no run or export none: expected a path"),
        (["evaluate", "--run", ".", "--beam-size", "0"], "--beam-size is 0, but must be at least 1"),
    ],
)
def test_invalid_commands(command, capsys, arguments, message):
    assert command(*arguments) == 2
    assert message in capsys.readouterr().err


def test_a_run_of_another_pipeline(shared, tmp_path, command, capsys):
    shutil.copytree(shared.run, tmp_path / "run")
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace('"task": "translation"', '"task": "sentiment"'))
    for arguments in (["evaluate", "--run"], ["export", "--run"], ["fine-tune", "--data", shared.data, "--from"]):
        assert command(*arguments, tmp_path / "run") == 2
        assert "is a run of the pipeline sentiment: expected one of translation" in capsys.readouterr().err

"""Invalid input ends with a message of one line, exit status 2, and no run folder."""

import gzip

import pytest


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

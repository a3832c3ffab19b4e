"""Invalid input ends with a message of one line, exit status 2, and no run folder."""

import shutil

import pytest

from pipelines.common.data import sources

GOOD = "text,label\n" + "".join(f"text {number},{number % 2}\n" for number in range(20))


@pytest.fixture
def refused(command, tiny, tmp_path, capsys):
    """Returns a function that runs `train` on data, which must be refused, and returns the message."""

    def refused(data, *arguments):
        run = tmp_path / "run"
        capsys.readouterr()
        assert command("train", "sample", "--data", data, "--run", run, "--group-column", "", *tiny, *arguments) == 2
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        assert out == ""
        assert len(err.splitlines()) == 1
        assert not run.exists()  # the next try, with better data, is not "another config"
        return err

    return refused


def test_a_missing_file(refused, tmp_path):
    assert f"--data {tmp_path / 'none.csv'} does not exist: expected sample, a file, a folder" in refused(
        tmp_path / "none.csv"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "reviews.csv is empty: expected rows with text and label"),
        (b"text,label\n", "reviews.csv is empty"),
        (b"review,stars\ngood,1\n", "line 1: has the columns 'review', 'stars', but text and label are missing"),
        (b"text,label\ngood,1\nbad\n", "reviews.csv, line 3: 1 cells, expected 2"),
        (b"text,label\ngood,1\nsch\xf6n,1\n", "reviews.csv, line 3: byte 4 of the line is 0xf6, which is not UTF-8"),
        (b"text,label\ngood,\nbad,1\n", "reviews.csv, line 2: label is '', expected a name or an integer"),
        (b"text,label\ngood,1\nbad,NaN\n", "reviews.csv, line 3: label is 'NaN', expected a name or an integer"),
        (b"text,label,text\ngood,1,note\n", "reviews.csv, line 1: 2 columns have the name text"),
        (b'text,label\ngood,1\n"bad,0\nbad,1\n', "reviews.csv, line 3: the quotation mark that opens a field here is"),
        (
            b"text,label\na,good\nb,good\nc,good\nd,good\n",
            "training reviews have the label good; expected at least two",
        ),
        (b"text,label\nsame,1\nsame,0\n", "cannot be split: expected training reviews of two groups or more"),
    ],
)
def test_an_invalid_table(refused, tmp_path, content, message):
    path = tmp_path / "reviews.csv"
    path.write_bytes(content)
    assert message in refused(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "good", "label": 1}\n{"text": "good"}\n', "reviews.jsonl, line 2: has the fields 'text', but label"),
        ('{"text": 3, "label": 1}\n', "reviews.jsonl, line 1: text is 3, expected a string"),
        ('{"text": "good", "label": null}\n', "reviews.jsonl, line 1: label is None, expected a name or an integer"),
        ('{"text": "good", "label": NaN}\n', "reviews.jsonl, line 1: label is nan, expected a name or an integer"),
        ('{"text": "good", "label": 1.5}\n', "reviews.jsonl, line 1: label is 1.5"),
        ('{"text": "good \\ud83d", "label": 1}\n', r"reviews.jsonl, line 1: not JSON (\ud83d is a lone surrogate"),
        ('{"text": "good", "label": "a\\uDE00"}\n', r"reviews.jsonl, line 1: not JSON (\ude00 is a lone surrogate"),
        ('{"text": ' + "[" * 100_000, "reviews.jsonl, line 1: not JSON (its objects or lists are nested too deeply)"),
    ],
)
def test_invalid_json_lines(refused, tmp_path, content, message):
    path = tmp_path / "reviews.jsonl"
    path.write_text(content)
    assert message in refused(path)


def test_missing_columns(refused, tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text(GOOD)
    assert "but film is missing; expected text, label, film" in refused(path, "--group-column", "film")
    assert "but body is missing" in refused(path, "--text-column", "body")


def test_labels_without_a_name(refused, tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text(GOOD.replace("text 3,1", "text 3,2"))
    message = refused(path, "--label-names", "bad", "good")
    assert "reviews.csv, line 5: the label is '2', expected one of bad, good" in message


def test_folders_without_reviews(refused, tmp_path):
    assert "has no reviews: expected train.csv, .tsv or .jsonl" in refused(tmp_path)
    (tmp_path / "train").mkdir()
    assert "has no folders: expected one for each label" in refused(tmp_path)
    (tmp_path / "train" / "pos").mkdir()
    assert "train/pos is empty: expected reviews of the label pos as files" in refused(tmp_path)
    (tmp_path / "train" / "pos" / "1_1.txt").write_bytes(b"good \xff")
    assert "1_1.txt: byte 6 is not UTF-8" in refused(tmp_path)


def test_no_validation(refused, tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text(GOOD)
    assert "has no part validation: expected one, or a --validation-share above 0" in refused(
        path, "--validation-share", "0"
    )


def test_no_network(refused, monkeypatch):
    monkeypatch.setattr(sources, "reachable", lambda address: False)
    assert "there is no network to download" in refused("tfds:imdb_reviews")


def test_the_sample_outside_of_a_checkout(refused, monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    assert "the sample is part of a checkout of the project" in refused("sample")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "imbd"], "there is no preset imbd (did you mean imdb?); expected one of sample, imdb"),
        (["trian", "imdb"], "there is no command trian (did you mean train?)"),
        (["train", "sample", "--unitz", "3"], "--units"),
        (["train", "sample", "--units", "many"], "--units"),
        (["train", "sample", "--units", "0"], "--units is 0, but must be at least 1"),
        (["train", "sample", "--epochs", "0"], "--epochs is 0.0, but must be greater than 0"),
        (["train", "sample", "--cell", "gru"], "lstm"),
        (["evaluate"], "--run"),
        (["export"], "--run"),
        (["predict", "good"], "--model"),
    ],
)
def test_the_command_line(command, capsys, arguments, message):
    assert command(*arguments) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert "Traceback" not in err
    assert out == ""


def test_calibration_needs_every_label_in_validation(refused, tmp_path):
    (tmp_path / "train.csv").write_text("text,label\na,good\nb,bad\nc,good\n")
    (tmp_path / "validation.csv").write_text("text,label\nd,good\ne,good\n")
    message = "needs every label in validation, but none of its 2 reviews has the label bad: expected every label there"
    for field in ("calibrate", "calibrate-lengths"):
        assert f"--{field} {message}, or --no-{field}\n" in refused(tmp_path, f"--{field}")


@pytest.mark.parametrize("words", [["evaluate", "--run"], ["export", "--run"], ["fine-tune", "--data", "x", "--from"]])
def test_folders_that_are_not_a_run(shared, command, capsys, tmp_path, words):
    def told(folder):
        assert command(*words, folder) == 2
        return capsys.readouterr().err

    assert "does not exist" in told(tmp_path / "none")
    assert "is an export: expected the folder of a run" in told(shared.run / "export")
    assert "is not a run: it has no config.json" in told(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"task": "translation", "config": {}}')
    assert "is a run of the pipeline translation: expected one of sentiment" in told(other)
    (other / "config.json").write_text((shared.run / "config.json").read_text())
    assert "has no model.weights.h5 yet: train the run first" in told(other)


@pytest.mark.filterwarnings("ignore:Skipping nested container")  # Keras's remark before it refuses
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.weights.h5", b"cut off", "does not hold the weights of this model"),
        ("vocabulary.txt", b"<pad>\n<unk>\n\xff\n", "vocabulary.txt is not a vocabulary"),
        ("vocabulary.txt", b"<pad>\n<unk>\nfew\n", "does not hold the weights of this model"),
        ("labels.json", b"[", "labels.json is not a JSON file"),
        ("labels.json", b'["one"]', "labels.json does not contain labels"),
        ("config.json", b"{}", "config.json is not the configuration of a run"),
    ],
)
def test_a_damaged_run(shared, command, capsys, tmp_path, name, content, message):
    run = tmp_path / "run"
    shutil.copytree(shared.run, run, ignore=shutil.ignore_patterns("export", "checkpoints", "logs"))
    (run / name).write_bytes(content)
    assert command("evaluate", "--run", run) == 2
    assert message in capsys.readouterr().err


@pytest.mark.extra
def test_empty_reviews_and_one_of_ten_megabytes_train(command, tiny, tmp_path, capsys):
    path = tmp_path / "reviews.csv"
    path.write_text(GOOD + ",1\n,0\n" + "good film " * 1_000_000 + ",1\n")
    run = tmp_path / "run"
    arguments = ["--data", path, "--run", run, "--group-column", "", *tiny, "--test-share", "0", "--no-bidirectional"]
    assert command("train", "sample", *arguments, "--epochs", "1") == 0
    assert "1 of " in capsys.readouterr().err
    assert command("evaluate", "--run", run, "--data", path) == 0
    assert "1 of 23 reviews were cut at 50 words or 50,000 characters" in capsys.readouterr().err

"""Invalid input ends with a message of one line, exit status 2, and no run folder."""

import pytest

GOOD = "text,label\n" + "".join(f"text {number},{number % 2}\n" for number in range(20))


@pytest.fixture
def refused(refused_lines):
    """Returns a function that runs `train` on data, which must be refused, and returns the message, a single line."""

    def refused(data, *arguments):
        (message,) = refused_lines(data, "--group-column", "", *arguments)
        return message

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


def test_calibration_needs_every_label_in_validation(refused, tmp_path):
    (tmp_path / "train.csv").write_text("text,label\na,good\nb,bad\nc,good\n")
    (tmp_path / "validation.csv").write_text("text,label\nd,good\ne,good\n")
    message = "needs every label in validation, but none of its 2 reviews has the label bad: expected every label there"
    for field in ("calibrate", "calibrate-lengths"):
        assert refused(tmp_path, f"--{field}").endswith(f"--{field} {message}, or --no-{field}")


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

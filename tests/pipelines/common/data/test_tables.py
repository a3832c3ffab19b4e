import gzip
import json
import lzma
import math
import re

import pytest

from pipelines.common.data.tables import as_label, read_rows
from pipelines.common.errors import UserError

ROWS = [{"text": 'He said "no",\nthen left', "label": "negative"}, {"text": "été 映画", "label": "positive"}]
TABLES = {
    ".csv": 'text,label\n"He said ""no"",\nthen left",negative\n\nété 映画,positive\n',
    ".tsv": '\ufefflabel\ttext\nnegative\t"He said ""no"",\nthen left"\r\npositive\tété 映画',
    ".jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\n\n",
}


def write(path, content):
    content = content.encode() if isinstance(content, str) else content
    pack = {".gz": gzip.compress, ".xz": lzma.compress}.get(path.suffix, bytes)
    path.write_bytes(pack(content))
    return path


@pytest.mark.parametrize("packed", ["", ".gz", ".xz"])
@pytest.mark.parametrize("kind", TABLES)
def test_all_formats_have_the_same_rows(tmp_path, kind, packed):
    path = write(tmp_path / f"reviews.2{kind}{packed}", TABLES[kind])
    assert [row for _, row in read_rows(path, ["text", "label"], quoting=True)] == ROWS


def test_lines_are_those_at_which_rows_start(tmp_path):
    path = write(tmp_path / "reviews.csv", TABLES[".csv"])
    assert [line for line, _ in read_rows(path, ["text"])] == [2, 5]


def test_quotation_marks_in_tsv_are_text_unless_quoting_is_asked_for(tmp_path):
    """In reviews.tsv, which came from a bug report, a text began with a quotation mark and swallowed four rows."""
    rows = ['"begins with one', "in between", 'ends with one"', '"both"', 'in "the" middle', '"', '""']
    path = write(tmp_path / "reviews.tsv", "text\tlabel\n" + "".join(f"{row}\t1\r\n" for row in rows))
    assert [row["text"] for _, row in read_rows(path, ["text", "label"])] == rows
    path = write(tmp_path / "enclosed.tsv", 'text\tlabel\n"two\nlines"\t1\n')
    with pytest.raises(UserError, match=r"line 2: 1 cells, expected 2 as in the header .*need --quoting"):
        list(read_rows(path, ["text", "label"]))
    assert [row["text"] for _, row in read_rows(path, ["text", "label"], quoting=True)] == ["two\nlines"]


@pytest.mark.parametrize("delimiter", [",", "\t"])
@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (['"never closed,1', "b,0"], 2),
        (["a,1", '"never closed,1', "b,0", ""], 3),
        (["a,1", '"opens,1', "b,0", 'closes" too late,1'], 3),
        (["a,1", '"a word" before the comma,1'], 3),
        (['"two', 'lines","opens here', "b,0"], 3),
        (['"two', 'with a ""quoted"" word","x', 'and ""another"" one', "b,0"], 3),
        (["a,1", 'b,"'], 3),
    ],
)
def test_a_quotation_mark_that_is_not_closed_is_told_with_its_line(tmp_path, delimiter, rows, line):
    name = "a.csv" if delimiter == "," else "a.tsv"
    path = write(tmp_path / name, "\n".join(["text,label", *rows]).replace(",", delimiter))
    with pytest.raises(UserError, match=f"{name}, line {line}: the quotation mark that opens a field here is never"):
        list(read_rows(path, ["text", "label"], quoting=True))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.csv",
            "text,label,text\nx,1,note\n",
            "a.csv, line 1: 2 columns have the name text; expected each name once",
        ),
        ("a.tsv", "text\tlabel\tlabel\tlabel\nx\t1\t2\t3\n", "a.tsv, line 1: 3 columns have the name label"),
        ("a.csv", "text,label,note,note\nx,1,,\n", "a.csv, line 1: 2 columns have the name note"),
        (
            "a.jsonl",
            '{"text": "x", "label": 1, "label": 0}\n',
            "a.jsonl, line 1: not JSON .the field label occurs twice",
        ),
    ],
)
def test_a_name_that_occurs_twice_is_refused(tmp_path, name, content, message):
    with pytest.raises(UserError, match=message):
        list(read_rows(write(tmp_path / name, content), ["text", "label"]))


def test_columns_without_a_name_are_allowed(tmp_path):
    """Spreadsheets write a comma for every empty column."""
    path = write(tmp_path / "a.csv", "text,label,,\nx,1,,\n")
    assert [(row["text"], row["label"]) for _, row in read_rows(path, ["text", "label"])] == [("x", "1")]


def test_a_cell_of_ten_megabytes(tmp_path):
    path = write(tmp_path / "reviews.csv", "text\n" + "good " * 2_000_000 + "\n")
    ((_, row),) = read_rows(path, ["text"])
    assert len(row["text"]) == 10_000_000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "a.csv is empty: expected rows with text and label"),
        ("a.csv", "text,label\n", "a.csv is empty"),
        ("a.jsonl", "\n\n", "a.jsonl is empty"),
        ("a.jsonl.gz", "", "a.jsonl.gz is empty"),
        (
            "a.csv",
            "review,stars\nx,1\n",
            "a.csv, line 1: has the columns 'review', 'stars', but text and label are mis",
        ),
        ("a.tsv", "text\tstars\nx\t1\n", "a.tsv, line 1: .* but label is missing"),
        ("a.csv", "text,label\nx,1\ny\n", "a.csv, line 3: 1 cells, expected 2"),
        ("a.jsonl", '{"text": "x", "label": 1}\n{"text": "x"}\n', "a.jsonl, line 2: has the fields 'text', but label"),
        ("a.jsonl", '{"text": "x", "label": 1}\n[1]\n', "a.jsonl, line 2: .*not a JSON object"),
        ("a.jsonl", '{"text": "x", "label": 1}\n\n{"te', "a.jsonl, line 3: not JSON"),
        ("a.csv", b"text,label\nx,1\ngr\xfcn,1\n", "a.csv, line 3: byte 3 of the line is 0xfc, which is not UTF-8"),
        ("a.jsonl", b'{"text": "\xff", "label": 1}\n', "a.jsonl, line 1: byte 11 .* 0xff"),
        ("a.txt", "text\n", "a.txt has an unknown format: expected a name that ends in .csv"),
        ("a.csv.zip", "text\n", "an unknown format"),
    ],
)
def test_errors_name_the_file_and_the_line(tmp_path, name, content, message):
    path = write(tmp_path / name, content)
    with pytest.raises(UserError, match=message) as error:
        list(read_rows(path, ["text", "label"]))
    assert str(path) in str(error.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / 'none.csv'} could not be read: No such file")):
        list(read_rows(tmp_path / "none.csv", ["text"]))


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_a_damaged_archive(tmp_path, ending, pack):
    path = tmp_path / f"a.jsonl{ending}"
    path.write_bytes(pack(b'{"text": "x", "label": 1}\n' * 1000)[:-20])
    with pytest.raises(UserError, match="is damaged after line"):
        list(read_rows(path, ["text", "label"]))
    path.write_bytes(b"no archive at all")
    with pytest.raises(UserError, match="is damaged after line 0"):
        list(read_rows(path, ["text", "label"]))


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ([1, "1", 1.0, "1.0", "1.00", " 1 "], "1"),
        ([-1, "-1", -1.0, "-1.0"], "-1"),
        ([0, "0", 0.0, "0.0"], "0"),
        (["positive", " positive\t"], "positive"),
        ([True], "true"),
        (["1.5"], "1.5"),
        (["v1.0"], "v1.0"),
        (["007"], "007"),
        (["None"], "None"),
        (["banana"], "banana"),
    ],
)
def test_spellings_of_one_label(values, name):
    assert {as_label(value, "here") for value in values} == {name}


@pytest.mark.parametrize("value", ["", "  ", "nan", "NaN", " NAN ", None, math.nan, math.inf, 1.5, [1], {}, b"1"])
def test_what_is_not_a_label_is_refused(value):
    with pytest.raises(UserError, match=r"line 7: label is .*, expected a name or an integer"):
        as_label(value, "line 7: label")

import gzip

import pytest

from pipelines.common.errors import UserError
from pipelines.sentiment import corpus, dataset
from pipelines.sentiment.config import Config
from pipelines.sentiment.pretraining_config import PretrainingConfig


def config(data, **changes) -> PretrainingConfig:
    return PretrainingConfig(data=str(data), **{"validation_share": 0.25, **changes})


def lines(number: int, name: str = "text") -> list[str]:
    return [f"{name} {n}" for n in range(number)]


def test_training_and_unlabelled_reviews_but_no_test(tmp_path):
    (tmp_path / "train.csv").write_text("text\n" + "\n".join(lines(20)))  # labels are not asked for
    (tmp_path / "unsup.jsonl").write_text("".join(f'{{"text": "{line}"}}\n' for line in lines(22)))
    (tmp_path / "test.csv").write_bytes(b"\xff no table")
    parts = corpus.load(config(tmp_path))
    held_out = parts["validation"].texts
    assert len(held_out) == 5
    own = [text for text in lines(20) if text not in held_out]
    assert sorted(parts["train"].texts) == sorted([*own, *own, "text 20", "text 21"])


def test_films_that_are_held_out_are_not_read_unlabelled(tmp_path, capsys):
    rows = [(f"review {n}", f"film {n // 5}") for n in range(20)]
    (tmp_path / "train.csv").write_text("text,film\n" + "".join(f"{text},{film}\n" for text, film in rows))
    unlabelled = [(f"other {n}", f"film {n // 2}") for n in range(10)]
    (tmp_path / "unsup.csv").write_text("text,film\n" + "".join(f"{text},{film}\n" for text, film in unlabelled))
    (tmp_path / "test.csv").write_text("text,film\nlast,film 3\n")
    parts = corpus.load(config(tmp_path, group_column="film"))
    (film,) = set(parts["validation"].groups)
    kept = [text for text, its in unlabelled if its != film]
    assert parts["train"].texts[15:] == kept
    assert len(kept) == 8
    assert "left out 2 reviews" in capsys.readouterr().err


def test_the_folders_of_acl_imdb(tmp_path):
    for folder in ("train/pos", "train/neg", "train/unsup", "test/pos", "test/neg"):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(4):
            (tmp_path / folder / f"{number}_7.txt").write_text(f"{folder} {number}")
    parts = corpus.load(config(tmp_path))
    found = parts["train"].texts + parts["validation"].texts
    assert len(found) == 12 and not any(text.startswith("test") for text in found)
    assert [text for text in parts["train"].texts if "unsup" in text] == [f"train/unsup {n}" for n in range(4)]
    for name in ("pos", "neg", "unsup"):
        urls = "".join(f"http://film{number % 2}/usercomments\n" for number in range(4))
        (tmp_path / "train" / f"urls_{name}.txt").write_text(urls)
    parts = corpus.load(config(tmp_path, group_column="film"))
    assert set(parts["train"].groups).isdisjoint(parts["validation"].groups)
    assert len(parts["train"]) == 6 and len(parts["validation"]) == 4  # two unlabelled ones are of its film


def test_of_a_single_file_what_a_classifier_tests_on_is_not_read(tmp_path):
    (tmp_path / "reviews.csv").write_text("text,label\n" + "".join(f"text {n},{n % 2}\n" for n in range(40)))
    given = config(tmp_path / "reviews.csv")
    read = [text for part in corpus.load(given).values() for text in part.texts]
    tested = dataset.load(Config(data=given.data, validation_share=given.validation_share))["test"].texts
    assert len(tested) == 4 and not set(tested) & set(read)


def test_a_text_file(tmp_path):
    path = tmp_path / "book.txt.gz"
    path.write_bytes(gzip.compress(("\n\n".join(lines(11)) + "\n  \n" + "ab cde f " * 3).encode()))
    parts = corpus.load(config(path, max_characters=9))
    found = parts["train"].texts + parts["validation"].texts
    assert sorted(found) == sorted([*lines(11), "ab cde f", " ab cde f", " ab cde f"])
    assert set(parts["train"].texts).isdisjoint(parts["validation"].texts)


def test_a_line_without_spaces_is_cut_all_the_same():
    assert list(corpus.pieces("abcdefgh ij", 3)) == ["abc", "def", "gh", " ij"]
    assert list(corpus.pieces("", 3)) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "a.txt is empty: expected lines of text"),
        ("a.txt", b"\xff\n", "a.txt, line 1: byte 1 of the line is 0xff"),
        ("a.txt", b"alone\n", "cannot be split"),
        ("a.doc", b"words\n", "is of no known format"),
        ("a.csv", b"body\nwords\n", "text is missing"),
    ],
)
def test_bad_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        corpus.load(config(tmp_path / name))


def test_nothing_is_held_out(tmp_path):
    (tmp_path / "train.csv").write_text("text\n" + "\n".join(lines(20)))
    with pytest.raises(UserError, match="has no part validation"):
        corpus.load(config(tmp_path, validation_share=0.0))

import dataclasses
import json
import os
import time
import types

import numpy as np
import pytest
import tensorflow_datasets as tfds

from layers.text import PADDING, RESERVED, Vocabulary
from pipelines.common.data import sources
from pipelines.common.errors import UserError
from pipelines.sentiment import dataset, word_ids
from pipelines.sentiment.config import Config, DataConfig
from pipelines.sentiment.labels import choose_names, label_ids, name_labels
from pipelines.sentiment.preprocessing import Preprocessing
from pipelines.sentiment.presets import PRESETS
from pipelines.sentiment.reviews import Reviews, in_memory, open_tfds


def data_config(location, **changes):
    return DataConfig(**{"location": str(location), "test_share": 0.2, "validation_share": 0.25, **changes})


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def rows(number, start=0):
    return [{"text": f"text {index}", "label": index % 2, "film": index // 5} for index in range(start, start + number)]


def reviews_of(labels, names=(), texts=None) -> Reviews:
    texts = texts or [str(number) for number in range(len(labels))]
    return in_memory(((text, label, text, f"place {text}") for text, label in zip(texts, labels, strict=True)), names)


def labels_of(reviews) -> list:
    different, codes = reviews.coded_labels()
    return [different[code] for code in codes]


def test_one_file_is_split_by_groups_in_the_same_way_every_time(tmp_path):
    path = write_jsonl(tmp_path / "reviews.jsonl", rows(100))
    data = data_config(path, group_column="film")
    parts = dataset.load(data)
    assert {part: len(found) for part, found in parts.items()} == {"train": 60, "test": 20, "validation": 20}
    films = {part: set(found.groups) for part, found in parts.items()}
    assert not (films["train"] & films["test"] or films["train"] & films["validation"])
    assert sorted(text for found in parts.values() for text in found.texts) == sorted(row["text"] for row in rows(100))
    for part, found in parts.items():
        assert list(dataset.load_part(data, part).texts) == list(found.texts)
    assert list(dataset.load_all(data, "test").texts) == [row["text"] for row in rows(100)]


def test_without_a_group_column_equal_texts_stay_together(tmp_path):
    twins = rows(40) + rows(40)
    parts = dataset.load(data_config(write_jsonl(tmp_path / "reviews.jsonl", twins)))
    texts = [set(found.texts) for found in parts.values()]
    assert sum(map(len, texts)) == len(set.union(*texts)) == 40


def test_a_folder_of_parts(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", rows(20))
    write_jsonl(tmp_path / "test.jsonl", [{"text": "alone", "label": 1}])  # it is not split and needs no film
    write_jsonl(tmp_path / "unsup.jsonl", [{"text": "not read"}])
    parts = dataset.load(data_config(tmp_path, group_column="film"))
    assert {part: len(found) for part, found in parts.items()} == {"train": 15, "validation": 5, "test": 1}
    write_jsonl(tmp_path / "validation.jsonl", rows(3, start=50))
    assert len(dataset.load(data_config(tmp_path))["train"]) == 20
    assert list(dataset.load_part(data_config(tmp_path), "test").texts) == ["alone"]
    (tmp_path / "test.csv").touch()
    with pytest.raises(UserError, match=r"both test.csv and test.jsonl: expected one file for test"):
        dataset.load(data_config(tmp_path))


@pytest.mark.parametrize("group", [None, "", ["a"]])
def test_rows_without_a_group_cannot_be_split_by_it(tmp_path, group):
    path = write_jsonl(tmp_path / "reviews.jsonl", [*rows(9), {"text": "good", "label": 1, "film": group}])
    with pytest.raises(UserError, match=r"reviews.jsonl, line 10: film is .*, expected a name or an integer"):
        dataset.load(data_config(path, group_column="film"))


def test_the_layout_of_acl_imdb(tmp_path):
    for part in ("train", "test"):
        for label in ("neg", "pos", "unsup"):
            (tmp_path / part / label).mkdir(parents=True)
            for number in range(8):
                (tmp_path / part / label / f"{number}_7.txt").write_text(f"{part} {label} {number}")
            urls = "".join(f"http://film/{number // 2}/usercomments\n" for number in range(8))
            (tmp_path / part / f"urls_{label}.txt").write_text(urls)
    parts = dataset.load(data_config(tmp_path, group_column="movie"))
    assert {part: len(found) for part, found in parts.items()} == {"train": 12, "validation": 4, "test": 16}
    assert parts["validation"].names == ("neg", "pos")
    assert set(parts["train"].groups).isdisjoint(parts["validation"].groups)
    assert all(group.startswith("http://film/") for group in parts["train"].groups)
    row = parts["test"].texts.index("test pos 3")
    assert labels_of(parts["test"])[row] == 1
    (tmp_path / "train" / "urls_pos.txt").write_bytes("http://film/café/usercomments\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"urls_pos.txt, line 1: byte 16 of the line is 0xe9, which is not UTF-8"):
        dataset.load(data_config(tmp_path, group_column="movie"))
    (tmp_path / "train" / "urls_pos.txt").unlink()
    with pytest.raises(UserError, match=r"urls_pos.txt could not be read"):
        dataset.load(data_config(tmp_path, group_column="movie"))
    assert len(dataset.load(data_config(tmp_path))["train"]) == 12


LEFT_BY_TOOLS = (".ipynb_checkpoints", "__MACOSX", ".hidden", "__pycache__", "@eaDir")


def write_folders(folder, **texts):
    """Writes train/LABEL/NUMBER_7.txt."""
    for label, number in texts.items():
        (folder / "train" / label).mkdir(parents=True)
        for each in range(number):
            (folder / "train" / label / f"{each}_7.txt").write_text(f"{label} {each}")


def test_what_tools_leave_in_folders_is_not_data(tmp_path):
    write_folders(tmp_path, neg=6, pos=6)
    for name in LEFT_BY_TOOLS:
        (tmp_path / "train" / name / "pos").mkdir(parents=True)
        (tmp_path / "train" / name / "0_7-checkpoint.txt").write_text("a copy")
    for name in ("._0_7.txt", ".DS_Store", "Thumbs.db", ".0_7.txt"):
        (tmp_path / "train" / "pos" / name).write_bytes(b"\xff\x00\x05\x16")
    os.mkfifo(tmp_path / "train" / "pos" / "pipe_7.txt")  # reading it would never end
    parts = dataset.load(data_config(tmp_path))
    assert name_labels(parts["train"], ()) == ("neg", "pos")
    assert sum(map(len, parts.values())) == 12


def test_folders_of_labels_that_are_not_usable_are_refused(tmp_path):
    write_folders(tmp_path, neg=6, pos=6, neutral=0)
    with pytest.raises(UserError, match=r"train/neutral is empty: expected reviews of the label neutral as files"):
        dataset.load(data_config(tmp_path))
    (tmp_path / "train" / "neutral").rename(tmp_path / "train" / "nan")
    with pytest.raises(UserError, match=r"train/nan: the label is 'nan', expected a name or an integer"):
        dataset.load(data_config(tmp_path))
    (tmp_path / "train" / "nan").rename(tmp_path / "train" / "pos" / "7_7.txt")
    with pytest.raises(UserError, match=r"train/pos/7_7.txt could not be read: Is a directory"):
        dataset.load(data_config(tmp_path))


def test_whole_numbers_are_one_label_in_every_format(tmp_path):
    """pandas writes 1.0 for 1 if a row of the column is empty; JSON has numbers and strings."""
    lines = [f"text {number}\t{label}\n" for number, label in enumerate(["1", "0", "1.0", "0.0", " 1"])]
    (tmp_path / "a.tsv").write_text("text\tlabel\n" + "".join(lines))
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(lines).replace("\t", ","))
    values = [1, 0, "1.0", 0.0, "1"]
    write_jsonl(tmp_path / "a.jsonl", [{"text": f"text {n}", "label": value} for n, value in enumerate(values)])
    for kind in ("tsv", "csv", "jsonl"):
        reviews = dataset.load_all(data_config(tmp_path / f"a.{kind}"), "train")
        assert name_labels(reviews, ()) == ("0", "1")
        assert label_ids(reviews, ("0", "1")).tolist() == [1, 0, 1, 0, 1]
        assert label_ids(reviews, ("0.0", "1.0")).tolist() == [1, 0, 1, 0, 1]  # the names in an older run
    write_folders(tmp_path, **{"0.0": 2, "1": 2, "1.0": 1})
    reviews = dataset.load_all(data_config(tmp_path), "train")
    assert (reviews.names, labels_of(reviews)) == (("0", "1"), [0, 0, 1, 1, 1])


def test_quotation_marks_in_tsv_are_text_unless_quoting_is_asked_for(tmp_path):
    path = tmp_path / "reviews.tsv"
    path.write_text('text\tlabel\n"begins with one\t1\nin between\t0\nends with one"\t1\n')
    texts = dataset.load_all(data_config(path), "train").texts
    assert list(texts) == ['"begins with one', "in between", 'ends with one"']
    quoted = dataset.load_all(data_config(path, quoting=True), "train")
    assert list(quoted.texts) == ["begins with one\t1\nin between\t0\nends with one"]


@pytest.mark.parametrize(
    ("labels", "names", "wanted", "expected"),
    [
        (["pos", "neg"], (), (), ("neg", "pos")),
        (["10", "2"], (), (), ("2", "10")),
        ([1, 0], (), ("negative", "positive"), ("negative", "positive")),
        ([1, 0], ("neg", "pos"), (), ("neg", "pos")),
    ],
)
def test_names_of_labels(labels, names, wanted, expected):
    assert name_labels(reviews_of(labels, names), wanted) == expected


@pytest.mark.parametrize(
    ("labels", "own_names", "names", "expected"),
    [
        (["b", "a"], (), ("a", "b"), [1, 0]),
        (["1", "0"], (), ("a", "b"), [1, 0]),
        ([2, 1], (), ("1", "2"), [1, 0]),  # by name first
        ([1, 0], ("neg", "pos"), ("pos", "neg"), [0, 1]),  # by the layout's names, whatever their order
        ([1, 0], ("neg", "pos"), ("negative", "positive"), [1, 0]),
    ],
)
def test_ids_of_labels(labels, own_names, names, expected):
    assert label_ids(reviews_of(labels, own_names), names).tolist() == expected


@pytest.mark.parametrize("labels", [["a", "c"], [0, 2], ["0", "b"], ["a", 1]])
def test_an_unknown_label_is_reported_with_its_place(labels):
    with pytest.raises(UserError, match=r"place \d: the label is .*, expected one of a, b \(or, throughout, integers"):
        label_ids(reviews_of(labels), ("a", "b"))


def test_batches_have_every_review_once():
    vocabulary = Vocabulary([*RESERVED, "a"])
    preprocessing = Preprocessing(vocabulary, lower_case=True, max_words=30, max_characters=1000)
    texts = ["a " * (number % 40) for number in range(50)]
    reviews = reviews_of([number % 2 for number in range(50)], texts=texts)
    encoded = word_ids.encode_labelled(reviews, preprocessing, ("no", "yes"))
    assert (len(encoded), encoded.cut) == (50, 9)
    np.testing.assert_array_equal(encoded.lengths, [min(number % 40, 30) for number in range(50)])
    seen = []
    for batch in word_ids.batches(encoded, batch_reviews=8, batch_words=200, seed=1, epoch=3):
        ids, labels, rows, real = (batch[name].numpy() for name in ("ids", "labels", "rows", "real"))
        assert ids.shape[0] == len(labels) == len(rows) == len(real) <= 8
        np.testing.assert_array_equal(real, rows >= 0)
        np.testing.assert_array_equal((ids != PADDING).sum(axis=1), np.where(rows < 0, 0, encoded.lengths[rows]))
        np.testing.assert_array_equal(labels[rows >= 0], rows[rows >= 0] % 2)
        np.testing.assert_array_equal(batch["targets"].numpy(), np.eye(2)[labels])
        seen.extend(rows[rows >= 0])
    assert sorted(seen) == list(range(50))


def test_batches_can_be_skipped():
    texts = ["a " * (1 + number % 20) for number in range(60)]
    reviews = reviews_of([0, 1] * 30, texts=texts)
    preprocessing = Preprocessing(Vocabulary([*RESERVED, "a"]), lower_case=True, max_words=30, max_characters=1000)
    encoded = word_ids.encode_labelled(reviews, preprocessing, ("no", "yes"))

    def order(skipped):
        given = word_ids.batches(encoded, batch_reviews=8, batch_words=200, seed=1, epoch=3).skip(skipped)
        return [batch["rows"].numpy().tolist() for batch in given]

    assert order(0)[3:] == order(3)


def test_tensorflow_datasets(monkeypatch):
    monkeypatch.setattr(sources, "reachable", lambda address: True)
    with tfds.testing.mock_data(num_examples=20):
        parts = dataset.load(data_config("tfds:imdb_reviews", group_column="movie"))
        unlabelled = open_tfds(
            "tfds:imdb_reviews", "train", data_config("tfds:imdb_reviews"), grouped=False, label=""
        ).read()
    assert len(unlabelled) == 20 and set(labels_of(unlabelled)) == {""}
    assert parts["train"].names == ("neg", "pos")
    assert len(parts["train"]) + len(parts["validation"]) == len(parts["test"]) == 20
    assert set(labels_of(parts["test"])) <= {0, 1}
    assert name_labels(parts["train"], PRESETS["imdb"][1].data.label_names) == ("negative", "positive")


def test_tensorflow_datasets_without_a_network(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(UserError, match=r"there is no network to download http://ai.stanford.edu/.*aclImdb_v1.tar.gz"):
        dataset.load(data_config("tfds:imdb_reviews"))
    assert time.monotonic() - began < 15


def test_a_wrong_archive_downloaded_by_hand(monkeypatch, tmp_path):
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "made"))
    (tmp_path / "aclImdb_v1.tar.gz").write_bytes(b"something else")
    with pytest.raises(UserError, match=r"tfds:imdb_reviews could not be prepared"):
        dataset.load(data_config("tfds:imdb_reviews", manual_dir=tmp_path))
    with pytest.raises(UserError, match="is not a folder: expected the one with the archive"):
        dataset.load(data_config("tfds:imdb_reviews", manual_dir=tmp_path / "none"))
    with pytest.raises(UserError, match="tfds:no_such_set is not a data set of tensorflow-datasets"):
        dataset.load(data_config("tfds:no_such_set"))


def test_the_real_reviews(real_data, monkeypatch):
    real_data("imdb")
    _, preset = PRESETS["imdb"]
    parts = dataset.load(preset.data)
    assert len(parts["train"]) + len(parts["validation"]) == 25_000
    assert not set(parts["train"].groups) & set(parts["validation"].groups)
    assert len(parts["test"]) == 20_000
    names = name_labels(parts["train"], preset.data.label_names)
    np.testing.assert_array_equal(np.bincount(label_ids(parts["test"], names)), [10_000, 10_000])


def test_names_of_the_layout_are_not_replaced_by_their_place():
    folders = reviews_of([0, 1, 1], names=("ham", "spam"))
    assert label_ids(folders, ("spam", "ham")).tolist() == [1, 0, 0]
    with pytest.raises(UserError, match="the label is 'ham', expected one of negative, neutral, positive"):
        label_ids(folders, ("negative", "neutral", "positive"))


def test_fine_tuning_takes_the_names_of_the_new_layout():
    base = types.SimpleNamespace(names=("negative", "positive"))
    for names, expected in (
        (("ham", "spam"), ("ham", "spam")),
        (("positive", "negative"), base.names),
        ((), base.names),
    ):
        parts = {part: reviews_of([0, 1, 1], names=names) for part in ("train", "validation")}
        assert choose_names(Config(), parts, base) == expected


def test_integers_and_digits_are_the_same_label():
    assert name_labels(reviews_of([1, "1", "0", 0]), ()) == ("0", "1")


def test_data_without_a_training_part(tmp_path):
    write_jsonl(tmp_path / "test.jsonl", rows(10))
    with pytest.raises(UserError, match="has no part train: it has test"):
        dataset.load(data_config(tmp_path))


def test_the_split_depends_on_its_own_seed_only(tmp_path):
    first = data_config(write_jsonl(tmp_path / "reviews.jsonl", rows(100)))
    other = dataclasses.replace(first, split_seed=7)
    one, same, different = (list(dataset.load(data)["test"].texts) for data in (first, first, other))
    assert one == same != different


def test_runs_on_the_same_data_need_the_same_split(tmp_path):
    data = data_config(write_jsonl(tmp_path / "reviews.jsonl", rows(10)))
    other = dataclasses.replace(data, location=f"{tmp_path}/../{tmp_path.name}/reviews.jsonl", text_column="body")
    dataset.refuse_other_split(data, other, "RUN")
    other = dataclasses.replace(other, split_seed=7)
    with pytest.raises(UserError, match=r"--split-seed is 1, but 7 in RUN, which has read the same data"):
        dataset.refuse_other_split(data, other, "RUN")
    dataset.refuse_other_split(data, dataclasses.replace(other, location="elsewhere"), "RUN")

"""Reviews on disk: the same parts, ids and batches as from memory, in files that are written once."""

import dataclasses
import gc
import itertools
import json
import weakref

import numpy as np
import pytest
import tensorflow as tf

from layers.text import PADDING, RESERVED, Vocabulary
from pipelines.common.data import loading, splits
from pipelines.common.errors import UserError
from pipelines.sentiment import augmentation, dataset, pieces, reviews, word_ids
from pipelines.sentiment.augmentation import Augmentation
from pipelines.sentiment.config import DataConfig
from pipelines.sentiment.labels import label_ids, label_targets, name_labels
from pipelines.sentiment.preprocessing import Preprocessing
from pipelines.sentiment.reviews import Stream

LIMITS = {"max_words": 14, "max_characters": 1000, "lower_case": True}
NAMES = ("negative", "positive")
LAYOUTS = ["file", "file of films", "folder", "text files"]


@pytest.fixture
def preprocessing():
    words = ["the", "film", "was", "and", "it", "good", "great", "lovely", "bad", "awful", "dull", ".", "!"]
    return Preprocessing(Vocabulary([*RESERVED, *words]), **LIMITS)


def make_data(folder, layout: str, make, number: int = 1_500) -> DataConfig:
    """Writes reviews in one of LAYOUTS; equal texts are frequent."""
    make_reviews, write_csv = make
    rows = make_reviews(number, seed=1)
    options = {"group_column": "film" if "film" in layout else "", "validation_share": 0.2, "test_share": 0.1}
    if layout.startswith("file"):
        return DataConfig(location=str(write_csv(folder / "reviews.csv", rows)), **options)
    if layout == "folder":
        write_csv(folder / "train.csv", rows)
        write_csv(folder / "test.csv", rows[:30])
        write_csv(folder / "unsup.csv", [{"text": row["text"]} for row in make_reviews(number, seed=2)])
        return DataConfig(location=str(folder), **options)
    for label in (*NAMES, "unsup"):
        (folder / "train" / label).mkdir(parents=True)
        for count, row in enumerate(rows[:40]):
            if row["label"] == label or label == "unsup":
                (folder / "train" / label / f"{count}_7.txt").write_text(row["text"])
    return DataConfig(location=str(folder), **options)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_parts_on_disk_are_those_in_memory(tmp_path, make, monkeypatch, layout):
    monkeypatch.setattr(splits, "RUN", 100)
    (tmp_path / "data").mkdir()
    data = make_data(tmp_path / "data", layout, make)
    memory, cache = dataset.load(data), tmp_path / "cache"
    stored = dataset.load(data, cache)
    assert list(stored) == list(memory) == (["train", "test", "validation"] if layout != "folder" else list(memory))
    for part, found in stored.items():
        assert found.corpus.folder.parent == cache and memory[part].corpus.folder is None
        assert list(found.texts) == list(memory[part].texts) and len(found) > 3
        assert list(found.places) == list(memory[part].places)
        np.testing.assert_array_equal(found.ranks(), memory[part].ranks())
        np.testing.assert_array_equal(label_ids(found, NAMES), label_ids(memory[part], NAMES))
    assert name_labels(stored["train"], (), stored["validation"]) == NAMES
    unlabelled = dataset.find_unlabelled(data, memory), dataset.find_unlabelled(data, stored, cache)
    if layout.startswith("file"):
        assert unlabelled == (None, None)
    else:
        texts = {text for part in ("test", "validation") for text in memory[part].texts}
        assert list(unlabelled[1].texts) == list(unlabelled[0].texts) and not texts & set(unlabelled[0].texts)

    def refused(*_):
        raise AssertionError("a restart reads the reviews again")

    for name in ("write_reviews", "write_ranks", "write_hashes"):
        monkeypatch.setattr(reviews, name, refused)
    again = dataset.load(data, cache)
    dataset.find_unlabelled(data, again, cache)
    assert {part: found.key() for part, found in again.items()} == {part: found.key() for part, found in stored.items()}


def test_a_wrong_label_is_named_by_its_line(tmp_path, make):
    path = tmp_path / "reviews.jsonl"
    labels = ["good", "bad"] * 20
    path.write_text("".join(json.dumps({"text": f"{n}", "label": label}) + "\n" for n, label in enumerate(labels)))
    stored = dataset.load(DataConfig(location=str(path)), tmp_path / "cache")["train"]
    first = next(int(text) for text, label in zip(stored.texts, stored.coded_labels()[1], strict=True) if label == 1)
    with pytest.raises(
        UserError, match=rf"reviews.jsonl, line {first + 1}: the label is 'bad', expected one of good, "
    ):
        label_ids(stored, ("good", "fair"))


def test_a_bad_row_leaves_nothing_but_its_message(tmp_path, command, tiny, capsys):
    path = tmp_path / "reviews.csv"
    path.write_text("text,label,group\n" + "fine,good,a\nno,bad,b\n" * 1_000 + "one,two\n")
    assert command("train", "sample", "--data", path, "--run", tmp_path / "run", *tiny) == 2
    assert "reviews.csv, line 2002: 2 cells, expected 3" in capsys.readouterr().err
    assert not (tmp_path / "run").exists() and not list(tmp_path.rglob("*.array"))


def batches_of_lists(found, preprocessing, seed, epoch, max_rows, max_words):
    """Yields (ids, rows, labels) of an epoch by the definition, in lists of Python."""
    texts = preprocessing(tf.constant(list(found.texts)))[0].to_list()
    lengths = np.maximum([len(text) for text in texts], 1)
    labels, random = label_ids(found, NAMES), np.random.default_rng((seed, epoch))
    order = np.argsort(-(np.log(lengths) + random.uniform(0, loading.JITTER, len(texts))), kind="stable").tolist()
    sizes = loading.batch_sizes(np.sort(lengths)[::-1], max_rows, max_words)
    starts = [0, *itertools.accumulate(sizes)]
    for number in random.permutation(len(sizes)):
        rows = order[starts[number] : starts[number + 1]]
        time = loading.padded_length(max(lengths[row] for row in rows))
        ids = [texts[row] + [PADDING] * (time - len(texts[row])) for row in rows]
        yield ids, rows, labels[rows], sizes[number]


def labelled(data, preprocessing, tmp_path) -> word_ids.LabelledTexts:
    """Returns the training reviews, on disk."""
    stored = dataset.load(data, tmp_path / "cache")["train"]
    texts = word_ids.encode([stored], preprocessing, tmp_path / "cache")
    return word_ids.LabelledTexts(**vars(texts), targets=label_targets(stored, NAMES))


def test_batches_from_disk_are_those_of_the_definition(tmp_path, make, preprocessing):
    data = make_data(tmp_path, "file", make)
    texts = labelled(data, preprocessing, tmp_path)
    found = word_ids.batches(texts, batch_reviews=16, batch_words=150, seed=5, epoch=2)
    expected = list(batches_of_lists(dataset.load(data)["train"], preprocessing, 5, 2, 16, 150))
    assert int(found.cardinality()) == len(expected)
    for batch, (ids, rows, labels, size) in zip(found.as_numpy_iterator(), expected, strict=True):
        count = len(rows)
        assert len(batch["rows"]) == size
        np.testing.assert_array_equal(batch["ids"][:count], ids)
        assert not batch["ids"][count:].any()
        np.testing.assert_array_equal(batch["rows"], rows + [-1] * (size - count))
        np.testing.assert_array_equal(batch["labels"][:count], labels)
        np.testing.assert_array_equal(batch["targets"], np.eye(2)[batch["labels"]])
        np.testing.assert_array_equal(batch["real"], batch["rows"] >= 0)


def test_batches_do_not_outlive_their_epoch(tmp_path, make, preprocessing):
    texts = labelled(make_data(tmp_path, "file", make), preprocessing, tmp_path)
    found = word_ids.batches(texts, batch_reviews=16, batch_words=400, seed=5)
    batches = iter(found.skip(1))  # refers to what it is made of
    next(batches)
    weak = weakref.ref(texts)
    del found, texts
    gc.collect()
    assert len(list(batches)) and weak()
    del batches
    gc.collect()
    assert weak() is None


def test_ids_are_written_once_for_what_they_depend_on(tmp_path, make, preprocessing, monkeypatch):
    data = make_data(tmp_path, "file", make)
    parts = list(dataset.load(data, tmp_path / "cache").values())
    few = Preprocessing(preprocessing.vocabulary, **{**LIMITS, "max_words": 5})
    more = Preprocessing(preprocessing.vocabulary.extend(Vocabulary([*RESERVED, "so"])), **LIMITS)
    other = dataset.load(dataclasses.replace(data, split_seed=7), tmp_path / "cache")["train"]
    tried = [(parts[:1], preprocessing), (parts[:2], preprocessing), (parts[:1], few), (parts[:1], more)]
    tried.append(([other], preprocessing))
    found = [word_ids.encode(*each, tmp_path / "cache") for each in tried]
    assert len({texts.folder for texts in found}) == 5

    def refused(*_):
        raise AssertionError("a restart encodes again")

    monkeypatch.setattr(word_ids, "write_ids", refused)
    for texts, each in zip(found, tried, strict=True):
        again = word_ids.encode(*each, tmp_path / "cache")
        np.testing.assert_array_equal(again.ids, texts.ids)
        assert again.cut == texts.cut
    assert found[2].cut > found[0].cut == 0
    monkeypatch.undo()
    memory = word_ids.encode(parts[:2], preprocessing)
    np.testing.assert_array_equal(memory.ids, found[1].ids)
    np.testing.assert_array_equal(memory.splits, found[1].splits)
    assert memory.folder is None


def test_training_examples_from_disk_are_those_from_memory(tmp_path, make, preprocessing, monkeypatch):
    texts = labelled(make_data(tmp_path, "file", make), preprocessing, tmp_path)
    options = {"pieces": 0.5, "piece_softness": 5.0, "strong_word_dropout": 0.4, "seed": 3}
    memory = dataclasses.replace(texts, ids=np.array(texts.ids), splits=np.array(texts.splits), folder=None)
    whole = Augmentation(memory, preprocessing.vocabulary, **options)
    expected = whole.epoch(1)
    for module in (pieces, augmentation):
        monkeypatch.setattr(module, "TEXTS_AT_ONCE", 7)
    monkeypatch.setattr("pipelines.common.data.corpora.NUMBERS_AT_ONCE", 11)
    files = Augmentation(texts, preprocessing.vocabulary, **options)
    np.testing.assert_array_equal(files.strong, whole.strong)
    assert whole.strong.any()
    np.testing.assert_array_equal(files.pieces.starts, whole.pieces.starts)
    found = files.epoch(1)
    for name in ("ids", "splits", "targets"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert len(found.ids) < len(texts.ids) and found.folder and not expected.folder
    # By the definition, in one draw for the whole epoch:
    spans = whole.draw(1)
    ids = np.concatenate([memory.ids[begin:end] for begin, end in zip(spans.begins, spans.ends, strict=True)])
    dropped = np.random.default_rng((3, 1, augmentation.STREAM)).random(len(ids), np.float32) < 0.4
    dropped &= whole.strong[ids] & ~np.repeat(spans.is_piece, spans.lengths)
    np.testing.assert_array_equal(expected.ids, np.where(dropped, 1, ids))


def test_a_stream_is_read_anew(tmp_path, make):
    data = make_data(tmp_path, "text files", make)
    first = dataset.open_part(tmp_path, "train", data, grouped=False)
    assert isinstance(first, Stream) and list(first) == list(first)
    key = first.key()
    (tmp_path / "train" / NAMES[0] / "0_7.txt").rename(tmp_path / "train" / NAMES[1] / "0_7.txt")
    assert dataset.open_part(tmp_path, "train", data, grouped=False).key() != key

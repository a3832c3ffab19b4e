"""A language model's texts on disk: the same windows as from memory, which do not outlive their epoch."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf

from pipelines.sentiment import reviews, word_ids
from pipelines.sentiment.language_model.dataset import Streams, load
from pipelines.sentiment.preprocessing import Preprocessing, learn_vocabulary
from pipelines.sentiment.text_config import DataConfig

OPTIONS = {"k1": 7, "k2": 11, "rows": 4, "directions": ("forward", "backward"), "seed": 3}
LIMITS = {"max_words": 15, "max_characters": 200, "lower_case": True}


@pytest.fixture(params=["text file", "folder"])
def data(request, tmp_path, make) -> DataConfig:
    make_reviews, write_csv = make
    rows = make_reviews(200, seed=3)
    if request.param == "text file":
        path = tmp_path / "texts.txt"
        path.write_text("".join(row["text"] + "\n" for row in rows))
    else:
        path = tmp_path / "data"
        path.mkdir()
        write_csv(path / "train.csv", rows[:100])
        write_csv(path / "unsup.csv", [{"text": row["text"]} for row in rows[75:]])
    return DataConfig(location=str(path), validation_share=0.2)


def test_windows_from_disk_are_those_from_memory(data, tmp_path, monkeypatch):
    def refused(*_):
        raise AssertionError("a restart reads or encodes again")

    memory, cache = load(data, 60), tmp_path / "cache"
    vocabulary = learn_vocabulary(reviews.all_texts(memory["train"]), vocabulary_size=0, min_count=1, **LIMITS)
    preprocessing = Preprocessing(vocabulary, **LIMITS)
    parts = load(data, 60, cache)
    found = {part: word_ids.encode(each, preprocessing, cache) for part, each in parts.items()}
    for part, texts in found.items():
        expected = word_ids.encode(memory[part], preprocessing)
        np.testing.assert_array_equal(texts.ids, expected.ids)
        np.testing.assert_array_equal(texts.splits, expected.splits)
        assert texts.cut == expected.cut and texts.folder.parent == cache
    for changes in ({"objective": "next-word", "carried": True}, {"objective": "autoencoder", "carried": False}):
        texts = word_ids.encode(memory["train"], preprocessing)
        streams = [Streams(each, **OPTIONS, **changes) for each in (found["train"], texts)]
        assert streams[0].windows == streams[1].windows > 20
        for one, other in zip(*(each.epoch(2).as_numpy_iterator() for each in streams), strict=True):
            tf.nest.map_structure(np.testing.assert_array_equal, one, other)
    for module, name in ((reviews, "write_reviews"), (word_ids, "write_ids")):
        monkeypatch.setattr(module, name, refused)
    again = word_ids.encode(load(data, 60, cache)["train"], preprocessing, cache)
    np.testing.assert_array_equal(again.ids, found["train"].ids)


def test_the_order_is_that_of_a_permutation_whatever_its_type():
    """So that a run of an earlier version, which drew it in 64 bits, reads the same order."""
    texts = word_ids.Texts(np.arange(4, 1004, dtype=np.int32), np.arange(1001), 0)  # of one word each
    streams = Streams(texts, **{**OPTIONS, "rows": 1}, objective="next-word", carried=True)
    inputs = np.concatenate([batch["inputs"]["forward"][0, 4:] for batch in streams.epoch(5).as_numpy_iterator()])
    order = np.random.default_rng((3, 5)).permutation(np.arange(1000, dtype=np.int64))
    np.testing.assert_array_equal(inputs[1:2000:2] - 4, order)


def test_windows_do_not_outlive_their_epoch():
    texts = word_ids.Texts(np.arange(4, 1004, dtype=np.int32), np.arange(1001), 0)
    streams = Streams(texts, **OPTIONS, objective="next-word", carried=True)
    weak = weakref.ref(streams)
    windows = iter(streams.epoch(0).skip(1))
    del streams
    gc.collect()
    next(windows)
    assert weak()
    del windows
    gc.collect()
    assert weak() is None

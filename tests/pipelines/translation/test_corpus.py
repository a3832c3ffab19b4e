"""Training pairs on disk: the same batches as from memory, in files that are written once."""

import dataclasses
import gc
import itertools
import weakref

import numpy as np
import pytest
import tensorflow as tf

from layers.text import GENERATION, Vocabulary
from layers.tokenizer import learn_vocabulary
from pipelines.common.data import loading
from pipelines.common.errors import UserError
from pipelines.translation import dataset, noise, train
from pipelines.translation.config import DataConfig, TextConfig
from pipelines.translation.pairs import Stream
from pipelines.translation.preprocessing import Preprocessing
from pipelines.translation.presets import PRESETS

LIMITS = {"level": "word", "lower_case": False, "max_characters": 60, "max_tokens": 9}


@pytest.fixture
def preprocessing():
    source = [*GENERATION, "▁A", "▁red", "▁green", "▁star", "▁door", "▁This", ".", "!"]
    target = [*GENERATION, "▁Une", "▁étoile", "▁porte", "▁rouge", "▁Cette", "▁est", ".", "!"]
    return Preprocessing(Vocabulary(source), Vocabulary(target), **LIMITS)


@pytest.fixture
def data(tmp_path, make) -> DataConfig:
    """Returns data of 3,000 pairs, some of which are left out."""
    make_pairs, write_parallel = make
    pairs = make_pairs(3_000, seed=1)
    pairs[7], pairs[1500], pairs[2999] = ("", "Une"), ("A star " * 9, "Une"), ("A", "Une porte rouge et une étoile .")
    write_parallel(tmp_path / "data", "train", pairs)
    for part in ("val", "test"):
        write_parallel(tmp_path / "data", part, make_pairs(5, seed=2))
    return DataConfig(location=str(tmp_path / "data"), max_ratio=1.0)


def batches_of_lists(data, preprocessing, seed, epoch, max_rows, max_steps):
    """Yields (source, target, rows) of an epoch by the definition, in lists of Python."""
    texts = dataset.load(data)["train"]
    source, source_cut = preprocessing.source.encode(tf.constant(texts.sources))
    target, target_cut = preprocessing.target.encode(tf.constant(texts.targets))
    pairs = []
    for one, other, cut in zip(source.to_list(), target.to_list(), (source_cut | target_cut).numpy(), strict=True):
        shorter, longer = sorted([len(one), len(other)])
        if shorter and not cut and longer <= data.max_ratio * shorter + dataset.SLACK:
            pairs.append((one, other))
    lengths = np.array([2 * max(map(len, pair)) for pair in pairs])
    random = np.random.default_rng((seed, epoch))
    order = np.argsort(-(np.log(lengths) + random.uniform(0, loading.JITTER, len(pairs))), kind="stable").tolist()
    sizes = loading.batch_sizes(np.sort(lengths)[::-1], max_rows, max_steps)
    starts = [0, *itertools.accumulate(sizes)]
    for number in random.permutation(len(sizes)):
        rows = order[starts[number] : starts[number + 1]]
        padding = [[]] * (sizes[number] - len(rows))
        sides = ([*(pairs[row][side] for row in rows), *padding] for side in (0, 1))
        yield *(tf.ragged.constant(side, tf.int32).to_tensor().numpy() for side in sides), rows + [-1] * len(padding)


@pytest.mark.parametrize("epoch", [0, 3])
def test_batches_from_disk_are_those_of_the_definition(data, preprocessing, tmp_path, epoch):
    data_in_part = dataclasses.replace(data, location=str(tmp_path / "part"))
    (tmp_path / "part").mkdir()
    for name in (
        "train.en",
        "train.fr",
        "val.en",
        "val.fr",
        "test.en",
        "test.fr",
    ):  # enough for two of the encoder's batches
        lines = (tmp_path / "data" / name).read_text().splitlines(keepends=True)
        (tmp_path / "part" / name).write_text("".join(lines[:1_100]))
    pairs, _ = dataset.open_parts(data_in_part)
    assert isinstance(pairs, Stream)
    encoded = dataset.encode_on_disk(data_in_part, pairs, preprocessing, tmp_path / "cache")
    found = dataset.batches(encoded, batch_pairs=16, batch_tokens=400, seed=5, epoch=epoch)
    expected = list(batches_of_lists(data_in_part, preprocessing, 5, epoch, 16, 400))
    assert int(found.cardinality()) == len(expected)
    for batch, (source, target, rows) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(batch["source"], source)
        np.testing.assert_array_equal(batch["target"], target)
        np.testing.assert_array_equal(batch["rows"], rows)
        np.testing.assert_array_equal(batch["real"], np.array(rows) >= 0)


def test_a_corpus_on_disk_equals_one_in_memory_and_is_written_once(data, preprocessing, tmp_path, monkeypatch):
    pairs, _ = dataset.open_parts(data)
    stored = dataset.encode_on_disk(data, pairs, preprocessing, tmp_path / "cache")
    memory = dataset.encode(pairs.read(), preprocessing, data.max_ratio)
    assert stored.dropped == memory.dropped == {"with an empty side": 1, "too long": 1, "of too unequal lengths": 1}
    assert list(stored.texts) == list(memory.texts) and len(stored) == 2_997
    for side in ("sources", "targets"):
        for array in ("ids", "splits"):
            np.testing.assert_array_equal(getattr(getattr(stored, side), array), getattr(getattr(memory, side), array))
    options = {"preprocessing": preprocessing, "share": 0.6, "seed": 1, "epoch": 2}
    noisy = [noise.with_noise(each, **options).sources for each in (stored, memory)]
    np.testing.assert_array_equal(noisy[0].ids, noisy[1].ids)
    np.testing.assert_array_equal(noisy[0].splits, noisy[1].splits)
    assert not np.array_equal(noisy[0].ids, stored.sources.ids)

    def refused(*_):
        raise AssertionError("a restart encodes again")

    monkeypatch.setattr(dataset, "write_encoded", refused)
    again = dataset.encode_on_disk(data, pairs, preprocessing, tmp_path / "cache")
    np.testing.assert_array_equal(again.sources.ids, stored.sources.ids)
    monkeypatch.undo()
    with open(tmp_path / "data" / "train.en", "a") as source, open(tmp_path / "data" / "train.fr", "a") as target:
        source.write("A red star.\n")
        target.write("Une étoile rouge.\n")
    assert len(dataset.encode_on_disk(data, pairs, preprocessing, tmp_path / "cache")) == 2_998


def test_batches_do_not_outlive_their_epoch(data, preprocessing, tmp_path):
    encoded = dataset.encode_on_disk(data, dataset.open_parts(data)[0], preprocessing, tmp_path)
    found = dataset.batches(encoded, batch_pairs=16, batch_tokens=400, seed=5)
    count = int(found.cardinality())
    assert len(list(found.take(3))) == 3
    batches = iter(found.skip(1))  # refers to what it is made of
    next(batches)
    del found
    gc.collect()
    assert len(list(batches)) == count - 2
    sources = weakref.ref(encoded.sources)
    del encoded, batches
    gc.collect()
    assert sources() is None


def test_what_changes_the_ids_changes_the_corpus(data, preprocessing, tmp_path):
    pairs, _ = dataset.open_parts(data)
    lower = Preprocessing(
        preprocessing.source.vocabulary, preprocessing.target.vocabulary, **{**LIMITS, "lower_case": True}
    )
    more = Preprocessing(
        preprocessing.source.vocabulary.extend(Vocabulary([*GENERATION, "▁blue"])),
        preprocessing.target.vocabulary,
        **LIMITS,
    )
    folders = {
        dataset.encode_on_disk(changed, pairs, each, tmp_path / "cache").folder
        for changed, each in (
            (data, preprocessing),
            (data, lower),
            (data, more),
            (dataclasses.replace(data, max_ratio=4.0), preprocessing),
        )
    }
    assert len(folders) == 4


def test_pairs_that_nothing_is_held_out_of_are_split_as_ever(data, preprocessing, tmp_path):
    for name in ("val.en", "val.fr", "test.en", "test.fr"):
        (tmp_path / "data" / name).unlink()
    pairs, held_out = dataset.open_parts(data)
    parts = dataset.load(data)
    assert (pairs, held_out) == (parts["train"], {part: parts[part] for part in ("test", "validation")})
    folders = [
        dataset.encode_on_disk(each, dataset.open_parts(each)[0], preprocessing, tmp_path / "cache").folder
        for each in (data, dataclasses.replace(data, split_seed=data.split_seed + 1))
    ]
    assert folders[0] != folders[1]


def test_subwords_are_learned_from_a_sample_of_stated_size(data, monkeypatch):
    preset = PRESETS["sample"][1]
    config = dataclasses.replace(preset, text=TextConfig(level="subword"), data=data)
    pairs, _ = dataset.open_parts(data)

    sources = pairs.read().sources
    for most, distance in ((3_000, 1), (2_999, 2), (1_000, 3)):  # small data: all of it
        monkeypatch.setattr(train, "SUBWORD_PAIRS", most)
        found = train.learn_vocabularies(config, pairs, None)[0]
        expected = learn_vocabulary([tf.constant(sources[::distance])], "subword", 30_000, max_characters=5_000)
        assert found.words == expected.words


def test_a_bad_row_is_named_before_anything_is_written(data, tmp_path, make, command, tiny, capsys):
    path = tmp_path / "train.tsv"
    path.write_text("A.\tUn.\n" * 2_000 + "one\ttwo\tthree\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"train.tsv, line 2001: 3 columns, expected 2"):
        list(Stream(path, "train", DataConfig(location=str(path))))
    (tmp_path / "data" / "train.fr").write_bytes(b"Un.\n" * 2_999 + b"sch\xf6n\n")
    assert command("train", "sample", "--data", tmp_path / "data", "--run", tmp_path / "run", *tiny) == 2
    assert "train.fr, line 3000: byte 4 of the line is 0xf6, which is not UTF-8" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()

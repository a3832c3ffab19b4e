import gzip

import numpy as np
import pytest
import tensorflow_datasets as tfds

from layers.text import GENERATION, Vocabulary
from pipelines.common.data import sources
from pipelines.common.errors import UserError
from pipelines.translation import dataset
from pipelines.translation.config import DataConfig
from pipelines.translation.pairs import Pairs, Stream
from pipelines.translation.preprocessing import Preprocessing

PAIRS = [("One.", "Un."), ("Two dogs.", "Deux chiens."), ("Three big dogs.", "Trois gros chiens.")]


def data_config(location, **changes) -> DataConfig:
    return DataConfig(location=str(location), **changes)


def read(where, part, data) -> Pairs:
    return Stream(where, part, data).read()


def write(path, lines):
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as file:
        file.write("".join(line + "\n" for line in lines))


def preprocessing(**limits) -> Preprocessing:
    limits = {"level": "word", "lower_case": False, "max_characters": 100, "max_tokens": 8, **limits}
    words = [
        *GENERATION,
        *["▁One", "▁Two", "▁Three", "▁big", "▁dogs", ".", "▁Un", "▁Deux", "▁Trois", "▁gros", "▁chiens"],
    ]
    return Preprocessing(Vocabulary(words), Vocabulary(words), **limits)


def test_parallel_compressed_and_tabular_files_are_read_alike(tmp_path):
    for folder, ending in (("plain", ""), ("packed", ".gz")):
        (tmp_path / folder).mkdir()
        for number, language in enumerate(("en", "fr")):
            write(tmp_path / folder / f"train.{language}{ending}", [pair[number] for pair in PAIRS])
        (tmp_path / f"table-{folder}").mkdir()
        write(tmp_path / f"table-{folder}" / f"train.tsv{ending}", ["\t".join(pair) for pair in PAIRS])
    expected = Pairs(*map(list, zip(*PAIRS, strict=True)))
    for folder in ("plain", "packed", "table-plain", "table-packed"):
        assert read(tmp_path / folder, "train", data_config(tmp_path / folder)) == expected
    assert read(tmp_path / "table-plain" / "train.tsv", "train", data_config("")) == expected


def test_quotation_marks_in_a_table_are_text_unless_quoting_is_asked_for(tmp_path):
    path = tmp_path / "train.tsv"
    write(path, ['"Yes\t"Oui', 'No"\tNon"', '"Two\tdogs"\tDeux'])
    with pytest.raises(UserError, match=r"train.tsv, line 3: 3 columns, expected 2"):
        read(path, "train", data_config(path))
    with pytest.raises(UserError, match=r"train.tsv, line 1: the quotation mark that opens a field here is never"):
        read(path, "train", data_config(path, quoting=True))
    write(path, ['"Yes\t"Oui', 'No"\tNon"'])
    assert read(path, "train", data_config(path)) == Pairs(['"Yes', 'No"'], ['"Oui', 'Non"'])
    write(path, ['"Two\tdogs"\t"« ""Deux"" »"'])
    assert read(path, "train", data_config(path, quoting=True)) == Pairs(["Two\tdogs"], ['« "Deux" »'])


def test_a_part_may_have_several_names(tmp_path):
    for name in ("train", "dev", "test_2016_flickr"):
        for language in ("en", "fr"):
            write(tmp_path / f"{name}.{language}", [name])
    parts = dataset.load(data_config(tmp_path))
    assert {part: found.sources for part, found in parts.items()} == {"train": ["train"], "validation": ["dev"]}
    assert dataset.load_part(data_config(tmp_path), "test").sources == ["test_2016_flickr"]
    for language in ("en", "fr"):
        write(tmp_path / f"test_2017.{language}", ["later"])
    with pytest.raises(
        UserError, match="several files for test: choose one of test_2016_flickr, test_2017 with --split"
    ):
        dataset.load_part(data_config(tmp_path), "test")
    assert dataset.load_part(data_config(tmp_path), "test_2017").targets == ["later"]
    assert dataset.load(data_config(tmp_path)) == parts  # training needs no test


def test_splits_keep_the_translations_of_a_source_together(tmp_path):
    rows = [f"source {number // 3}\ttarget {number}" for number in range(90)]
    write(tmp_path / "train.tsv", rows)
    chosen = data_config(tmp_path / "train.tsv", validation_share=0.2, test_share=0.1)
    parts = dataset.load(chosen)
    assert {part: len(set(found.sources)) for part, found in parts.items()} == {"train": 22, "test": 3, "validation": 5}
    assert sum(map(len, parts.values())) == 90
    for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not set(parts[first].sources) & set(parts[second].sources)
    assert dataset.load(chosen) == parts
    assert dataset.load_part(chosen, "test") == parts["test"]


def test_references_are_grouped_by_source():
    pairs = Pairs(["a", "b", "a"], ["1", "2", "3"])
    assert pairs.by_source() == (["a", "b"], [["1", "3"], ["2"]])


def test_unusable_pairs_are_left_out_and_counted():
    pairs = Pairs(
        ["One.", "", "Two", "big " * 9, "One", "big big big big big big big"],
        ["Un.", "Un", " ", "Un", "x" * 101, "gros"],
    )
    found = dataset.encode(pairs, preprocessing(), max_ratio=1.5)
    assert len(found) == 1
    assert found.dropped == {"with an empty side": 2, "too long": 2, "of too unequal lengths": 1}
    np.testing.assert_array_equal(found.sources.ids, [4, 9])
    np.testing.assert_array_equal(found.targets.ids, [10, 9])


def encoded(number: int, seed: int = 0) -> dataset.Encoded:
    draw = np.random.default_rng(seed)
    sides = []
    for _ in range(2):
        lengths = draw.integers(1, 8, number)
        ids = draw.integers(4, 14, lengths.sum()).astype(np.int32)
        sides.append(dataset.Sentences(ids, np.concatenate([[0], np.cumsum(lengths)])))
    return dataset.Encoded(*sides, {})


def test_every_pair_is_in_one_batch_within_the_budget():
    pairs = encoded(50)
    seen = []
    for batch in dataset.batches(pairs, batch_pairs=8, batch_tokens=64, seed=1, epoch=0):
        rows, real = batch["rows"].numpy(), batch["real"].numpy()
        assert len(rows) <= 8
        assert len(rows) * (batch["source"].shape[1] + batch["target"].shape[1]) <= 64 * 1.1  # lengths stray by a tenth
        for place, row in enumerate(rows):
            if not real[place]:
                assert row == -1 and not batch["source"][place].numpy().any()
                continue
            seen.append(row)
            for name, side in (("source", pairs.sources), ("target", pairs.targets)):
                ids = batch[name][place].numpy()
                np.testing.assert_array_equal(ids[ids != 0], side.ids[side.splits[row] : side.splits[row + 1]])
    assert sorted(seen) == list(range(50))


def test_the_order_depends_only_on_seed_and_epoch():
    def order(seed, epoch):
        found = dataset.batches(encoded(50), batch_pairs=8, batch_tokens=64, seed=seed, epoch=epoch)
        return [tuple(batch["rows"].numpy()) for batch in found]

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_few_shapes_for_xla():
    found = dataset.batches(encoded(50), batch_pairs=8, batch_tokens=200, seed=1, xla=True)
    assert {batch[name].shape[1] for batch in found for name in ("source", "target")} == {8}


def test_a_mixture_contains_the_share_of_old_pairs():
    new, old = encoded(20), encoded(100, seed=5)
    mixed = dataset.mix(new, old, 0.5, seed=3)
    assert len(mixed) == 40
    np.testing.assert_array_equal(mixed.sources.ids[: len(new.sources.ids)], new.sources.ids)
    assert (mixed.sources.lengths[:20] == new.sources.lengths).all()
    known = {tuple(old.sources.ids[old.sources.splits[row] : old.sources.splits[row + 1]]) for row in range(100)}
    tail = [
        tuple(mixed.sources.ids[mixed.sources.splits[row] : mixed.sources.splits[row + 1]]) for row in range(20, 40)
    ]
    assert set(tail) <= known


def test_a_data_set_of_tensorflow_datasets(monkeypatch):
    monkeypatch.setattr(sources, "reachable", lambda address: True)
    with tfds.testing.mock_data(num_examples=6):
        found = read("tfds:wmt14_translate/fr-en", "train", data_config("tfds:wmt14_translate/fr-en"))
        assert len(found) == 6 and all(isinstance(text, str) for text in found.sources)
        other = read("tfds:wmt14_translate/fr-en", "train", data_config("", source="fr", target="en"))
        assert (other.sources, other.targets) == (found.targets, found.sources)
        with pytest.raises(UserError, match="has the languages fr, en: expected de"):
            read("tfds:wmt14_translate/fr-en", "train", data_config("", source="de"))
        assert set(dataset.load(data_config("tfds:wmt14_translate/fr-en"))) == {"train", "validation"}


def test_the_real_data_has_the_sizes_in_the_readme(real_data):
    where = real_data("multi30k")
    chosen = data_config(where, source="de", target="en")
    parts = dataset.load(chosen)
    assert {part: len(found) for part, found in parts.items()} == {"train": 29_000, "validation": 1_014}
    assert len(dataset.load_part(chosen, "test")) == 1_000
    pairs = read(real_data("tatoeba"), "test", data_config(where))
    assert (len(pairs.by_source()[0]), len(pairs)) == (1_000, 1_473)

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from layers.text import GENERATION, Vocabulary
from pipelines.captioning import batches, dataset
from pipelines.captioning.captions import Captioned, read, without_captions
from pipelines.captioning.config import Config, DataConfig
from pipelines.captioning.evaluate import pooled
from pipelines.captioning.preprocessing import Preprocessing
from pipelines.common.config import replace
from pipelines.common.data import sources
from pipelines.common.errors import UserError
from pipelines.common.vision import encoders
from pipelines.common.vision.feature_maps import FeatureMaps

ROWS = [("b.png", 0, "A dog ."), ("b.png", 1, "One dog"), ("a.png", 0, "Two cats")]
REFERENCES = {"b.png": ["A dog .", "One dog"], "a.png": ["Two cats"]}
READING = {"image_size": 32, "fit": "squeeze", "pixel_limit": 10_000, "max_tokens": 6, "max_characters": 100}


def config(where, tmp_path, **changes) -> Config:
    fields = {"encoder": "small", "weights": "none", "image_size": 32, "cache": tmp_path / "cache"}
    return replace(Config(), location=str(where), **fields, **changes)


def data(where, tmp_path, **changes) -> DataConfig:
    return config(where, tmp_path, **changes).data


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    with (gzip.open if path.suffix == ".gz" else open)(path, "wt", encoding="utf-8") as file:
        file.write("".join(line + "\n" for line in lines))


def table(rows) -> list[str]:
    return [f"{image}\t{number}\t{caption}" for image, number, caption in rows]


def preprocessing() -> Preprocessing:
    words = ["▁a", "▁red", "▁green", "▁blue", "▁white", "▁square", "▁on", "▁the", "▁left", "▁right", "▁there", "▁is"]
    return Preprocessing(Vocabulary([*GENERATION, *words]), **{**READING, "max_tokens": 12})


def coco() -> dict:
    images = [{"id": 7, "file_name": "b.png"}, {"id": 9, "file_name": "a.png"}]
    numbers = {"b.png": 7, "a.png": 9}
    return {
        "images": images,
        "annotations": [{"id": n, "image_id": numbers[image], "caption": c} for n, (image, _, c) in enumerate(ROWS)],
    }


def test_every_layout_reads_the_same(tmp_path):
    write(tmp_path / "table" / "captions_train.tsv", table(ROWS))
    write(tmp_path / "packed" / "captions_train.tsv.gz", table(ROWS))
    tokens = [f"{image}#{number}\t{caption}" for image, number, caption in [*ROWS, ("c.png", 0, "No")]]
    write(tmp_path / "token" / "Flickr8k.token.txt", tokens)
    write(tmp_path / "token" / "Flickr8k.lemma.token.txt", [f"{line} lemma" for line in tokens])
    write(tmp_path / "token" / "Flickr_8k.trainImages.txt", ["b.png", "a.png"])
    write(tmp_path / "token" / "Flickr_8k.testImages.txt", ["c.png"])
    (tmp_path / "coco" / "annotations").mkdir(parents=True)
    (tmp_path / "coco" / "annotations" / "captions_train2014.json").write_text(json.dumps(coco()))
    for name in ("table", "packed", "token", "coco"):
        (tmp_path / name / "images").mkdir()
        found = read(tmp_path / name, "train", data("", tmp_path))
        assert found.references == REFERENCES and list(found.references) == ["b.png", "a.png"]
        assert found.paths["a.png"] == tmp_path / name / "images" / "a.png"
    assert read(tmp_path / "token", "test", data("", tmp_path)).references == {"c.png": ["No"]}
    for file in ("table/captions_train.tsv", "coco/annotations/captions_train2014.json"):
        assert read(tmp_path / file, "train", data("", tmp_path)).references == REFERENCES


def test_what_tools_leave_in_folders_is_not_data(tmp_path):
    write(tmp_path / "captions.token.txt", ["a.png#0\tA dog"])
    write(tmp_path / "trainImages.txt", ["a.png"])
    for name in ("._captions.token.txt", "._trainImages.txt", "images/._a.png", "images/.DS_Store", "images/Thumbs.db"):
        write(tmp_path / name, ["\0\5\26\7"])
    found = read(tmp_path, "train", data("", tmp_path))
    assert found.references == {"a.png": ["A dog"]}
    assert without_captions([found]) == 0
    write(tmp_path / "images" / "b.png", [""])
    assert without_captions([found]) == 1


def test_quotation_marks_in_a_table_are_text_unless_quoting_is_asked_for(tmp_path):
    path = tmp_path / "captions.tsv"
    write(path, ['a.png\t0\t"A dog', 'a.png\t1\tA "cat"', 'b.png\t0\tTwo dogs"'])
    assert read(path, "train", data("", tmp_path)).references == {
        "a.png": ['"A dog', 'A "cat"'],
        "b.png": ['Two dogs"'],
    }
    write(path, ['a.png\t0\t"A ""big"" dog"', 'b.png\t0\tTwo "dogs"'])
    quoted = read(path, "train", data("", tmp_path, quoting=True))
    assert quoted.references == {"a.png": ['A "big" dog'], "b.png": ['Two "dogs"']}
    write(path, ["a.png\t0\tA dog", 'a.png\t1\t"never closed', "b.png\t0\tTwo dogs"])
    with pytest.raises(UserError, match=r"captions.tsv, line 2: the quotation mark that opens a field here is never"):
        read(path, "train", data("", tmp_path, quoting=True))


@pytest.mark.parametrize("kind", [str, float])
def test_ids_of_coco_that_are_strings_or_decimals(tmp_path, kind):
    content = coco()
    for image in content["images"]:
        image["id"] = kind(image["id"])
    (tmp_path / "captions_train.json").write_text(json.dumps(content))
    found = read(tmp_path, "train", data("", tmp_path))
    (tmp_path / "captions_train.json").write_text(json.dumps(coco()))
    assert found.references == read(tmp_path, "train", data("", tmp_path)).references


def test_images_may_lie_beside_the_captions_or_in_the_folder_of_coco(tmp_path):
    write(tmp_path / "captions.tsv", table(ROWS))
    (tmp_path / "b.png").touch()
    assert read(tmp_path, "train", data("", tmp_path)).paths["b.png"] == tmp_path / "b.png"
    (tmp_path / "coco" / "train2014").mkdir(parents=True)
    (tmp_path / "coco" / "captions_train2014.json").write_text(json.dumps(coco()))
    found = read(tmp_path / "coco", "train", data("", tmp_path))
    assert found.paths["a.png"] == tmp_path / "coco" / "train2014" / "a.png"


def test_parts_are_split_off_where_they_are_missing(tmp_path):
    write(tmp_path / "captions.tsv", [f"{n}.png\t{k}\tcaption {k}" for n in range(40) for k in range(3)])
    chosen = data(tmp_path, tmp_path, validation_share=0.2, test_share=0.1)
    parts = dataset.load(chosen)
    assert {part: len(found) for part, found in parts.items()} == {"train": 29, "test": 4, "validation": 7}
    assert len({name for found in parts.values() for name in found.paths}) == 40
    assert all(len(each) == 3 for found in parts.values() for each in found.references.values())
    assert dataset.load(chosen) == parts and dataset.load_part(chosen, "test") == parts["test"]


def test_half_of_the_validation_tests_in_the_order_of_the_list(tmp_path):
    write(tmp_path / "captions_train.tsv", table(ROWS))
    write(tmp_path / "captions_dev.tsv", [f"{n}.png\t0\tcaption" for n in range(6)])
    parts = dataset.load(data(tmp_path, tmp_path))
    assert [list(parts[part].paths) for part in ("validation", "test")] == [
        ["0.png", "1.png", "2.png"], ["3.png", "4.png", "5.png"],
    ]  # fmt: skip
    write(tmp_path / "dev_all.txt", [f"{n}.png" for n in (5, 3, 1, 0, 2, 4)])
    parts = dataset.load(data(tmp_path, tmp_path))
    assert [list(parts[part].paths) for part in ("validation", "test")] == [
        ["5.png", "3.png", "1.png"], ["0.png", "2.png", "4.png"],
    ]  # fmt: skip
    assert list(dataset.load_part(data(tmp_path, tmp_path), "test").paths) == ["0.png", "2.png", "4.png"]
    write(tmp_path / "captions_test.tsv", ["x.png\t0\tcaption"])
    parts = dataset.load(data(tmp_path, tmp_path))
    assert (len(parts["validation"]), len(parts["test"])) == (6, 1)
    assert dataset.load_all(data(tmp_path / "captions_test.tsv", tmp_path), "test").references == {"x.png": ["caption"]}


def test_images_without_captions_are_counted(tmp_path, scenes):
    scenes(tmp_path, "train", 3, 0)
    (tmp_path / "images" / "more.jpg").touch()
    (tmp_path / "images" / "notes.txt").touch()
    assert without_captions([read(tmp_path, "train", data("", tmp_path))]) == 1


def test_captions_that_teach_nothing_are_left_out_and_counted():
    captioned = Captioned({}, {"x": ["A dog .", " . ", "a a a a a a a"], "y": ["..."], "z": ["cats", "A dog"]})
    words = Vocabulary([*GENERATION, "▁a", "▁dog"])
    found = dataset.encode(captioned, Preprocessing(words, **READING))
    assert found.left_out == {"without a word": 2, "too long": 1} and found.images == 3
    assert found.ids.to_list() == [[4, 5], [1], [4, 5]]
    np.testing.assert_array_equal(found.owners, [0, 2, 2])
    assert found.by_image().to_list() == [[[4, 5]], [], [[1], [4, 5]]]


def captions(number: int, most: int = 4) -> dataset.Captions:
    draw = np.random.default_rng(0)
    counts = draw.integers(0, most + 1, number)
    lengths = draw.integers(1, 8, counts.sum())
    ids = tf.RaggedTensor.from_row_lengths(draw.integers(4, 14, lengths.sum()).astype(np.int32), lengths)
    return dataset.Captions(ids, np.repeat(np.arange(number), counts), number, {})


def test_every_caption_is_in_one_batch_with_its_image():
    found = captions(20)
    features = np.arange(20, dtype=np.float32)[:, None]
    seen = []
    for batch in batches.feature_batches(found, features, batch_pairs=8, seed=1):
        assert batch["target"].shape[:2] == (8, 1)
        for image, target, real in zip(batch["image"].numpy(), batch["target"].numpy(), batch["real"], strict=True):
            if float(real[0]):
                seen.append((int(image[0]), tuple(target[target != 0])))
            else:
                assert not target.any()
    expected = [(int(owner), tuple(ids)) for owner, ids in zip(found.owners, found.ids.to_list(), strict=True)]
    assert sorted(seen) == sorted(expected)


@pytest.mark.parametrize("xla", [False, True])
def test_an_image_is_in_a_batch_with_all_its_captions(xla):
    found = captions(20)
    pixels = np.broadcast_to(np.arange(20, dtype=np.uint8)[:, None, None, None], (20, 4, 4, 3))
    some = dataset.Images(Captioned({}, {}), {}, pixels=pixels)
    seen, shapes = {}, set()
    for batch in batches.image_batches(found, some, None, batch_images=8, seed=1, xla=xla):
        shapes.add(batch["target"].shape[1:])
        for image, target, real in zip(*(batch[name].numpy() for name in ("image", "target", "real")), strict=True):
            assert (image == image[0, 0, 0]).all()
            seen[int(image[0, 0, 0])] = [row[row != 0].tolist() for row, one in zip(target, real, strict=True) if one]
    by_image = dict(enumerate(found.by_image().to_list()))
    assert seen == {number: each for number, each in by_image.items() if each}
    assert not xla or shapes == {(4, 8)}


@pytest.mark.parametrize("xla", [False, True])
def test_a_map_is_in_a_batch_with_all_captions_of_its_image(xla):
    """The last batch is filled up with rows that do not count."""
    found = captions(21)
    maps = FeatureMaps([np.full([4, 3], number, np.float16) for number in range(21)])
    seen, shapes = {}, set()
    for batch in batches.map_batches(found, maps, batch_images=8, seed=1, xla=xla):
        shapes.add(batch["target"].shape[1:])
        assert batch["image"].shape == (8, 4, 3) and batch["image"].dtype == tf.float16
        for image, target, real in zip(*(batch[name].numpy() for name in ("image", "target", "real")), strict=True):
            assert (image == image[0, 0]).all()
            if real.any():
                assert int(image[0, 0]) not in seen
                seen[int(image[0, 0])] = [row[row != 0].tolist() for row, one in zip(target, real, strict=True) if one]
    assert seen == {number: each for number, each in enumerate(found.by_image().to_list()) if each}
    assert not xla or shapes == {(4, 8)}


def resident_bytes() -> int:
    """Memory of this process that is not a file mapped into it."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return 1024 * int(line.split()[1])


@pytest.mark.extra
def test_memory_does_not_grow_with_the_maps(tmp_path):
    """An epoch over 400 MB of maps takes less than 100 MB of memory."""
    np.save(tmp_path / "maps.npy", np.ones([2000, 100, 1000], np.float16))
    maps = FeatureMaps(list(np.asarray(np.load(tmp_path / "maps.npy", mmap_mode="r"))))
    found = captions(2000)
    list(batches.map_batches(captions(8), FeatureMaps(maps.maps[:8]), batch_images=8, seed=1))  # creates the threads
    before, most = resident_bytes(), 0
    for _ in batches.map_batches(found, maps, batch_images=8, seed=1):
        most = max(most, resident_bytes() - before)
    assert most < 100e6


def test_the_order_depends_only_on_seed_and_epoch():
    found, features = captions(30), np.zeros([30, 1], np.float32)
    maps = FeatureMaps([np.full([2, 1], number, np.float16) for number in range(30)])
    some = dataset.Images(Captioned({}, {}), {}, pixels=np.zeros([30, 4, 4, 3], np.uint8))

    def by_features(seed, epoch):
        given = batches.feature_batches(found, features, batch_pairs=8, seed=seed, epoch=epoch)
        return [batch["target"].numpy().tolist() for batch in given]

    def by_images(seed, epoch):
        given = batches.image_batches(found, some, None, batch_images=8, seed=seed, epoch=epoch, augment=0.25)
        return [(batch["target"].numpy().tolist(), batch["image"].numpy().tolist()) for batch in given]

    def by_maps(seed, epoch):
        given = batches.map_batches(found, maps, batch_images=8, seed=seed, epoch=epoch)
        return [(batch["target"].numpy().tolist(), batch["image"].numpy().tolist()) for batch in given]

    for order in (by_features, by_images, by_maps):
        assert order(1, 0) == order(1, 0)
        assert order(1, 0) != order(1, 1)
        assert order(1, 0) != order(2, 0)


def test_augmentation_moves_and_brightens():
    pixels = np.zeros([8, 8, 3], np.uint8)
    pixels[3:5, 3:5] = 100
    places, levels = set(), set()
    for number in range(12):
        found = batches.augmented(tf.constant(pixels), tf.constant([number, 1]), 0.25).numpy()
        rows, columns = np.nonzero(found[..., 0])
        assert len(rows) == 4 and abs(rows.mean() - 3.5) <= 2 and abs(columns.mean() - 3.5) <= 2
        places.add((rows.min(), columns.min()))
        levels.add(float(found.max()))
        assert 75 <= found.max() <= 125
    assert len(places) > 4 and len(levels) == 12


def test_half_of_the_images_are_mirrored_and_otherwise_the_same():
    pixels = tf.constant(np.random.default_rng(0).integers(0, 256, [6, 6, 3]), tf.uint8)
    mirrored = 0
    for number in range(12):
        seed = tf.constant([number, 1])
        without, found = (batches.augmented(pixels, seed, 0.2, mirror).numpy() for mirror in (False, True))
        turned = np.array_equal(found, without[:, ::-1])
        assert turned or np.array_equal(found, without)
        mirrored += turned
    assert 2 < mirrored < 10


def test_pixels_are_those_of_the_export_to_the_last_bit(tmp_path, scenes):
    """Kept as whole numbers where they are, else not rounded; decoded in the pipeline, the same."""
    scenes(tmp_path, "train", 6, 0)
    chosen = config(tmp_path, tmp_path)
    captioned = read(tmp_path, "train", chosen.data)
    captioned.paths["train002.png"].write_text("no image")
    for size, kind in ((32, np.uint8), (24, np.float32)):
        how = Preprocessing(preprocessing().tokenizer.vocabulary, **{**READING, "image_size": size})
        kept = dataset.with_pixels(captioned, how, replace(chosen, image_size=size))
        assert kept.pixels.dtype == kind and len(kept) == 5 and list(kept.left_out) == ["train002.png"]
        encoded = tf.constant([path.read_bytes() for path in kept.captioned.paths.values()])
        np.testing.assert_array_equal(kept.pixels, how.pixels(encoded)[0])
        decoded = dataset.Images(kept.captioned, {})
        rows = batches.pixel_rows(decoded, how, np.arange(5))
        np.testing.assert_array_equal(np.stack(list(rows.as_numpy_iterator())), kept.pixels)


def test_features_are_computed_once_and_those_of_bad_images_not(tmp_path, scenes, capsys):
    scenes(tmp_path, "train", 6, 0)
    chosen = config(tmp_path, tmp_path)
    (tmp_path / "images" / "train002.png").write_text("no image")
    captioned = read(tmp_path, "train", chosen.data)
    encoder = encoders.build_encoder("small", weights="none", image_size=32)
    found = dataset.with_features(captioned, encoder, chosen)
    assert list(found.left_out) == ["train002.png"] and "not a JPEG or PNG" in found.left_out["train002.png"]
    pixels = preprocessing().pixels(tf.constant([path.read_bytes() for path in found.captioned.paths.values()]))[0]
    np.testing.assert_allclose(found.features, encoder(pixels), rtol=1e-4, atol=1e-5)
    assert "computing the features of 6" in capsys.readouterr().err
    again = dataset.with_features(captioned, encoder, chosen)
    np.testing.assert_array_equal(again.features, found.features)
    assert "computing the features of 1 of 6" in capsys.readouterr().err  # the bad one is tried again
    other = encoders.build_encoder("small", weights="none", image_size=32)
    assert (dataset.with_features(captioned, other, chosen).features != found.features).any()
    assert "computing the features of 6 of 6" in capsys.readouterr().err


@pytest.mark.extra
def test_maps_are_cached_in_half_precision_beside_the_features(tmp_path, scenes, capsys):
    scenes(tmp_path, "train", 5, 0)
    encoder = encoders.build_encoder("small", weights="none", image_size=32, pooling="none")
    chosen = config(tmp_path, tmp_path, image="attend")
    captioned = read(tmp_path, "train", chosen.data)
    found = dataset.with_features(captioned, encoder, chosen)
    pixels = preprocessing().pixels(tf.constant([path.read_bytes() for path in captioned.paths.values()]))[0]
    expected = encoder(pixels).numpy()
    assert found.features.shape == expected.shape == (5, 16, 64)
    np.testing.assert_allclose(found.features[:], expected.astype(np.float16), rtol=2e-3, atol=1e-4)
    np.testing.assert_allclose(pooled(found.features), expected.mean(axis=1), rtol=1e-3, atol=1e-4)
    assert "computing the features of 5" in capsys.readouterr().err
    again = dataset.with_features(captioned, encoder, chosen)
    np.testing.assert_array_equal(again.features[:], found.features[:])
    assert capsys.readouterr().err == ""


def test_one_bad_image_in_a_hundred_is_allowed():
    captioned = Captioned({f"{n}.png": Path(f"{n}.png") for n in range(100)}, {f"{n}.png": ["A"] for n in range(100)})
    assert len(dataset.usable(captioned, {"7.png": "is truncated or damaged"}, "here")) == 99


def test_a_captions_set_of_tensorflow_datasets(tmp_path, monkeypatch, scenes):
    """Its images are taken out once, as they are encoded (which what mock_data makes up by itself cannot stay)."""
    scenes(tmp_path / "made", "val", 3, 0)
    files, asked = sorted((tmp_path / "made" / "images").iterdir()), []

    def rows(builder, split, decoders, **unused):
        asked.append(split)
        assert isinstance(decoders["image"], tfds.decode.SkipDecoding)
        texts = [f"caption\t{number}\nof many" for number in range(5)]
        return tf.data.Dataset.from_tensor_slices(
            {
                "image": [file.read_bytes() for file in files],
                "image/filename": [f"COCO_{file.name}" for file in files],
                "captions": {"text": [texts] * 3, "id": [range(5)] * 3},
            }
        )

    monkeypatch.setattr(sources, "reachable", lambda address: True)
    name = "tfds:coco_captions"
    with tfds.testing.mock_data(as_dataset_fn=rows):
        found = read(name, "validation", data(name, tmp_path))
        assert read(name, "validation", data(name, tmp_path)) == found and asked == ["val"]
        assert [path.read_bytes() for path in found.paths.values()] == [file.read_bytes() for file in files]
        assert list(found.references) == [f"val-COCO_{file.name}" for file in files]
        assert found.references["val-COCO_val000.png"][1] == "caption 1 of many"
        assert set(dataset.load(data(name, tmp_path))) == {"train", "validation", "test"}
        assert asked == ["val", "train", "test"]


def test_the_real_data_reads_as_its_readme_says(real_data, tmp_path):
    parts = dataset.load(data(real_data("flickr8k"), tmp_path))
    assert {part: len(found) for part, found in parts.items()} == {"train": 6000, "validation": 500, "test": 500}
    listed = (real_data("flickr8k") / "dev_all.txt").read_text().split()
    assert list(parts["validation"].paths) == listed[:500] and list(parts["test"].paths) == listed[500:]
    assert len(parts["train"].captions) == 30_000 and parts["train"].paths["2513260012_03d33305cf.jpg"].is_file()


def test_the_sample_lists_every_true_caption(samples, tmp_path):
    parts = dataset.load(data(samples / "captioning", tmp_path))
    assert {part: len(found) for part, found in parts.items()} == {"train": 3600, "validation": 200, "test": 200}
    assert sum(len(found.captions) for found in parts.values()) == 8000

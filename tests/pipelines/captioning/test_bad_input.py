"""Invalid input ends with a message of one line, exit status 2, and no run folder."""

import csv
import gzip
import json
import shutil

import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path, scenes):
    """Valid data, for tests that damage it."""
    for part in ("train", "val"):
        scenes(tmp_path / "data", part, 10, seed=1)
    return tmp_path / "data"


def test_a_captions_file_of_another_layout(refused, folder):
    table = folder / "captions_train.tsv"
    table.write_text("train000.png,A red square\n")
    message = refused(folder)
    assert "captions_train.tsv, line 1: 'train000.png,A red square' is not image, tab, number, tab, caption" in message
    table.write_text("train000.png\t0\tA red square\n\ntrain001.png\tA red square\n")
    assert "captions_train.tsv, line 3: " in refused(folder)
    table.write_text("train000.png#0\tA red square\ntrain001.png\tA red square\n")
    assert "line 2: 'train001.png\\tA red square' is not image#number, a tab, a caption" in refused(folder)


def test_invalid_coco_captions(refused, folder):
    path = folder / "captions_train2014.json"
    (folder / "captions_train.tsv").unlink()
    path.write_text("{")
    assert "captions_train2014.json is not a JSON file" in refused(folder)
    path.write_text(json.dumps({"images": [], "annotations": [{"caption": "A"}]}))
    assert "annotation 1: image_id is missing, expected an integer or a string" in refused(folder)
    path.write_text(json.dumps({"images": [], "annotations": [{"image_id": 3, "caption": "A"}]}))
    assert "annotation 1: image_id is 3, but no image has this id" in refused(folder)


@pytest.mark.parametrize(
    ("image", "annotation", "message"),
    [
        ({}, {"caption": None}, "annotation 1: caption is null, expected a string"),
        ({}, {"caption": ["A"]}, 'annotation 1: caption is ["A"], expected a string'),
        ({}, {"caption": "A cat \ud83d"}, r"is not a JSON file: \ud83d is a lone surrogate, half of a character"),
        ({}, {"image_id": 9.5}, "annotation 1: image_id is 9.5, expected an integer or a string"),
        ({"id": True}, {}, "image 2: id is true, expected an integer or a string"),
        ({"id": 0}, {}, "image 2: train001.png has the id 0 of train000.png; expected another id"),
        ({"file_name": 1}, {}, "image 2: file_name is 1, expected a string"),
        ({"file_name": ""}, {}, "annotation 2: the image is '', expected the name of a file"),
        ({"file_name": "\0"}, {}, "annotation 2: the image is '\\x00', expected the name of a file"),
    ],
)
def test_fields_of_coco_that_are_of_another_type(refused, folder, image, annotation, message):
    (folder / "captions_train.tsv").unlink()
    images = [{"id": number, "file_name": f"train00{number}.png"} for number in range(2)]
    rows = [{"image_id": number, "caption": "A square"} for number in range(2)]
    content = {"images": [images[0], images[1] | image], "annotations": [rows[0] | annotation, rows[1]]}
    (folder / "captions_train2014.json").write_text(json.dumps(content))
    assert message in refused(folder)


@pytest.mark.parametrize("content", ["[]", '{"images": {}, "annotations": []}', "[" * 100_000, "null"])
def test_json_that_has_no_captions(refused, folder, content):
    (folder / "captions_train.tsv").unlink()
    (folder / "captions_train2014.json").write_text(content)
    assert "captions_train2014.json is not a " in refused(folder)


def test_an_empty_caption(refused, folder):
    with open(folder / "captions_train.tsv", "a", encoding="utf-8") as file:
        file.write("train003.png\t2\t \n")
    assert "captions_train.tsv, line 21: the caption of train003.png is empty" in refused(folder)


def test_files_that_are_missing_empty_or_damaged(refused, folder, tmp_path):
    assert f"--data {tmp_path / 'none'} does not exist" in refused(tmp_path / "none")
    table = folder / "captions_train.tsv"
    table.write_text("")
    assert "captions_train.tsv is empty: expected lines of an image, a tab, a number" in refused(folder)
    table.write_bytes(b"a.png\t0\tgood\nb.png\t0\tsch\xf6n\n")
    assert "captions_train.tsv, line 2: byte 12 of the line is 0xf6, which is not UTF-8" in refused(folder)
    table.unlink()
    assert "has no captions: expected captions_train.tsv (.gz, .xz), captions.tsv" in refused(folder)
    (folder / "captions_train.tsv.gz").write_bytes(gzip.compress(b"a.png\t0\tgood\n" * 1000)[:-20])
    assert "captions_train.tsv.gz is damaged after line" in refused(folder)


def test_a_list_of_images_without_captions(refused, folder):
    (folder / "captions_train.tsv").unlink()
    (folder / "all.token.txt").write_text("train000.png#0\tA red square\n")
    (folder / "trainImages.txt").write_text("train000.png\ntrain001.png\n")
    assert "trainImages.txt lists train001.png, which has no caption in" in refused(folder)


@pytest.mark.parametrize("finetune", ["0", pytest.param("None", marks=pytest.mark.extra)])
def test_unusable_images_are_left_out_counted_and_listed(folder, command, tiny, tmp_path, capsys, finetune):
    """A text named .png, a truncated one, a decompression bomb, one that is not there: whether the CNN reads pixels in
    every epoch or features once. Images without captions are counted, too."""
    images = folder / "images"
    (images / "train000.png").write_text("this is no image")
    (images / "train001.png").write_bytes((images / "train002.png").read_bytes()[:60])
    Image.new("1", (11_000, 11_000)).save(images / "train003.png")
    (images / "train004.png").unlink()
    shutil.copy(images / "train005.png", images / "nobody.png")
    run = tmp_path / "run"
    arguments = ["--data", folder, "--run", run, *tiny, "--epochs", "1", "--finetune-cnn-after", finetune]
    assert command("train", "sample", *arguments) == 0
    err = capsys.readouterr().err
    assert "train: left out 4 of 10 images; the first, train000.png, is not a JPEG or PNG image" in err or (
        "train: left out 4 of 10 images; the first, train004.png, could not be read" in err
    )
    assert "1 images without captions are not used" in err
    with open(run / "left_out.tsv", newline="") as file:
        rows = {row["image"]: row["reason"] for row in csv.DictReader(file, delimiter="\t")}
    assert sorted(rows) == [f"train00{n}.png" for n in (0, 1, 2, 3, 4) if n != 2]
    assert "is not a JPEG or PNG image" in rows["train000.png"] and rows["train001.png"] == "is truncated or damaged"
    assert rows["train003.png"] == "has 11000 x 11000 pixels: expected at most 50000000"
    assert rows["train004.png"] == "could not be read: No such file or directory"


@pytest.mark.parametrize("finetune", ["0", "None"])
def test_too_many_unusable_images(refused, scenes, tmp_path, finetune):
    names = scenes(tmp_path / "data", "train", 100, seed=1)
    scenes(tmp_path / "data", "val", 4, seed=2)
    for name in names[:2]:
        (tmp_path / "data" / "images" / name).write_text("no image")
    message = refused(tmp_path / "data", "--finetune-cnn-after", finetune)
    assert "2 of 100 images cannot be used, 2.0%, expected at most 1%; the first, " in message
    assert "train000.png, is not a JPEG or PNG image: it begins with b'no image'" in message


def test_no_usable_image(refused, folder):
    shutil.rmtree(folder / "images")
    assert "10 of 10 images cannot be used, 100.0%" in refused(folder)


def test_one_image_cannot_be_split(refused, tmp_path, scenes):
    scenes(tmp_path / "data", "train", 1, 0)
    assert "cannot be split: expected two images with captions" in refused(tmp_path / "data")


def test_no_validation(refused, folder):
    (folder / "captions_val.tsv").unlink()
    shares = ["--validation-share", "0", "--test-share", "0"]
    assert "has no part validation: expected one, or a --validation-share above 0" in refused(folder, *shares)


def test_captions_without_a_word(refused, folder):
    # Of the two, one validates and the other tests.
    (folder / "captions_val.tsv").write_text("val000.png\t0\t.\nval001.png\t0\t ..\n")
    assert "has no usable caption in the part validation, of 1" in refused(folder)


def test_invalid_encoders(refused, folder, tmp_path):
    assert "the small encoder has no ImageNet weights" in refused(folder, "--weights", "imagenet")
    assert "does not exist: expected the weights" in refused(folder, "--weights", tmp_path / "none.weights.h5")
    assert "images of 8 x 8 pixels are too small for small" in refused(folder, "--image-size", "8")
    assert "the encoder has no layer block_13" in refused(folder, "--finetune-cnn-from", "block_13")
    message = refused(folder, "--precision", "mixed_float16")
    assert "--precision is mixed_float16, but a CNN that is trained needs float32 or mixed_bfloat16" in message

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from pipelines.captioning import predict
from pipelines.captioning.predict import find_files
from pipelines.common.pictures.attention_sheet import draw_attention_sheet


@pytest.fixture
def folder(shared, tmp_path):
    """A folder of three images and a text."""
    (tmp_path / "holiday").mkdir()
    for number, name in enumerate(("b.png", "a.PNG", "c.png")):
        shutil.copy(shared.image(number), tmp_path / "holiday" / name)
    (tmp_path / "holiday" / "notes.txt").write_text("no image")
    return tmp_path / "holiday"


@pytest.mark.parametrize("model", ["", "export"])
def test_files_folders_and_patterns(shared, command, lines, folder, model):
    for left in ("._a.png", ".b.png", "__MACOSX/c.png", ".ipynb_checkpoints/c.png"):  # by tools: never data
        (folder / left).parent.mkdir(exist_ok=True)
        shutil.copy(folder / "c.png", folder / left)
    given = [folder / "c.png", folder, f"{folder}/**/*.png"]
    assert command("predict", "--model", shared.run / model, *given) == 0
    found = lines()
    assert [row["image"] for row in found] == [
        str(folder / name) for name in ("c.png", "a.PNG", "b.png", "c.png", "b.png", "c.png")
    ]
    assert all(list(row) == ["image", "caption", "score", "confidence"] and row["score"] < 0 for row in found)
    assert found[0] == found[3] == found[5]


def test_unreadable_files_among_others(shared, command, lines, folder, tmp_path, feed):
    (tmp_path / "empty").mkdir()
    Image.new("1", (11_000, 11_000)).save(folder / "bomb.png")
    assert (folder / "bomb.png").stat().st_size < 20_000
    shutil.copy(folder / "notes.txt", folder / "text.jpg")
    given = [folder / "b.png", folder / "text.jpg", folder / "bomb.png", folder / "none.png", f"{folder}/*.gif",
             tmp_path / "empty", folder / "c.png"]  # fmt: skip
    assert command("predict", "--model", shared.run, *given) == 1
    found = lines()
    answer = ["image", "caption", "score", "confidence"]
    assert [list(row) for row in found] == [answer, *[["image", "error"]] * 5, answer]
    assert [row["image"] for row in found] == [str(each) for each in given]
    assert found[1]["error"] == "is not a JPEG or PNG image, is damaged, or has more than 50,000,000 pixels"
    assert found[2]["error"] == found[1]["error"]
    assert found[3]["error"] == "could not be read: No such file or directory"
    assert found[4]["error"] == "matches no file" and "holds no image" in found[5]["error"]
    feed(f"{folder}/b.png\n\xff\n".encode("latin-1"))
    assert command("predict", "--model", shared.run, "-") == 1
    first, second = lines()
    assert second["error"] == "byte 1 is 0xff, which is not UTF-8"
    near = {key: pytest.approx(found[0][key], abs=2e-4) for key in ("score", "confidence")}
    assert first == {**found[0], **near}
    # To the last digit only where as many images are read together.
    assert command("predict", "--model", shared.run, folder / "b.png") == 0
    assert lines() == [first]


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\0"])
def test_names_on_standard_input(shared, command, lines, folder, feed, separator):
    """Blank lines mean nothing, not the current folder; the names may be those of find -print0."""
    long = "n" * 300 + ".png"
    names = [f"{folder}/b.png", "", "  ", long, "caf\udce9.png", f"{folder}/c.png", ""]
    feed(b"\xef\xbb\xbf" + separator.join(names).encode(errors="surrogateescape"))
    assert command("predict", "--model", shared.run, "-") == 1
    found = lines()
    assert [row["image"] for row in found] == [names[0], long, "caf\ufffd.png", names[5]]
    assert [row.get("error") for row in found] == [
        None, "could not be read: File name too long", "byte 4 is 0xe9, which is not UTF-8", None,
    ]  # fmt: skip


def test_a_nul_among_lines_and_names_on_the_command_line(shared, command, lines, folder, feed):
    feed(f"a\0b.png\n\n{folder}/c.png\n".encode())
    bad = os.fsencode(folder) + b"/\xff.png"
    shutil.copy(folder / "b.png", os.fsdecode(bad))
    assert command("predict", "--model", shared.run, "", "n" * 300, "caf\udce9.png", folder, "-") == 1
    found = lines()
    errors = [row.get("error") for row in found]
    assert errors[0] == "is empty, expected the name of a file or folder"
    assert errors[1] == "could not be read: File name too long"
    assert errors[2] == "byte 4 is 0xe9, which is not UTF-8"
    assert [row["image"] for row in found[3:6]] == [f"{folder}/{name}" for name in ("a.PNG", "b.png", "c.png")]
    assert found[6]["image"] == f"{folder}/\ufffd.png" and "0xff, which is not UTF-8" in errors[6]
    assert errors[7] == "has a NUL character; expected one name per line, or names that all end in NUL"
    assert len(found) == 9 and errors[8] is None


def test_a_name_of_many_brackets_is_not_a_pattern():
    name = "[" * 100_000  # of which glob would search for minutes
    assert list(find_files([(name, None)])) == [(name, None)]


def test_only_failures(shared, command, lines, folder):
    assert command("predict", "--model", shared.run, f"{folder}/*.gif", "--picture", folder / "p.png") == 1
    assert len(lines()) == 1 and not (folder / "p.png").exists()


def test_warm_start_and_candidates(shared, command, lines):
    assert command("predict", "--model", shared.run, shared.image(), "--prefix", "a red", "--n-best", "4") == 0
    (row,) = lines()
    assert row["caption"].startswith("a red")
    assert row["candidates"][0] == row["caption"] and len(row["candidates"]) == 4


def test_sampling(shared, command, lines):
    arguments = [
        "predict",
        "--model",
        shared.run,
        shared.image(0),
        shared.image(1),
        "--temperature",
        "3",
        "--top-p",
        "0.95",
    ]
    assert command(*arguments, "--seed", "3") == 0
    first = lines()
    assert command(*arguments, "--seed", "3") == 0
    assert lines() == first
    assert any(command(*arguments, "--seed", str(seed)) or lines() != first for seed in range(4, 8))


def test_a_picture_of_the_captioned_images(shared, command, lines, folder):
    Image.open(folder / "b.png").convert("I;16").save(folder / "deep.png")
    assert command("predict", "--model", shared.run, folder, "--picture", folder / "sheet.png") == 0
    assert len(lines()) == 4
    with Image.open(folder / "sheet.png") as sheet:
        assert sheet.width > 400


@pytest.mark.extra
def test_a_picture_of_where_the_model_looked(attending, shared, command, lines, tmp_path, monkeypatch):
    sheets = []
    monkeypatch.setattr(predict, "draw_attention_sheet", lambda *given, **more: sheets.append((given, more)))
    images = [shared.image(0), shared.image(1)]
    assert command("predict", "--model", attending, *images, "--prefix", "a red", "--picture", tmp_path / "s.png") == 0
    found = lines()
    (((items, png), options),) = sheets
    assert [item.caption for item in items] == [row["caption"] for row in found] and png == tmp_path / "s.png"
    for item, row in zip(items, found, strict=True):
        assert item.words == row["caption"].split() and item.crop and item.file == row["image"]
        assert item.attention.shape == (len(item.words), 4, 4)
        np.testing.assert_allclose(item.attention.sum(axis=(1, 2)), 1, atol=1e-5)
    assert "2 images" in options["title"]
    draw_attention_sheet(items, png, **options)
    with Image.open(png) as sheet:
        assert sheet.width > 400


def test_folders_that_are_not_an_export(shared, command, capsys, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    for model, message in (
        (tmp_path / "none", "is neither a run nor an export"),
        (tmp_path, "is not the configuration of a run"),
    ):
        assert command("predict", "--model", model, shared.image()) == 2
        assert message in capsys.readouterr().err
    assert command("predict", "--model", shared.run) == 2
    assert "predict needs INPUT" in capsys.readouterr().err
    assert command("predict", "--model", shared.run, shared.image(), "--seed", "1", "--n-best", "2") == 2
    assert "--seed samples and --n-best searches" in capsys.readouterr().err

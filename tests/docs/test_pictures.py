"""docs/pictures.py cuts the pictures of the READMEs out of those of `predict --picture`."""

import importlib.util

import pytest
from PIL import Image


@pytest.fixture
def pictures(root):
    spec = importlib.util.spec_from_file_location("pictures", root / "docs" / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rows_are_joined_without_margins(pictures):
    drawn = Image.new("RGB", (100, 60), "white")
    drawn.paste("red", (20, 5, 50, 10))  # a title
    drawn.paste("green", (20, 20, 40, 30))  # cut off
    drawn.paste("blue", (30, 40, 70, 50))
    found = pictures.cut(drawn, [(5, 10), (40, 60)]).convert("RGB")
    margin = pictures.MARGIN
    assert found.size == (50 + 2 * margin, 15 + 2 * margin)
    assert found.getpixel((margin, margin)) == (255, 0, 0)
    assert found.getpixel((margin + 10, margin + 5)) == (0, 0, 255)
    assert found.getpixel((0, 0)) == (255, 255, 255)


def test_inputs_are_in_the_sample(pictures, root):
    assert set(pictures.INPUTS) == set(pictures.ROWS)
    for task in ("captioning", "video"):
        _, inputs = pictures.INPUTS[task]
        assert all((root / name).is_file() for name in inputs)


def test_pictures_are_small(pictures, root):
    for task in pictures.INPUTS:
        assert (root / "docs" / "pictures" / f"{task}.png").stat().st_size < 150_000


def test_screenshots_are_small(root):
    found = sorted((root / "docs" / "pictures").glob("page_*.png"))
    assert found and all(path.stat().st_size < 150_000 for path in found)

import numpy as np
import pytest
from PIL import Image

from pipelines.common.pictures.attention_sheet import Attended, draw_attention_sheet, highlighted


def test_a_photo_is_bright_where_the_weight_is():
    photo = np.full([40, 60, 3], 200, np.uint8)
    weights = np.array([[0.0, 0.0], [0.0, 0.8]])
    found = highlighted(photo, weights)
    assert found.shape == photo.shape and found.dtype == np.uint8
    assert (found[-1, -1] == 200).all() and (found[0, 0] <= 58).all()
    assert (np.diff(found[:, -1, 0].astype(int)) >= 0).all()  # smooth, and brighter downwards
    even = highlighted(photo, np.full([2, 2], 0.25))
    assert (even == 200).all()
    assert (highlighted(photo, np.zeros([2, 2])) == 50).all()


def test_of_a_cropped_photo_only_the_middle_can_be_bright():
    photo = np.full([40, 60, 3], 200, np.uint8)
    found = highlighted(photo, np.ones([3, 3]), crop=True)
    assert (found[:, 10:50] == 200).all() and (found[:, :10] == 50).all() and (found[:, 50:] == 50).all()


def test_every_word_has_a_photo(tmp_path):
    Image.new("RGB", (30, 20), "white").save(tmp_path / "a.png")
    sizes = []
    for count in (1, 6, 9):
        item = Attended(str(tmp_path / "a.png"), "a $ b", ["word"] * count, np.full([count, 2, 2], 0.25))
        draw_attention_sheet([item, item], tmp_path / "sheet.png", title="two")
        with Image.open(tmp_path / "sheet.png") as sheet:
            sizes.append(sheet.size)
    assert sizes[0][0] < sizes[1][0] == sizes[2][0] and sizes[0][1] == sizes[1][1] < sizes[2][1]
    nothing = Attended(str(tmp_path / "a.png"), "", [], np.zeros([0, 2, 2]))
    draw_attention_sheet([nothing], tmp_path / "sheet.png", title="one")
    with pytest.raises(ValueError, match="2 words do not fit"):
        draw_attention_sheet(
            [Attended("a.png", "a b", ["a", "b"], np.zeros([1, 2, 2]))], tmp_path / "other.png", title="one"
        )
    assert not (tmp_path / "other.png").exists()

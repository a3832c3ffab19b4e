import numpy as np
from PIL import Image

from pipelines.common.pictures.contact_sheet import draw_contact_sheet, lines_of, thumbnail


def save(path, image, **options):
    image.save(path, **options)
    return path


def test_thumbnails_are_upright_small_and_on_white(tmp_path):
    tall = np.zeros([40, 20, 3], np.uint8)
    tall[:20] = 255  # white above black
    turned = Image.Exif()
    turned[0x0112] = 6  # stored on its side: to be turned by 90 degrees clockwise
    found = thumbnail(save(tmp_path / "a.png", Image.fromarray(np.rot90(tall)), exif=turned))
    np.testing.assert_array_equal(found, tall)
    large = thumbnail(save(tmp_path / "b.jpg", Image.new("RGB", (4000, 1000), "red")), side=100)
    assert large.shape == (25, 100, 3)
    clear = thumbnail(save(tmp_path / "c.png", Image.new("RGBA", (4, 4), (0, 0, 0, 0))))
    assert (clear == 255).all()
    deep = Image.fromarray(np.full([4, 4], 0x8000, np.uint16))
    assert (thumbnail(save(tmp_path / "d.png", deep)) == 0x80).all()


def test_lines_are_wrapped_and_cut():
    lines = lines_of("word " * 60, ["one", "two", "three", "four"])
    assert len(lines) == 4 + 3 and lines[3][0].endswith("…") and lines[-1][0] == "· three"
    assert lines_of("", [])[0][0] == "(nothing)"


def test_every_row_is_drawn(tmp_path):
    file = save(tmp_path / "a.png", Image.new("RGB", (8, 8), "blue"))
    cell = (file, "a blue square that goes on for more than one line", ["one"])
    sizes = []
    for rows in ({"best": [cell]}, {"best": [cell] * 7}, {"best": [cell] * 6, "worst": [cell] * 2}):
        draw_contact_sheet(rows, tmp_path / "sheet.png", title="$a$ & b")
        with Image.open(tmp_path / "sheet.png") as sheet:
            sizes.append(sheet.size)
            colours = sheet.convert("RGB").getcolors(1 << 20)
        assert any(colour == (0, 0, 255) for _, colour in colours)
    assert sizes[0][0] < sizes[1][0] == sizes[2][0] and sizes[0][1] < sizes[1][1] == sizes[2][1]

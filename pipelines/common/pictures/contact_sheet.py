"""Contact sheets: images in rows, each with its caption and references."""

import textwrap

import numpy as np
from PIL import Image, ImageOps

from pipelines.common.pictures.drawing import INK, picture

ACROSS = 6  # images in a row
SIDE, GAP, LEFT, TOP = 1.9, 0.25, 0.3, 0.6  # inches: an image, between two, left and top margins
HEAD, LINE = 0.35, 0.155  # inches: the name of a row, a line of text
CHARACTERS = 27  # of a line of text
MAX_LINES, MAX_REFERENCES = 4, 3
GREY = "#666666"


def draw_contact_sheet(rows: dict, png, title: str):
    """Draws images with their captions.

    Args:
        rows: name of a row -> list of (image file, caption, list of references). A long row is broken, and only the
            first few references are shown.
    """
    cells = [(name, items[start : start + ACROSS]) for name, items in rows.items() for start in starts(items)]
    texts = [[lines_of(caption, references) for _, caption, references in items] for _, items in cells]
    heights = [HEAD + SIDE + 0.1 + LINE * max(map(len, lines)) + 0.15 for lines in texts]
    across = max([2, *(len(items) for _, items in cells)])
    width, height = 2 * LEFT + across * SIDE + (across - 1) * GAP, TOP + sum(heights) + 0.1
    with picture(png, width, height) as figure:
        figure.text(LEFT / width, 1 - 0.32 / height, title, fontsize=13, fontweight="bold", va="center")
        top = height - TOP
        for (name, items), lines, row_height in zip(cells, texts, heights, strict=True):
            figure.text(LEFT / width, (top - 0.15) / height, name, fontsize=11, va="center", color=INK)
            for place, (file, _, _) in enumerate(items):
                x, y = LEFT + place * (SIDE + GAP), top - HEAD - SIDE
                axes = figure.add_axes((x / width, y / height, SIDE / width, SIDE / height))
                axes.imshow(thumbnail(file), interpolation="nearest")
                axes.axis("off")
                for number, (text, colour) in enumerate(lines[place]):
                    at = (y - 0.13 - number * LINE) / height
                    figure.text(x / width, at, text, fontsize=8.5, va="center", color=colour)
            top -= row_height


def starts(items) -> range:
    return range(0, len(items), ACROSS)


def lines_of(caption: str, references) -> list[tuple[str, str]]:
    """Returns (text, colour) of the lines below an image: the caption, then some of its references."""
    lines = [(line, INK) for line in wrapped(caption or "(nothing)")]
    for reference in references[:MAX_REFERENCES]:
        lines += [(line, GREY) for line in wrapped(f"· {reference}")]
    return lines


def wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, CHARACTERS, max_lines=MAX_LINES, placeholder=" …")


def thumbnail(file, side: int = 320) -> np.ndarray:
    """Returns an image file as uint8[height, width, 3]: upright, on white, with no side longer than `side`."""
    with Image.open(file) as stored:
        stored.draft("RGB", (2 * side, 2 * side))  # a large JPEG is decoded smaller
        image = ImageOps.exif_transpose(stored)
        if image.mode.startswith("I"):  # 16 bits
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        rgba = image.convert("RGBA")
    ground = Image.new("RGBA", rgba.size, "white")
    ground.alpha_composite(rgba)
    found = ground.convert("RGB")
    found.thumbnail((side, side))
    return np.asarray(found)

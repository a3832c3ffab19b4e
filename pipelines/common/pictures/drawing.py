"""What pictures are drawn with: the style and the file, the width of words, boxes of units, arrows, colour keys.

Colours are those of Okabe and Ito, or scales between two of them, which people with colour-blindness tell apart.
"""

import warnings
from contextlib import contextmanager

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from pipelines.common.files import atomic_write

INK, FAINT = "#222222", "#d5d5d5"
PALETTE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C00", "#000000"]
BLUE, ORANGE = "#0072B2", "#D55E00"
DIVERGING = LinearSegmentedColormap.from_list("orange_blue", [ORANGE, "#F6B48F", "#F7F7F7", "#8FC1E3", BLUE])
DPI = 120

# DejaVu Sans comes with matplotlib and holds Latin, Greek, Cyrillic, Arabic and more; these add others where installed.
OTHER_SCRIPTS = [
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Noto Sans SC", "Noto Sans KR", "Noto Sans Devanagari",
    "Noto Sans Thai", "Noto Sans Bengali", "Noto Sans Tamil", "Hiragino Sans", "Microsoft YaHei", "WenQuanYi Zen Hei",
]  # fmt: skip


@contextmanager
def styled():
    """Fonts and colours of all pictures. A character that no installed font holds becomes a box, without a warning."""
    installed = set(font_manager.get_font_names())
    style: dict = {
        "font.family": ["DejaVu Sans", *(name for name in OTHER_SCRIPTS if name in installed)],
        "font.size": 10,
        "text.color": INK,
        "text.parse_math": False,  # a dollar sign in a review is a dollar sign
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


@contextmanager
def picture(png, width: float, height: float):
    """A figure of width x height inches that is written to `png` when the block ends."""
    with styled():
        figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
        yield figure
        with atomic_write(png, "wb") as file:
            figure.savefig(file, format="png")


def word_widths(words):
    """float[words]: the inches each word takes at 10 points, margins included, measured with the font that draws it."""
    with styled():
        renderer = FigureCanvasAgg(Figure(dpi=DPI)).get_renderer()
        font = font_manager.FontProperties(size=10)
        pixels = [renderer.get_text_width_height_descent(word, font, ismath=False)[0] for word in words]
    return np.maximum(np.array(pixels) / DPI + 0.16, 0.34)


def wrap(widths, most: float) -> list[slice]:
    """Cuts a line of items into rows no wider than `most` (an item that is wider has a row of its own)."""
    starts, used = [0], 0.0
    for index, width in enumerate(widths):
        if used and used + width > most:
            starts.append(index)
            used = 0.0
        used += width
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], len(widths)], strict=True)]


def shorten(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def pale(colour, strength: float = 0.45):
    """The colour mixed with white, so that dark letters stay legible on it."""
    return tuple(1 - strength * (1 - part) for part in to_rgb(colour))


def draw_cells(axes, corner, size, values, names=None, across=None):
    """A box, `corner` its lower left, with a cell for each of float[units], `across` of them in a row (None: all)."""
    across = across or len(values)
    down = -(-len(values) // across)
    cell = size[0] / across, size[1] / down
    for index, value in enumerate(values):
        x, y = corner[0] + index % across * cell[0], corner[1] + (down - 1 - index // across) * cell[1]
        colour = DIVERGING((float(value) + 1) / 2)
        axes.add_patch(Rectangle((x, y), *cell, facecolor=colour, edgecolor="white", linewidth=1))
        if names is not None and len(names) == len(values) <= 12:
            ink = "white" if abs(value) > 0.7 else INK
            axes.text(x + cell[0] / 2, y + cell[1] / 2, names[index], ha="center", va="center", fontsize=10, color=ink)
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=INK, linewidth=1.2))


def draw_bars(axes, corner, size, probabilities, names=None):
    """A bar for each of float[out], as high as its probability, the likeliest one darker; names stand in the foot."""
    foot = 0.2 if names is not None and len(names) == len(probabilities) <= 12 else 0.0
    step = size[0] / len(probabilities)
    for index, value in enumerate(probabilities):
        x = corner[0] + index * step
        colour = BLUE if index == int(np.argmax(probabilities)) else "#9EC9E8"
        bar = Rectangle(
            (x + 0.12 * step, corner[1] + foot), 0.76 * step, float(value) * (size[1] - foot - 0.05), color=colour
        )
        axes.add_patch(bar)
        if foot:
            axes.text(x + step / 2, corner[1] + foot / 2, names[index], ha="center", va="center", fontsize=10)
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=INK, linewidth=1.2))


def draw_arrow(axes, start, end, label):
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=13, color=INK, linewidth=1.2, shrinkA=0, shrinkB=0)
    )
    middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    if start[1] == end[1]:
        axes.text(middle[0], middle[1] + 0.08, label, ha="center", va="bottom", fontsize=9.5)
    else:
        axes.text(middle[0] + 0.08, middle[1], label, ha="left", va="center", fontsize=9.5)


def colour_key(axes, colours, low: float, high: float, texts: tuple[str, str]):
    """A small scale across `axes`, with what its two ends mean beside it."""
    axes.figure.colorbar(ScalarMappable(Normalize(low, high), colours), cax=axes, orientation="horizontal", ticks=[])
    for x, text, side in ((-0.05, texts[0], "right"), (1.05, texts[1], "left")):
        axes.text(x, 0.5, text, transform=axes.transAxes, ha=side, va="center", fontsize=9)

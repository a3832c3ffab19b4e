"""Functions that all pictures share: style, file, width of words, colours and colour keys.

The colours are those of Okabe and Ito, or scales between two of them, which people with colour blindness can tell
apart.
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

from pipelines.common.files import atomic_write

INK, FAINT = "#222222", "#d5d5d5"
PALETTE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C00", "#000000"]
BLUE, ORANGE = "#0072B2", "#D55E00"
DIVERGING = LinearSegmentedColormap.from_list("orange_blue", [ORANGE, "#F6B48F", "#F7F7F7", "#8FC1E3", BLUE])
DPI = 120

# DejaVu Sans comes with matplotlib and has Latin, Greek, Cyrillic, Arabic and more. These add others if installed.
OTHER_SCRIPTS = [
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Noto Sans SC", "Noto Sans KR", "Noto Sans Devanagari",
    "Noto Sans Thai", "Noto Sans Bengali", "Noto Sans Tamil", "Hiragino Sans", "Microsoft YaHei", "WenQuanYi Zen Hei",
]  # fmt: skip


@contextmanager
def styled():
    """Sets the fonts and colours of all pictures. A character without a glyph becomes a box, without a warning."""
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
    """Yields a figure of width x height inches, which is written to `png` when the block ends."""
    with styled():
        figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
        yield figure
        with atomic_write(png, "wb") as file:
            figure.savefig(file, format="png")


def word_widths(words):
    """Returns float[words], the width of each word in inches at 10 points, with margins, in the font that draws it."""
    with styled():
        renderer = FigureCanvasAgg(Figure(dpi=DPI)).get_renderer()
        font = font_manager.FontProperties(size=10)
        pixels = [renderer.get_text_width_height_descent(word, font, ismath=False)[0] for word in words]
    return np.maximum(np.array(pixels) / DPI + 0.16, 0.34)


def wrap(widths, max_width: float) -> list[slice]:
    """Breaks a line of items into rows that are not wider than `max_width`; a wider item has a row of its own."""
    starts, used = [0], 0.0
    for index, width in enumerate(widths):
        if used and used + width > max_width:
            starts.append(index)
            used = 0.0
        used += width
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], len(widths)], strict=True)]


def shorten(text: str, max_length: int) -> str:
    return text if len(text) <= max_length else text[: max_length - 1] + "…"


def pale(colour, strength: float = 0.45):
    """Returns the colour mixed with white, so that dark letters on it can be read."""
    return tuple(1 - strength * (1 - part) for part in to_rgb(colour))


def colour_key(axes, colours, low: float, high: float, texts: tuple[str, str]):
    """Draws a small colour scale that fills `axes`, with the meaning of its two ends beside it."""
    axes.figure.colorbar(ScalarMappable(Normalize(low, high), colours), cax=axes, orientation="horizontal", ticks=[])
    for x, text, side in ((-0.05, texts[0], "right"), (1.05, texts[1], "left")):
        axes.text(x, 0.5, text, transform=axes.transAxes, ha=side, va="center", fontsize=9)

"""Charts of several lines in panels side by side. The lines differ in colour, marker and dashes, so that they can be
told apart without colour."""

import math
from contextlib import contextmanager

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from pipelines.common.pictures.drawing import BLUE, FAINT, INK, PALETTE, picture

MARKERS = "os^DvPX*"
DASHES = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (3, 1)), (0, (1, 2))]
MARKS = 8  # markers on a line of many points
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
WHITE_TO_BLUE = LinearSegmentedColormap.from_list("white_blue", ["#F7F7F7", "#8FC1E3", BLUE])


@contextmanager
def panels(png, titles, *, across: int | None = None, width: float = 4.2, height: float = 3.2):
    """Yields a list of axes, one for each title, and writes them to `png` when the block ends.

    Args:
        png: the file.
        titles: list of strings.
        across: panels in a row; None: all in one row.
        width, height: inches of a panel.
    """
    across = across or len(titles)
    down = -(-len(titles) // across)
    with picture(png, width * across, height * down) as figure:
        axes = [figure.add_subplot(down, across, 1 + number) for number in range(len(titles))]
        for panel, title in zip(axes, titles, strict=True):
            panel.set_title(title, fontsize=11, loc="left")
            panel.grid(axis="y", color=FAINT, linewidth=0.6)
            panel.set_axisbelow(True)
        yield axes
        figure.tight_layout(pad=1.2)


def draw_line(axes, x, y, number: int, label: str | None = None, **style):
    """Draws a line in the colour, marker and dashes of the given number. `style`: arguments of `axes.plot` instead."""
    x, y = np.asarray(x), np.asarray(y)
    step = max(1, len(x) // MARKS)
    first = step * number // len(MARKERS) % step  # lines that lie on one another have their markers side by side
    own: dict = {
        "color": PALETTE[number % len(PALETTE)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": DASHES[number % len(DASHES)],
        "markersize": 4.5,
        "linewidth": 1.6,
        "markevery": (first, step),
    }
    axes.plot(x, y, label=label, **{**own, **style})


def logarithmic(*every_axis):
    """Makes the given axes (`axes.xaxis`, `axes.yaxis`) logarithmic. Their labels need no mathematical typesetting."""
    for axis in every_axis:

        def between(value, _, axis=axis):  # 2 and 5 are labelled where there are few powers of ten
            low, high = axis.get_view_interval()
            return written(value) if high < 50 * low and first_digit(value) in (2, 5) else ""

        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        axis.set_major_formatter(lambda value, _: written(value))
        axis.set_minor_formatter(between)


def written(value: float) -> str:
    """Returns 0.05 for 0.05, and 10⁻³ or 2·10⁻³ for smaller and larger numbers."""
    if 0.0099 < value < 999:
        return f"{value:g}"
    power = math.floor(math.log10(value) + 1e-9)
    digit = "" if first_digit(value) == 1 else f"{first_digit(value)}·"
    return f"{digit}10" + str(power).translate(SUPERSCRIPTS)


def first_digit(value: float) -> int:
    return round(value / 10 ** math.floor(math.log10(value) + 1e-9))


def draw_grid(axes, values, rows, columns, write, names: tuple[str, str]):
    """Draws float[rows, columns] as a grid of cells that are coloured from white (lowest) to blue, with the values.

    Args:
        values: NaN leaves a cell empty.
        rows, columns: lists of strings, the labels of the two axes.
        write: write(value) returns the text in a cell.
        names: those of the vertical and of the horizontal axis.
    """
    values = np.asarray(values, float)
    axes.grid(False)
    axes.imshow(values, cmap=WHITE_TO_BLUE, aspect="auto")
    low, high = np.nanmin(values), np.nanmax(values)
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            dark = value - low > 0.6 * (high - low)
            text = {"ha": "center", "va": "center", "fontsize": 9, "color": "white" if dark else INK}
            axes.text(column, row, write(value), **text)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(ylabel=names[0], xlabel=names[1])

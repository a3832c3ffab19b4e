"""A text in reading order with a network's answer and activations under every word: the layout and the drawing."""

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from pipelines.common.pictures.drawing import (
    BLUE,
    DIVERGING,
    FAINT,
    INK,
    ORANGE,
    PALETTE,
    colour_key,
    pale,
    picture,
    shorten,
    word_widths,
    wrap,
)

MOST_UNITS = 6  # units of a layer shown for each gate
STRIPS = {
    "i": "input gate i",
    "f": "forget gate f",
    "g": "candidate g",
    "o": "output gate o",
    "c": "cell state c",
    "h": "hidden state h",
}
SIGNED = ("g", "c", "h")  # about zero; the gates are from 0, closed, to 1, open


def most_varied(activations):
    """int[at most MOST_UNITS]: the units of the largest standard deviation in float[time, units], in their order."""
    return np.sort(np.argsort(-activations.std(axis=0), kind="stable")[:MOST_UNITS])


class TextInRows:
    """Lays a text out in rows, each word with its probability below it and the strips of units below that.

    Args:
        words: list of strings [time]. probability: float[time, classes]. class_names: list of strings [classes].
        strips: dict of float[time, units] by letter, a key of STRIPS.

    All measures are inches, from the top left corner of the picture.
    """

    LEFT, ROW, TOP, FOOT = 1.45, 11.5, 0.95, 0.45
    WORD, LINE, STRIP, GAP, BETWEEN = 0.3, 0.85, 0.36, 0.07, 0.42

    def __init__(self, words, probability, class_names, strips):
        self.words, self.probability, self.strips = words, probability, strips
        self.names = [shorten(name, 14) for name in class_names]
        self.block = self.WORD + self.LINE + self.GAP + len(strips) * (self.STRIP + self.GAP)
        # Of many classes those that were ever likely; the rest would be lines along the bottom.
        self.lines = np.sort(np.argsort(-probability.max(axis=0), kind="stable")[:6])

    def draw(
        self, title: str, png, explanation: str = "Under each word: the answer to the text up to and including it."
    ):
        widths = word_widths(self.words)
        widths *= max(1.0, 5.6 / sum(widths))  # a few words alone are spread out
        rows = wrap(widths, self.ROW)
        self.width = self.LEFT + max(sum(widths[row]) for row in rows) + 0.35
        self.width = max(
            self.width, 8.6, 0 if len(self.names) == 2 else 4.0 + 1.5 * len(self.lines)
        )  # for the headings
        foot = self.FOOT if self.strips else 0.1
        self.height = self.TOP + len(rows) * (self.block + self.BETWEEN) + foot
        with picture(png, self.width, self.height) as figure:
            self.figure = figure
            figure.text(0.2 / self.width, 1 - 0.32 / self.height, title, fontsize=14, fontweight="bold")
            if self.strips:
                explanation += f" Below: the {self.units()} units whose state varies most, a line each."
            figure.text(0.2 / self.width, 1 - 0.6 / self.height, explanation, fontsize=9.5)
            for index, row in enumerate(rows):
                self.draw_row(row, widths[row], self.TOP + index * (self.block + self.BETWEEN))
            if self.strips:
                self.draw_scales()

    def units(self) -> int:
        return max(strip.shape[1] for strip in self.strips.values())

    def axes(self, left, top, width, height):
        bounds = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(bounds)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        return axes

    def draw_row(self, row: slice, widths, top: float):
        edges = np.concatenate([[0.0], np.cumsum(widths)])
        centres, end = (edges[1:] + edges[:-1]) / 2, edges[-1]
        axes = self.axes(self.LEFT, top, end, self.WORD)
        axes.set(xlim=(0, end), ylim=(0, 1), xticks=[], yticks=[])
        for index, word in enumerate(self.words[row]):
            colour = self.tint(self.probability[row][index])
            axes.add_patch(
                Rectangle((edges[index] + 0.01, 0.04), widths[index] - 0.02, 0.92, color=colour, linewidth=0)
            )
            axes.text(centres[index], 0.47, word, ha="center", va="center_baseline", fontsize=10)
        self.draw_probability(self.axes(self.LEFT, top + self.WORD, end, self.LINE), row, centres, end)
        top += self.WORD + self.LINE + self.GAP
        for name, strip in self.strips.items():
            axes = self.axes(self.LEFT, top, end, self.STRIP)
            axes.pcolormesh(edges, np.arange(strip.shape[1] + 1), strip[row].T, cmap=scale(name), norm=self.norm(name))
            axes.set(xlim=(0, end), xticks=[], yticks=[strip.shape[1] / 2], yticklabels=[STRIPS[name]])
            top += self.STRIP + self.GAP

    def draw_probability(self, axes, row: slice, centres, end: float):
        before = self.probability[max(row.start - 1, 0)]  # a row begins where the one above it ended
        x = np.concatenate([[0.0 if row.start else centres[0]], centres])
        values = np.concatenate([before[None], self.probability[row]])  # [words + 1, classes]
        axes.set(xlim=(0, end), ylim=(-0.06, 1.06), xticks=[], yticks=[0, 0.5, 1])
        axes.hlines([0, 0.5, 1], 0, end, color=FAINT, linewidth=0.6, zorder=0)
        if len(self.names) == 2:
            y = values[:, 1]
            axes.set_yticklabels([self.names[0], "", self.names[1]])
            for side, colour in ((y >= 0.5, BLUE), (y <= 0.5, ORANGE)):
                axes.fill_between(x, 0.5, y, where=side, interpolate=True, color=colour, alpha=0.25, linewidth=0)
            axes.plot(x, y, color=INK, linewidth=1.4, marker="o", markersize=2.5, markevery=slice(1, None))
            return
        for order, label in enumerate(self.lines):
            axes.plot(x, values[:, label], color=PALETTE[order], linewidth=1.5, label=self.names[label])
        if row.start == 0:
            bounds = ((self.width - 0.2) / self.width, 1 - 0.45 / self.height)
            self.figure.legend(*axes.get_legend_handles_labels(), loc="lower right", bbox_to_anchor=bounds,
                               ncols=len(self.lines), frameon=False, fontsize=9)  # fmt: skip

    def tint(self, probability):
        """The colour behind a word: between the two classes, or the likeliest of several, as sure as it is."""
        if len(self.names) == 2:
            return pale(DIVERGING(float(probability[1])))
        top = int(probability.argmax())
        colour = PALETTE[list(self.lines).index(top)] if top in self.lines else FAINT
        return pale(colour, 0.6 * float(probability[top]))

    def norm(self, name):
        if name not in SIGNED:
            return Normalize(0, 1)
        reach = 1.0 if name != "c" else max(float(np.abs(self.strips[name]).max()), 1e-6)  # g and h come from a tanh
        return Normalize(-reach, reach)

    def draw_scales(self):
        """What the colours of the strips mean, side by side at the foot."""
        reach = self.norm("c").vmax if "c" in self.strips else 0
        keys = {
            "gates": ("closed 0", "1 open"),
            "g": ("candidate −1", "+1"),
            "c": (f"cell state −{reach:.1f}", f"+{reach:.1f}"),
            "h": ("hidden state −1", "+1"),
        }
        present = {name if name in SIGNED else "gates" for name in self.strips}
        for position, key in enumerate(name for name in keys if name in present):
            axes = self.axes(1.35 + 2.6 * position, self.height - 0.42, 1.0, 0.14)
            norm = self.norm(key)
            colour_key(axes, scale(key), norm.vmin, norm.vmax, keys[key])


def scale(name):
    """The colour scale of a gate: from closed to open, or about zero for values of both signs."""
    return DIVERGING if name in SIGNED else "cividis"

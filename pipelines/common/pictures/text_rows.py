"""Pictures of a text in reading order, with the probabilities, attention and gates of a network below every word."""

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

MAX_WORDS = 400  # image viewers cannot open a much taller picture
MAX_SOURCE_WORDS = 60
MAX_UNITS = 6  # units of a layer shown for each gate
STRIPS = {
    "i": "input gate i",
    "f": "forget gate f",
    "g": "candidate g",
    "o": "output gate o",
    "c": "cell state c",
    "h": "hidden state h",
}
SIGNED = ("g", "c", "h")  # of both signs; the gates are from 0, closed, to 1, open


def draw_classified_text(words, probability, class_names, gates, png, attention=None):
    """Draws a text with the probabilities of the classes after each word.

    Args:
        words: list of strings [time].
        probability: float[time, classes], of the text up to and including each word.
        class_names: list of strings [classes].
        gates: dict of float[time, units] by letter: an LSTM's i, f, g, o, c or a vanilla RNN's h, all or some, in any
            order. The units whose state varies most over the text are shown. May be empty.
        png: The file. Only the first MAX_WORDS words are drawn; the title says so if there are more.
        attention: float[time], the weights of the words in attention pooling, or None.
    """
    probability = np.asarray(probability)
    time = len(words)
    shapes = {name: np.shape(gate) for name, gate in gates.items()}
    fits = probability.shape == (time, len(class_names)) and len(set(shapes.values())) <= 1
    fits = fits and (attention is None or np.shape(attention) == (time,))
    if time and not (fits and all(shape[0] == time for shape in shapes.values())):
        raise ValueError(
            f"{time} words and {len(class_names)} classes do not fit probability {probability.shape}, gates {shapes},"
            f" attention {np.shape(attention)}"
        )
    if not time:
        with picture(png, 5, 1) as figure:
            figure.text(0.5, 0.5, "the text has no words", ha="center", va="center", fontsize=12)
        return
    title = f"{class_names[int(probability[-1].argmax())]}, {probability[-1].max():.1%}"
    if time > MAX_WORDS:
        title += f" (the first {MAX_WORDS} of {time:,} words are drawn)"
    shown = slice(0, MAX_WORDS)
    words = [shorten(word, 24) for word in words[shown]]
    weights = None if attention is None else np.asarray(attention)[shown]
    TextInRows(words, probability[shown], class_names, strips_of(gates), weights).draw(title, png)


def draw_decoded_text(source, words, probability, gates, png, source_words=(), alignment=None):
    """Draws a text that a decoder predicted, with the probability of each word, the gates and the alignment.

    Args:
        source: The input of the model, one line.
        words: list of strings [time].
        probability: float[time], of each word, given those before it.
        gates, png: See `draw_classified_text`.
        source_words: list of strings [source].
        alignment: float[time, source], the weights of the source words for each word; None without attention. Only the
            first MAX_SOURCE_WORDS are drawn.
    """
    if source_words and np.shape(alignment) != (len(words), len(source_words)):
        raise ValueError(
            f"{len(words)} words and {len(source_words)} source words do not fit alignment {np.shape(alignment)}"
        )
    words, probability = [word.replace("▁", "") or word for word in words[:MAX_WORDS]], np.asarray(probability)
    source_words = [word.replace("▁", "") or word for word in source_words[:MAX_SOURCE_WORDS]]
    if source_words:
        alignment = np.asarray(alignment)[:MAX_WORDS, : len(source_words)]
    if not words:
        with picture(png, 6, 1) as figure:
            figure.text(0.5, 0.5, f"empty output for: {shorten(source, 60)}", ha="center", va="center")
        return
    columns = np.stack([1 - probability, probability], axis=1)[:MAX_WORDS]
    explanation = "Below each word: its probability in the decoder."
    words, source_words = [shorten(word, 24) for word in words], [shorten(word, 18) for word in source_words]
    rows = TextInRows(words, columns, ["0", "1"], strips_of(gates), None, source_words, alignment)
    rows.draw(shorten(source, 66), png, explanation)


def strips_of(gates: dict) -> dict:
    """Returns the first words and some units of float[time, units] by letter: the same units for all gates, so that one
    can be followed from its gates to its state."""
    strips = {name: np.asarray(gates[name])[:MAX_WORDS] for name in STRIPS if name in gates}
    if not strips:
        return strips
    units = most_varied(strips.get("c", next(iter(strips.values()))))
    return {name: strip[:, units] for name, strip in strips.items()}


def most_varied(activations):
    """Returns the numbers of the MAX_UNITS units with the largest standard deviation in float[time, units], sorted."""
    return np.sort(np.argsort(-activations.std(axis=0), kind="stable")[:MAX_UNITS])


def drawn_classes(probability):
    """Returns the numbers of the classes that have a colour, int[classes]: of many classes the six most probable ones,
    as the rest would be lines along the bottom."""
    return np.sort(np.argsort(-probability.max(axis=0), kind="stable")[:6])


def tints(probability) -> list[tuple]:
    """Returns the background of each word, given float[time, classes]: the mixture of the colours of two classes, or
    the colour of the most probable of several classes, paler where its probability is low."""
    if probability.shape[1] == 2:
        return [pale(DIVERGING(float(row[1]))) for row in probability]
    colours = dict(zip(drawn_classes(probability).tolist(), PALETTE, strict=False))
    return [pale(colours.get(int(row.argmax()), FAINT), 0.6 * float(row.max())) for row in probability]


class TextInRows:
    """Draws a text in rows, with the probabilities, the attention and then the strips of units below each word.

    Args:
        words: list of strings [time]. probability: float[time, classes]. class_names: list of strings [classes].
        strips: dict of float[time, units] by letter, a key of STRIPS. attention: float[time] or None.
        source_words: list of strings [source]. alignment: float[time, source]; without source words neither is drawn.

    All lengths are in inches, from the top left corner of the picture.
    """

    LEFT, ROW, TOP, FOOT = 1.45, 11.5, 0.95, 0.45
    WORD, LINE, SOURCE_WORD, STRIP, GAP, BETWEEN = 0.3, 0.85, 0.17, 0.36, 0.07, 0.42

    def __init__(self, words, probability, class_names, strips, attention=None, source_words=(), alignment=None):
        self.words, self.probability, self.strips, self.attention = words, probability, strips, attention
        self.source_words, self.alignment = source_words, alignment
        self.names = [shorten(name, 14) for name in class_names]
        below = len(strips) + (attention is not None)
        self.second_line = ""
        if attention is not None:
            self.second_line = f"Bars: the weight of each word in the whole text, at most {attention.max():.2f}."
        elif source_words:
            self.second_line = "Blue: the weights of the source words in the attention, from 0 to 1."
        self.top = self.TOP + (0.2 if self.second_line else 0)
        self.matrix = len(source_words) * self.SOURCE_WORD
        self.block = self.WORD + self.LINE + self.GAP + below * (self.STRIP + self.GAP)
        self.block += self.matrix + self.GAP if source_words else 0
        self.lines, self.tints = drawn_classes(probability), tints(probability)

    def draw(
        self, title: str, png, explanation: str = "Under each word: the answer to the text up to and including it."
    ):
        widths = word_widths(self.words)
        widths *= max(1.0, 5.6 / sum(widths))  # a few words are spread out
        rows = wrap(widths, self.ROW)
        self.width = self.LEFT + max(sum(widths[row]) for row in rows) + 0.35
        self.width = max(
            self.width, 8.6, 0 if len(self.names) == 2 else 4.0 + 1.5 * len(self.lines)
        )  # for the headings
        foot = self.FOOT if self.strips else 0.1
        self.height = self.top + len(rows) * (self.block + self.BETWEEN) + foot
        with picture(png, self.width, self.height) as figure:
            self.figure = figure
            figure.text(0.2 / self.width, 1 - 0.32 / self.height, title, fontsize=14, fontweight="bold")
            if self.strips:
                explanation += f" Below: the {self.units()} units whose state varies most, a line each."
            figure.text(0.2 / self.width, 1 - 0.6 / self.height, explanation, fontsize=9.5)
            figure.text(0.2 / self.width, 1 - 0.8 / self.height, self.second_line, fontsize=9.5)
            for index, row in enumerate(rows):
                self.draw_row(row, widths[row], self.top + index * (self.block + self.BETWEEN))
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
            colour = self.tints[row][index]
            axes.add_patch(
                Rectangle((edges[index] + 0.01, 0.04), widths[index] - 0.02, 0.92, color=colour, linewidth=0)
            )
            axes.text(centres[index], 0.47, word, ha="center", va="center_baseline", fontsize=10)
        self.draw_probability(self.axes(self.LEFT, top + self.WORD, end, self.LINE), row, centres, end)
        top += self.WORD + self.LINE + self.GAP
        if self.attention is not None:
            self.draw_attention(self.axes(self.LEFT, top, end, self.STRIP), row, edges)
            top += self.STRIP + self.GAP
        if self.source_words:
            axes, count = self.axes(self.LEFT, top, end, self.matrix), len(self.source_words)
            axes.pcolormesh(edges, np.arange(count + 1), self.alignment[row].T, cmap="Blues", norm=Normalize(0, 1))
            axes.set(xlim=(0, end), ylim=(count, 0), xticks=[], yticks=np.arange(count) + 0.5)
            axes.set_yticklabels(self.source_words, fontsize=8)
            top += self.matrix + self.GAP
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

    def draw_attention(self, axes, row: slice, edges):
        """Draws a bar for each word; the highest in the text is as high as the strip."""
        heights = self.attention[row] / max(float(self.attention.max()), 1e-6)
        axes.bar(edges[:-1] + 0.02, heights, np.diff(edges) - 0.04, align="edge", color=INK, alpha=0.6, linewidth=0)
        axes.hlines([0], 0, edges[-1], color=FAINT, linewidth=0.6, zorder=0)
        axes.set(xlim=(0, edges[-1]), ylim=(0, 1.06), xticks=[], yticks=[0.5], yticklabels=["attention"])

    def norm(self, name):
        if name not in SIGNED:
            return Normalize(0, 1)
        reach = 1.0 if name != "c" else max(float(np.abs(self.strips[name]).max()), 1e-6)  # g and h come from a tanh
        return Normalize(-reach, reach)

    def draw_scales(self):
        """Draws the colour keys of the strips side by side at the bottom."""
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
    """Returns the colour scale of a gate (closed to open), or of values of both signs."""
    return DIVERGING if name in SIGNED else "cividis"

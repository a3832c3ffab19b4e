"""Pictures of a run and of a network at work. Each function writes one PNG, atomically, and returns nothing.

Drawn with matplotlib's object interface (no pyplot: no global state, no window).
"""

import csv

import numpy as np

from pipelines.common.pictures.contact_sheet import draw_contact_sheet
from pipelines.common.pictures.drawing import (
    BLUE,
    DIVERGING,
    FAINT,
    INK,
    ORANGE,
    colour_key,
    draw_arrow,
    draw_bars,
    draw_cells,
    picture,
    shorten,
)
from pipelines.common.pictures.text_rows import STRIPS, TextInRows, most_varied

MOST_WORDS = 400  # a picture of more would be taller than image viewers open


def curves(history_csv, png):
    """Draws the columns of a run's history over its epochs: a panel for each quantity, training beside validation.

    Columns are paired by name (`loss` with `val_loss`); `epoch` is the abscissa, `step` and times are left out. Empty
    cells are gaps. A ring marks the best validation value: the least of a loss or perplexity, the greatest of others.
    """
    with open(history_csv, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {name: np.array([number(row[name]) for row in rows]) for name in (rows[0] if rows else {})}
    epochs = columns.pop("epoch", np.arange(1, len(rows) + 1))
    names = [name for name in columns if name != "step" and "seconds" not in name]
    panels = list(dict.fromkeys(name.removeprefix("val_") for name in names))
    across = min(3, max(1, len(panels)))
    down = max(1, -(-len(panels) // across))
    width, height = 4.3 * across, 3.1 * down  # inches, as below: matplotlib's own layout takes as long as the drawing
    with picture(png, width, height) as figure:
        if not panels:
            figure.text(0.5, 0.5, "no epoch has ended yet", ha="center", va="center")
            return
        for position, panel in enumerate(panels):
            left, top = 4.3 * (position % across), 3.1 * (position // across)
            axes = figure.add_axes(((left + 0.75) / width, 1 - (top + 2.5) / height, 3.35 / width, 2.1 / height))
            for name, colour, meaning in ((panel, BLUE, "training"), (f"val_{panel}", ORANGE, "validation")):
                if name in columns:
                    axes.plot(
                        epochs, columns[name], color=colour, marker="o", markersize=3, linewidth=1.6, label=meaning
                    )
            if f"val_{panel}" in columns:
                mark_best(axes, epochs, columns[f"val_{panel}"], panel)
                axes.legend(frameon=False, fontsize=9)
            axes.set_title(panel.replace("_", " "), fontsize=11, loc="left")
            axes.set_xlabel("epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid(axis="y", color=FAINT, linewidth=0.6)


def mark_best(axes, epochs, values, name):
    if np.isnan(values).all():
        return
    lower_is_better = any(word in name for word in ("loss", "perplexity", "error"))
    best = np.nanargmin(values) if lower_is_better else np.nanargmax(values)
    axes.plot(epochs[best], values[best], "o", markersize=10, fillstyle="none", color=ORANGE)
    label = f"best {values[best]:.4g}"
    axes.plot([], [], "o", markersize=8, fillstyle="none", color=ORANGE, linestyle="none", label=label)


def number(cell) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return float("nan")


def confusion_matrix(counts, names, png):
    """Draws int[classes, classes] (row: true class, column: predicted) coloured by the share of the true class."""
    counts = np.asarray(counts)
    if counts.shape != (len(names), len(names)):
        raise ValueError(
            f"counts has the shape {counts.shape}, expected {(len(names), len(names))} for the {len(names)} names"
        )
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [shorten(name, 20) for name in names]
    cell = 1.05 if len(names) <= 8 else 0.62 if len(names) <= 20 else 0.24
    side, longest = cell * len(names), 0.3 + 0.085 * max(len(name) for name in names)
    upright = longest > cell
    left, foot = 0.45 + longest, 0.5 + (longest if upright else 0.3)
    width, height = max(left + side + 1.05, 4.2), foot + side + 0.6
    with picture(png, width, height) as figure:
        axes = figure.add_axes((left / width, foot / height, side / width, side / height))
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(names)), names, rotation=90 if upright else 0)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0, labelsize=10 if cell > 0.5 else 7)
        axes.spines[:].set_visible(False)
        axes.set(xlabel="predicted", ylabel="true")
        right, total = int(np.trace(counts)), int(counts.sum())
        title = f"{right:,} of {total:,} right ({right / max(total, 1):.1%})"
        figure.text(0.2 / width, 1 - 0.35 / height, title, fontsize=12, fontweight="bold")
        for row, column in np.ndindex(counts.shape) if cell > 0.5 else ():
            text = f"{counts[row, column]:,}" + (f"\n{share[row, column]:.1%}" if cell > 1 else "")
            colour = "white" if share[row, column] > 0.55 else INK
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=10 if cell > 1 else 8)
        bar = figure.add_axes(((left + side + 0.2) / width, foot / height, 0.12 / width, side / height))
        figure.colorbar(image, cax=bar, label="share of the true class")


def words_with_probability(words, probability, class_names, gates, png):
    """Draws a text in reading order with what the network thought after each word.

    Args:
        words: list of strings [time].
        probability: float[time, classes], the answer to the text up to and including each word.
        class_names: list of strings [classes].
        gates: dict of float[time, units] by letter: an LSTM's i, f, g, o, c or a vanilla RNN's h, all or some, in any
            order; the units whose state varies most over the text are shown. May be empty.
        png: where to write. The first 400 words are drawn, and the picture says so when there are more.
    """
    probability = np.asarray(probability)
    time = len(words)
    shapes = {name: np.shape(gate) for name, gate in gates.items()}
    fits = probability.shape == (time, len(class_names)) and len(set(shapes.values())) <= 1
    if time and not (fits and all(shape[0] == time for shape in shapes.values())):
        raise ValueError(
            f"{time} words and {len(class_names)} classes do not fit probability {probability.shape} and gates {shapes}"
        )
    if not time:
        with picture(png, 5, 1) as figure:
            figure.text(0.5, 0.5, "the text has no words", ha="center", va="center", fontsize=12)
        return
    title = f"{class_names[int(probability[-1].argmax())]}, {probability[-1].max():.1%}"
    if time > MOST_WORDS:
        title += f" (the first {MOST_WORDS} of {time:,} words are drawn)"
    shown = slice(0, MOST_WORDS)
    words = [shorten(word, 24) for word in words[shown]]
    TextInRows(words, probability[shown], class_names, strips_of(gates)).draw(title, png)


def strips_of(gates: dict) -> dict:
    """What is shown of float[time, units] by letter: the first words, and in every strip the same units, so that one
    can be followed from its gates to its state."""
    strips = {name: np.asarray(gates[name])[:MOST_WORDS] for name in STRIPS if name in gates}
    if not strips:
        return strips
    units = most_varied(strips.get("c", next(iter(strips.values()))))
    return {name: strip[:, units] for name, strip in strips.items()}


def words_written(source, words, probability, gates, png):
    """Draws a text that a decoder wrote, with the probability that it gave each word, and its gates over them.

    Args:
        source: what was translated or described, one line.
        words: list of strings [time].
        probability: float[time], of each word, given those before it.
        gates, png: as in words_with_probability.
    """
    words, probability = [word.replace("▁", "") or word for word in words[:MOST_WORDS]], np.asarray(probability)
    if not words:
        with picture(png, 6, 1) as figure:
            figure.text(0.5, 0.5, f"nothing was written for: {shorten(source, 60)}", ha="center", va="center")
        return
    sure = np.stack([1 - probability, probability], axis=1)[:MOST_WORDS]
    explanation = "Under each word: how probable the decoder found it."
    TextInRows([shorten(word, 24) for word in words], sure, ["0", "1"], strips_of(gates)).draw(
        shorten(source, 66), png, explanation
    )


def sentence_map(states, texts, png):
    """Draws sentences where their states lie in the plane of the two principal components of all of them, as Figure 2
    of Sutskever et al. 2014: sentences of like meaning should lie near each other.

    Args:
        states: float[sentences, units], at least three.
        texts: list of strings [sentences].
    """
    states = np.asarray(states, np.float64)
    if len(states) != len(texts) or len(states) < 3:
        raise ValueError(f"{len(texts)} texts and states of the shape {states.shape}: expected three or more of each")
    centred = states - states.mean(axis=0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    places = left[:, :2] * size[:2]
    share = (size[:2] ** 2).sum() / max((size**2).sum(), 1e-12)
    with picture(png, 11, 7.5) as figure:
        axes = figure.add_axes((0.06, 0.08, 0.9, 0.82))
        axes.scatter(*places.T, color=BLUE, s=28, zorder=3)
        width = np.ptp(places[:, 0]) or 1.0
        for (x, y), text in zip(places, texts, strict=True):
            right = x > places[:, 0].min() + 0.6 * width  # text towards the middle, so that it stays inside
            side = {"ha": "right" if right else "left", "xytext": (-6 if right else 6, 5)}
            axes.annotate(shorten(text, 60), (x, y), textcoords="offset points", fontsize=9, **side)
        axes.margins(0.12)
        axes.set(xlabel="first principal component", ylabel="second principal component")
        axes.set_title(
            f"The encoder's last state of {len(texts)} sentences ({share:.0%} of the variance)", loc="left", fontsize=12
        )


def bars(labels, values, counts, png, title: str, names: tuple[str, str]):
    """Draws a bar for each label, with its value above and the number of cases it stands on below.

    Args:
        labels: list of strings. values: list of floats. counts: list of ints. names: of the two axes.
    """
    with picture(png, max(1.2 + 0.95 * len(labels), 5.5), 3.8) as figure:
        axes = figure.add_subplot()
        places = np.arange(len(labels))
        axes.bar(places, values, color=BLUE, width=0.7)
        for place, value in zip(places, values, strict=True):
            axes.text(place, value, f"{value:.1f}", ha="center", va="bottom", fontsize=10)
        axes.set_xticks(places, [f"{label}\nn = {count:,}" for label, count in zip(labels, counts, strict=True)])
        axes.tick_params(axis="x", length=0)
        axes.set(xlabel=names[0], ylabel=names[1], ylim=(0, max([*values, 1e-9]) * 1.15))
        axes.set_title(title, loc="left", fontsize=12)
        figure.tight_layout(pad=1.2)


def contact_sheet(rows, png, title: str):
    """Draws images with what was said of each.

    Args:
        rows: name of a row -> list of (image file, caption, list of references). A long row is broken, and the first
            few references are shown.
    """
    draw_contact_sheet(rows, png, title)


def unfolded_network(inputs, hidden, outputs, tokens, png, targets=None, names=None):
    """Draws a recurrent network unfolded in time, each unit coloured by its activation.

    Args:
        inputs: float[time, in], x(t). hidden: float[time, units], h(t), from -1 to 1. outputs: float[time, out], y(t),
            probabilities.
        tokens: list of strings [time], what x(t) stands for.
        png: where to write.
        targets: list of strings [time], what y(t) should have been (left out when None).
        names: list of strings [out], what each output stands for (also of the inputs when there are as many).
    """
    inputs, hidden, outputs = (np.asarray(values) for values in (inputs, hidden, outputs))
    time = len(tokens)
    if not time or any(values.ndim != 2 or len(values) != time for values in (inputs, hidden, outputs)):
        shapes = inputs.shape, hidden.shape, outputs.shape
        raise ValueError(f"{time} tokens do not fit inputs, hidden and outputs of the shapes {shapes}")
    column, box, left = 2.35, 1.45, 0.35  # inches: from step to step, the side of h(t), before h(0)
    token, lower, middle, upper = 0.6, 2.0, 2.0 + box / 2, 4.3  # heights of x(t), h(t), its middle, y(t)
    width, height = max(left + time * column + box + 0.35, 9.0), 6.5
    across = round(hidden.shape[1] ** 0.5 + 0.49)
    with picture(png, width, height) as figure:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(0, height))
        axes.axis("off")
        title = "A recurrent network unfolded in time: the same weights at every step"
        axes.text(left, height - 0.4, title, fontsize=14, fontweight="bold", va="center")
        equations = "h(t) = tanh(W_ih x(t) + W_hh h(t−1) + b)        y(t) = softmax(W_ho h(t) + b_o)"
        axes.text(left, height - 0.75, equations, fontsize=11, va="center")
        key = figure.add_axes(((width - 1.95) / width, (height - 0.82) / height, 1.3 / width, 0.14 / height))
        colour_key(key, DIVERGING, -1, 1, ("activation −1", "+1"))
        for step, state in enumerate([np.zeros(hidden.shape[1]), *hidden]):
            x = left + step * column
            draw_cells(axes, (x, lower), (box, box), state, across=across)
            axes.text(x + 0.02, lower - 0.1, f"h({step})" if step else "h(0) = 0", va="top", fontsize=11)
            if step < time:
                draw_arrow(axes, (x + box + 0.03, middle), (x + column - 0.03, middle), "W_hh")
            if not step:
                continue
            centre = x + box / 2
            axes.text(centre, token - 0.25, f"x({step}): {tokens[step - 1]}", ha="center", va="center", fontsize=11)
            draw_cells(axes, (x, token), (box, 0.4), inputs[step - 1], names)
            draw_arrow(axes, (centre, token + 0.43), (centre, lower - 0.03), "W_ih")
            draw_arrow(axes, (centre, lower + box + 0.03), (centre, upper - 0.03), "W_ho")
            draw_bars(axes, (x, upper), (box, 0.85), outputs[step - 1], names)
            wanted = "" if targets is None else f", wanted: {targets[step - 1]}"
            axes.text(centre, upper + 1.05, f"y({step}){wanted}", ha="center", va="center", fontsize=11)

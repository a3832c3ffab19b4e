"""Charts of training and evaluation: curves, confusion matrices, reliability, bars and maps of sentences.

Drawn with the object interface of matplotlib: pyplot has global state and opens windows.
"""

import csv

import numpy as np

from pipelines.common.pictures.drawing import BLUE, FAINT, INK, ORANGE, PALETTE, pale, picture, shorten


def draw_curves(history_csv, png):
    """Draws the history of a run over its epochs: a panel for each quantity, with training and validation.

    Columns are paired by name (`loss` with `val_loss`). `epoch` is the x-axis; `step` and times are left out. Empty
    cells are gaps. A ring marks the best validation value: the minimum of losses, perplexities and errors, the maximum
    of others.
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
    """Draws a ring around the best value, and its legend."""
    if np.isnan(values).all():
        return
    lower_is_better = any(word in name for word in ("loss", "perplexity", "error"))
    best = np.nanargmin(values) if lower_is_better else np.nanargmax(values)
    axes.plot(epochs[best], values[best], "o", markersize=10, fillstyle="none", color=ORANGE)
    label = f"best {values[best]:.4g}"
    axes.plot([], [], "o", markersize=8, fillstyle="none", color=ORANGE, linestyle="none", label=label)


def number(cell) -> float:
    """Returns the number in a cell of a table, NaN if there is none."""
    try:
        return float(cell)
    except (TypeError, ValueError):
        return float("nan")


def draw_confusion_matrix(counts, names, png):
    """Draws a confusion matrix int[classes, classes], coloured by the share of the true class.

    Rows are true classes, columns predicted ones.
    """
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


def draw_reliability(
    confidence,
    accuracy,
    examples,
    ece: float,
    png,
    names: tuple[str, str] = ("probability of the prediction", "share of right predictions"),
):
    """Draws how often predictions of a confidence are right. Points below the diagonal are over-confident.

    Args:
        confidence, accuracy: float[bins], the means of the bins that have examples.
        examples: int[bins], shown by the size of a point.
        ece: the expected calibration error, shown in the title.
        names: those of the two axes.
    """
    confidence, accuracy, examples = np.asarray(confidence), np.asarray(accuracy), np.asarray(examples)
    if not len(confidence) == len(accuracy) == len(examples) > 0:
        raise ValueError(
            f"{len(confidence)} confidences, {len(accuracy)} accuracies and {len(examples)} counts: expected as many"
            " of each, at least one"
        )
    with picture(png, 4.4, 4.4) as figure:
        axes = figure.add_axes((0.15, 0.13, 0.8, 0.77))
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.2)
        axes.vlines(confidence, accuracy, confidence, color=ORANGE, linewidth=1.2)  # the gaps that the error sums
        axes.scatter(confidence, accuracy, s=20 + 160 * examples / examples.max(), color=BLUE, zorder=3, clip_on=False)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel=names[0], ylabel=names[1])
        axes.set_title(f"{examples.sum():,} predictions, calibration error {ece:.3f}", loc="left", fontsize=12)


def draw_bars(labels, values, counts, png, title: str, names: tuple[str, str]):
    """Draws a bar for each label, with its value above, and below the number of cases that the value is computed from.

    Args:
        labels: list of strings. values: list of floats. counts: list of ints. names: Those of the two axes.
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


def draw_shares(labels, values, whole, png, title: str, name: str, places: int = 1):
    """Draws a horizontal bar for each label: the share of a score that is left, the share that is lost, and the score.

    Args:
        labels: list of strings. values: list of floats, the scores. whole: list of floats, what each of them is a share
            of. name: That of the score. places: Decimal places of the score.
    """
    whole = np.asarray(whole, np.float64)
    shares = 100 * np.divide(values, whole, out=np.zeros(len(labels)), where=whole > 0)
    height, left = 1.15 + 0.38 * len(labels), 0.3 + 0.082 * max(map(len, labels))  # inches
    width = left + 6.3
    with picture(png, width, height) as figure:
        axes = figure.add_axes((left / width, 0.6 / height, 4.6 / width, (height - 1.1) / height))
        places_of_bars = np.arange(len(labels))[::-1]  # the first on top
        axes.barh(places_of_bars, np.maximum(100 - shares, 0), left=shares, color=pale(ORANGE), height=0.7)
        axes.barh(places_of_bars, shares, color=BLUE, height=0.7)
        axes.axvline(100, color=INK, linewidth=0.8)
        for place, value, share, before in zip(places_of_bars, values, shares, whole, strict=True):
            text = f"{value:.{places}f} ({value - before:+.{places}f})".replace("-", "−")
            axes.text(max(share, 100) + 1, place, text, va="center", fontsize=10)
        axes.set_yticks(places_of_bars, labels)
        axes.tick_params(axis="y", length=0)
        axes.set(xlabel=f"{name}, % of that without distortion", xlim=(0, max(100.0, shares.max(initial=0))))
        figure.text(0.15 / width, 1 - 0.3 / height, title, fontsize=12)


def draw_lines(labels, values: dict, png, title: str, names: tuple[str, str]):
    """Draws a line for each of several systems over the same labels.

    Args:
        labels: list of strings. values: dict of list of floats [labels] by the name of the system. names: Those of the
            two axes.
    """
    with picture(png, max(1.2 + 0.95 * len(labels), 5.5), 3.8) as figure:
        axes = figure.add_subplot()
        places = np.arange(len(labels))
        for (name, line), colour in zip(values.items(), PALETTE, strict=False):
            axes.plot(places, line, color=colour, marker="o", markersize=4, linewidth=1.8, label=name)
        axes.set_xticks(places, labels)
        axes.set(xlabel=names[0], ylabel=names[1], ylim=(0, None))
        axes.grid(axis="y", color=FAINT, linewidth=0.6)
        axes.legend(frameon=False, fontsize=9)
        axes.set_title(title, loc="left", fontsize=12)
        figure.tight_layout(pad=1.2)


def draw_sentence_map(states, texts, png):
    """Draws sentences at the first two principal components of their states (Sutskever et al. 2014, Figure 2).

    Sentences of similar meaning should be close to each other.

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

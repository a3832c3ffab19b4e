"""A picture of a recurrent network unfolded in time."""

import numpy as np
from matplotlib.patches import FancyArrowPatch, Rectangle

from pipelines.common.pictures.drawing import BLUE, DIVERGING, INK, colour_key, picture


def draw_unfolded_network(inputs, hidden, outputs, tokens, png, targets=None, names=None):
    """Draws a recurrent network unfolded in time, each unit coloured by its activation.

    Args:
        inputs: float[time, in], x(t). hidden: float[time, units], h(t), from -1 to 1. outputs: float[time, out], y(t),
            probabilities.
        tokens: list of strings [time], the names of x(t).
        png: The file.
        targets: list of strings [time], the targets of y(t), or None.
        names: list of strings [out], the names of the outputs, and of the inputs if there are as many.
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
            draw_probabilities(axes, (x, upper), (box, 0.85), outputs[step - 1], names)
            wanted = "" if targets is None else f", wanted: {targets[step - 1]}"
            axes.text(centre, upper + 1.05, f"y({step}){wanted}", ha="center", va="center", fontsize=11)


def draw_cells(axes, corner, size, values, names=None, across=None):
    """Draws a box with a cell for each of float[units], `across` of them in a row (None: all). `corner`: lower left."""
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


def draw_probabilities(axes, corner, size, probabilities, names=None):
    """Draws a box with a bar for each of float[out]. The most probable one is darker; the names are below the bars."""
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

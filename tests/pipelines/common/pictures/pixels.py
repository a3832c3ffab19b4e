"""Random inputs of pictures, and the size and colours of what was drawn. People judge whether it is beautiful."""

import numpy as np
from matplotlib.image import imread

RANDOM = np.random.default_rng(5)


def size(png):
    height, width, _ = imread(png).shape
    return width, height


def coloured(png, colour, tolerance=0.02):
    """How many pixels of a picture have the colour (red, green, blue, each 0 to 1)."""
    return int((np.abs(imread(png)[..., :3] - colour) < tolerance).all(axis=-1).sum())


def probabilities(time, classes):
    logits = RANDOM.normal(size=(time, classes))
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def gates(time, units=9):
    return {name: RANDOM.uniform(0 if name != "c" else -2, 1, (time, units)) for name in "ifoc"}

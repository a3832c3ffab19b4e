"""Confidence of the label of a frame: its probability after temperature scaling.

    p' = softmax(log p / T)

Guo et al. 2017, "On calibration of modern neural networks". T is fitted to frames that the model was not trained on.
The labels do not change. The confidence of a segment is the mean of its frames.
"""

import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from pipelines.common.confidence import FILE
from pipelines.common.errors import UserError
from pipelines.common.files import read_json, write_json

SMALLEST = 1e-30  # probability
MIN_SCALE = 0.05  # of 1 / T
MAX_ITERATIONS, MIN_CHANGE = 100, 1e-9


def fit(probabilities: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> float:
    """Returns the T = 1 / s that minimizes, with z = log p,

        J(s) = sum over frames of -log softmax(s z)[label]  +  (s - 1)^2 / 2

    by Newton's method, with dJ/ds = sum (E z - z[label]) + s - 1 and d2J/ds2 = sum Var z + 1.

    Args:
        probabilities: float[frames, classes] of each video.
        labels: int[frames] of each video.
    """
    z = np.log(np.maximum(np.concatenate(probabilities).astype(np.float64), SMALLEST))
    true = z[np.arange(len(z)), np.concatenate(labels)]
    scale = 1.0
    for _ in range(MAX_ITERATIONS):
        p = np.exp(scale * z)
        p /= p.sum(axis=1, keepdims=True)
        mean = (p * z).sum(axis=1)
        slope = np.sum(mean - true) + scale - 1
        curvature = np.sum((p * z**2).sum(axis=1) - mean**2) + 1
        before, scale = scale, max(scale - slope / curvature, MIN_SCALE)
        if abs(scale - before) <= MIN_CHANGE:
            break
    return 1 / scale


def confidence_of(probabilities, temperature: float):
    """Returns the confidence float[...] of the most probable label, of probabilities float[..., classes]."""
    logits = tf.math.log(tf.maximum(probabilities, SMALLEST)) / temperature
    return tf.reduce_max(tf.nn.softmax(logits), axis=-1)


def save(run: pathlib.Path, temperature: float, frames: int):
    """Writes the file into the folder of a run."""
    write_json(run / FILE, {"temperature": temperature, "fitted": {"part": "validation", "frames": frames}})


def load(run: pathlib.Path) -> float | None:
    """Returns the temperature of the run in a folder; None if it has none. Raises UserError for a damaged file."""
    path = run / FILE
    if not path.is_file():
        return None
    stored = read_json(path)
    temperature = stored.get("temperature") if isinstance(stored, dict) else None
    if not isinstance(temperature, (int, float)) or not 0 < temperature < 1e6:
        raise UserError(
            f"{path} is not the confidence of a run: expected temperature, a positive number; delete it, and evaluate"
            " fits it"
        )
    return float(temperature)


def average(temperatures: Sequence[float | None]) -> float | None:
    """Returns the temperature of the mean of the probabilities of several models; None if one has none."""
    found = [temperature for temperature in temperatures if temperature is not None]
    return sum(found) / len(found) if len(found) == len(temperatures) else None

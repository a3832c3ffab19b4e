"""Reliability of confidences: of the answers with a confidence of 70 %, seven in ten should reach the bar."""

import pathlib
from collections.abc import Callable

import numpy as np

from pipelines.common.pictures.charts import draw_reliability

BINS = 15  # as in Guo et al. 2017


def reliability(confidence: np.ndarray, reached: np.ndarray) -> dict:
    """Returns how often answers of a confidence reach the bar, and the expected calibration error, as JSON values.

        ECE = sum over bins of (examples of the bin / all examples) * |share that reached - mean confidence|

    The bins divide 0 to 1 evenly (Guo et al. 2017, "On calibration of modern neural networks", equation 3).

    Args:
        confidence: float[examples], at least one example.
        reached: bool[examples].

    Returns:
        ece, and reliability: {confidence, accuracy, examples}, lists over the bins that have examples.
    """
    number = np.minimum((confidence * BINS).astype(int), BINS - 1)
    examples = np.bincount(number, minlength=BINS)
    used = examples > 0
    mean = np.bincount(number, confidence, BINS)[used] / examples[used]
    accuracy = np.bincount(number, reached, BINS)[used] / examples[used]
    return {
        "ece": float(examples[used] @ np.abs(accuracy - mean) / len(confidence)),
        "reliability": {
            "confidence": mean.tolist(),
            "accuracy": accuracy.tolist(),
            "examples": examples[used].tolist(),
        },
    }


def report(
    confidence: np.ndarray,
    reached: np.ndarray,
    score: Callable[[np.ndarray], float],
    *,
    bar: str,
    name: str,
    png: pathlib.Path,
    places: int = 1,
    of: str = "",
) -> dict:
    """Prints and draws how reliable confidences are; returns the entry of metrics.json.

    Args:
        confidence: float[examples]; reached: bool[examples].
        score: function of int[rows] that returns the score of these examples.
        bar: what an answer reaches, such as "CIDEr-D of at least 0.5".
        name: of the score.
        png: file of the picture.
        places: decimal places of the score.
        of: what is printed before, such as the name of a run.

    Returns:
        What `reliability` returns; confidence and reached, the means; and the score of the most confident half of the
        examples, and of the other half.
    """
    found = reliability(confidence, reached)
    means = {"confidence": float(confidence.mean()), "reached": float(reached.mean())}
    order = np.argsort(-confidence, kind="stable")
    middle = (len(order) + 1) // 2
    halves = {"confident_half": order[:middle], "other_half": order[middle:]}
    scores = {half: score(rows) if len(rows) else None for half, rows in halves.items()}
    shown = ["-" if value is None else f"{value:.{places}f}" for value in scores.values()]
    print(
        f"{of}confidence: mean {means['confidence']:.1%}, {bar}: {means['reached']:.1%}, ECE {found['ece']:.1%};"
        f" {name} of the most confident half {shown[0]}, of the other half {shown[1]}"
    )
    draw_reliability(**found["reliability"], ece=found["ece"], png=png, names=("confidence", f"share: {bar}"))
    return {**found, **means, **scores}

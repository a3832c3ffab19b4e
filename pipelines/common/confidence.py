"""Confidence: how probable it is that an answer reaches a bar, such as a sentence BLEU of 30.

    p = sigmoid(b + sum over inputs i of w[i] (x[i] - m[i]) / d[i])

The inputs x are what a model knows about its answer, such as the mean log-probability of the tokens; m and d are their
means and standard deviations. It is fitted (logistic regression) to answers on data that the model was not trained on,
and stored in the run as confidence.json. Exports contain it.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.files import read_json, write_json

FILE = "confidence.json"
PRIOR = 1.0  # inverse variance of the weights
MAX_ITERATIONS, MIN_CHANGE = 100, 1e-9


@dataclasses.dataclass(frozen=True)
class Input:
    """An input of the regression: its mean and standard deviation, and its weight."""

    mean: float
    deviation: float
    weight: float


@dataclasses.dataclass(frozen=True)
class Confidence:
    """A fitted regression.

    Attributes:
        inputs: by name.
        bias: b of the equation above.
        bar: what the answer reaches with this probability: name of a score -> its value.
        fitted: to what: JSON values for people.
    """

    inputs: dict[str, Input]
    bias: float
    bar: dict[str, float]
    fitted: dict

    def __call__(self, evidence: Mapping):
        """Returns the probability, float32[batch], in a graph.

        Args:
            evidence: name -> float[batch]; it has all inputs, and may have others.
        """
        total = self.bias
        for name, each in self.inputs.items():
            total += each.weight / each.deviation * (tf.cast(evidence[name], tf.float32) - each.mean)
        return tf.sigmoid(total)

    def save(self, run: pathlib.Path):
        """Writes the file into the folder of a run."""
        write_json(run / FILE, dataclasses.asdict(self))


def load(run: pathlib.Path) -> Confidence | None:
    """Returns the confidence of the run in a folder; None if it has none. Raises UserError for a damaged file."""
    path = run / FILE
    if not path.is_file():
        return None
    stored = read_json(path)
    try:
        inputs = {name: Input(**{k: float(v) for k, v in each.items()}) for name, each in stored["inputs"].items()}
        return Confidence(inputs, float(stored["bias"]), dict(stored["bar"]), dict(stored["fitted"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        expected = "expected inputs (mean, deviation and weight of each), bias, bar and fitted"
        raise UserError(
            f"{path} is not the confidence of a run: {expected}; delete it, and evaluate fits it"
        ) from error


def fit(
    evidence: Mapping[str, np.ndarray],
    reached: np.ndarray,
    *,
    bar: dict[str, float],
    fitted: dict,
    weights: np.ndarray | None = None,
) -> Confidence:
    """Returns the confidence that minimizes

        J = sum_n u_n * -log p_n(reached_n)  +  |w|^2 / 2

    by Newton's method. The second term is a prior: with few examples, or only answers that reach the bar, the weights
    stay small, and b is bounded by counting half an example of each kind.

    Args:
        evidence: inputs by name, float[examples].
        reached: bool[examples], whether the answer reaches the bar.
        bar, fitted: see `Confidence`.
        weights: u, float[examples]; None: all are 1.
    """
    x = np.stack([np.asarray(values, np.float64) for values in evidence.values()], axis=1)
    u = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
    mean = np.average(x, axis=0, weights=u)
    deviation = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=u))
    deviation = np.where(deviation > 1e-6, deviation, 1.0)
    z = np.concatenate([(x - mean) / deviation, np.ones((len(x), 1))], axis=1)
    # Half an example of each kind at the mean of the inputs.
    z = np.concatenate([z, np.eye(z.shape[1])[[-1, -1]]])
    y = np.concatenate([np.asarray(reached, np.float64), [0.0, 1.0]])
    u = np.concatenate([u, [0.5, 0.5]])
    prior = np.diag([PRIOR] * x.shape[1] + [0.0])

    def cost(point):
        return u @ np.logaddexp(0, np.where(y > 0, -1, 1) * (z @ point)) + point @ prior @ point / 2

    point = np.zeros(z.shape[1])
    for _ in range(MAX_ITERATIONS):
        p = 1 / (1 + np.exp(-z @ point))
        gradient = z.T @ (u * (p - y)) + prior @ point
        change = -np.linalg.solve((z.T * (u * p * (1 - p))) @ z + prior, gradient)
        while cost(point + change) > cost(point) and np.abs(change).max() > MIN_CHANGE:
            change /= 2  # the whole change overshoots; a part of it does not
        point = point + change
        if np.abs(change).max() <= MIN_CHANGE:
            break
    columns = zip(evidence, mean.tolist(), deviation.tolist(), point[:-1].tolist(), strict=True)
    inputs = {name: Input(m, d, w) for name, m, d, w in columns}
    return Confidence(inputs, float(point[-1]), bar, fitted)


def report_missing(run: pathlib.Path, task: str):
    """Says on standard error that the export of a run will return no confidence."""
    command = f"python -m pipelines.{task} evaluate --run {run}"
    print(f"{run} has no confidence: {command} fits it, then export again", file=sys.stderr)


def report_fitted(run: pathlib.Path):
    """Says on standard error that evaluation has fitted the confidence of a run."""
    print(f"{run} had no confidence: it was fitted to the validation part; export the run again", file=sys.stderr)


def report_unfitted(run: pathlib.Path, error: UserError):
    """Says on standard error why the confidence of a run could not be fitted."""
    print(f"{run} has no confidence, and it cannot be fitted: {error}", file=sys.stderr)


def average(members: Sequence[Confidence | None]):
    """Returns a function of the evidence that averages the probabilities of several models; None if one has none."""
    found = [member for member in members if member is not None]
    if len(found) < len(members):
        return None
    return lambda evidence: tf.add_n([member(evidence) for member in found]) / len(found)

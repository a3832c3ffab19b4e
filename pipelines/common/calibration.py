"""Calibration: what a classifier calls 90 % should be right nine times in ten.

On examples that it has not trained on, a network is surer than it is right, and where it drops units in training alone
it may lean to one label. Guo et al. 2017, "On calibration of modern neural networks", section 4.2, take a scale (one
over the temperature) or a scale and a bias for each class; here it is one scale, and a bias for each class:

    probabilities = softmax(scale * logits + bias)
"""

import numpy as np

MOST_STEPS = 100  # of Newton's method, which needs some five
SMALLEST_STEP = 1e-9


def fit(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, np.ndarray]:
    """(scale, bias float64[classes]) with the smallest

        sum weight * -log softmax(scale * logits + bias)[label]  +  ((scale - 1)^2 + |bias|^2) / 2

    The second term keeps few examples, or such as are all right, from asking for more than they can tell. Where the
    logits say nothing of the labels, and the best scale would be zero or below, it is (1, zeros).

    Args:
        logits: float[examples, classes].
        labels: int[examples], from 0 to classes - 1.
        weights: float[examples]; None: each counts the same.
    """
    z, w = logits.astype(np.float64), np.ones(len(logits)) if weights is None else weights
    true = np.eye(z.shape[1])[labels]
    start = np.concatenate([[1.0], np.zeros(z.shape[1])])

    def log_softmax(point):
        scores = point[0] * z + point[1:]
        scores -= scores.max(axis=1, keepdims=True)
        return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))

    def cost(point):
        return -w @ (true * log_softmax(point)).sum(axis=1) + np.sum((point - start) ** 2) / 2

    def newton_step(point):
        p = np.exp(log_softmax(point))
        mean = (p * z).sum(axis=1)
        slope = np.concatenate([[w @ (mean - (true * z).sum(axis=1))], w @ (p - true)]) + point - start
        curvature = np.eye(len(start))
        curvature[0, 0] += w @ ((p * z**2).sum(axis=1) - mean**2)
        curvature[0, 1:] += w @ (p * (z - mean[:, None]))
        curvature[1:, 0] = curvature[0, 1:]
        curvature[1:, 1:] += np.diag(w @ p) - (p * w[:, None]).T @ p
        return -np.linalg.solve(curvature, slope)

    point = start
    for _ in range(MOST_STEPS):
        step = newton_step(point)
        # The cost is convex: if the whole step overshoots, a part of it does not.
        while cost(point + step) > cost(point) and np.abs(step).max() > SMALLEST_STEP:
            step /= 2
        if np.abs(step).max() <= SMALLEST_STEP:
            break
        point = point + step
    return (float(point[0]), point[1:]) if point[0] > 0 else (1.0, np.zeros(z.shape[1]))


def fold(scale: float, bias: np.ndarray, kernel: np.ndarray, own_bias: np.ndarray) -> list[np.ndarray]:
    """The weights of a linear map to logits that gives scale * logits + bias from now on.

    Args:
        kernel: float[features, classes].
        own_bias: float[classes].
    """
    return [(scale * kernel).astype(kernel.dtype), (scale * own_bias + bias).astype(own_bias.dtype)]

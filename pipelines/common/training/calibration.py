"""Calibration: of the answers that a classifier gives 90 %, nine in ten should be right.

Temperature scaling with a bias for each class (bias-corrected temperature scaling, Alexandari, Kundaje & Shrikumar
2020, after Guo et al. 2017, "On calibration of modern neural networks"; with two classes it is Platt scaling):

    p = softmax(s * z + b)

with logits z, one scale s (one over the temperature) and biases b, fitted to examples that the training did not see.
"""

import numpy as np

MOST_STEPS = 100  # of Newton's method, which needs some five
SMALLEST_STEP = 1e-9


def fit(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, np.ndarray]:
    """(s, b float64[classes]) with the smallest

        J = sum_n w_n * -log p_n[y_n]  +  ((s - 1)^2 + |b|^2) / 2

    The second term keeps few examples, or examples that are all right, from asking for more than they can tell, and
    sets what the softmax leaves open: the sum of b is zero. J is convex, and Newton's method finds its lowest point by

        dJ/ds = sum w (E_p z - z[y]) + s - 1          d2J/ds2   = sum w Var_p z + 1
        dJ/db = sum w (p - y) + b                     d2J/dsdb  = sum w p (z - E_p z)
                                                      d2J/dbdb' = sum w (diag(p) - p p') + I

    Logits that contradict the labels, so that s would be zero or below, are left as they are: (1, zeros).

    Args:
        logits: float[examples, classes].
        labels: int[examples], from 0 to classes - 1.
        weights: float[examples]; None: each counts the same.
    """
    z, w = logits.astype(np.float64), np.ones(len(logits)) if weights is None else weights
    y = np.eye(z.shape[1])[labels]
    start = np.concatenate([[1.0], np.zeros(z.shape[1])])  # s and b in one vector

    def log_softmax(point):
        scores = point[0] * z + point[1:]
        scores -= scores.max(axis=1, keepdims=True)
        return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))

    def cost(point):
        return -w @ (y * log_softmax(point)).sum(axis=1) + np.sum((point - start) ** 2) / 2

    def newton_step(point):
        p = np.exp(log_softmax(point))
        mean = (p * z).sum(axis=1)
        gradient = np.concatenate([[w @ (mean - (y * z).sum(axis=1))], w @ (p - y)]) + point - start
        hessian = np.eye(len(start))
        hessian[0, 0] += w @ ((p * z**2).sum(axis=1) - mean**2)
        hessian[0, 1:] += w @ (p * (z - mean[:, None]))
        hessian[1:, 0] = hessian[0, 1:]
        hessian[1:, 1:] += np.diag(w @ p) - (p * w[:, None]).T @ p
        return -np.linalg.solve(hessian, gradient)

    point = start
    for _ in range(MOST_STEPS):
        step = newton_step(point)
        while cost(point + step) > cost(point) and np.abs(step).max() > SMALLEST_STEP:
            step /= 2  # the whole step overshoots; some part of it does not
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

"""Calibration: of the predictions with a probability of 90 %, nine in ten should be correct.

Temperature scaling with a bias for each class (bias-corrected temperature scaling, Alexandari, Kundaje & Shrikumar
2020, after Guo et al. 2017, "On calibration of modern neural networks"; with two classes it is Platt scaling):

    p = softmax(s * z + b)

with logits z, a scale s (1 / temperature) and biases b, fitted to examples that the model was not trained on.
"""

import numpy as np

MAX_ITERATIONS = 100  # of Newton's method, which needs about five
MIN_CHANGE = 1e-9


def fit(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, np.ndarray]:
    """Returns (s, b float64[classes]) that minimize

        J = sum_n w_n * -log p_n[y_n]  +  ((s - 1)^2 + |b|^2) / 2

    The second term is a prior: with few examples, or only correct predictions, s and b stay close to (1, 0). It also
    sets the sum of b, which does not change the softmax, to zero. J is convex; Newton's method minimizes it with

        dJ/ds = sum w (E_p z - z[y]) + s - 1          d2J/ds2   = sum w Var_p z + 1
        dJ/db = sum w (p - y) + b                     d2J/dsdb  = sum w p (z - E_p z)
                                                      d2J/dbdb' = sum w (diag(p) - p p') + I

    Returns (1, zeros) for logits that contradict the labels, for which s would not be positive.

    Args:
        logits: float[examples, classes].
        labels: int[examples], from 0 to classes - 1.
        weights: float[examples]; None: all are 1.
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

    def newton_change(point):
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
    for _ in range(MAX_ITERATIONS):
        change = newton_change(point)
        while cost(point + change) > cost(point) and np.abs(change).max() > MIN_CHANGE:
            change /= 2  # the whole change overshoots; a part of it does not
        if np.abs(change).max() <= MIN_CHANGE:
            break
        point = point + change
    return (float(point[0]), point[1:]) if point[0] > 0 else (1.0, np.zeros(z.shape[1]))


def fold(scale: float, bias: np.ndarray, kernel: np.ndarray, own_bias: np.ndarray) -> list[np.ndarray]:
    """Returns the kernel and bias of a layer whose logits are scale * logits + bias of the layer that is given.

    Args:
        kernel: float[features, classes].
        own_bias: float[classes].
    """
    return [(scale * kernel).astype(kernel.dtype), (scale * own_bias + bias).astype(own_bias.dtype)]

"""Calibration: of the predictions with a probability of 90 %, nine in ten should be correct.

Temperature scaling with a bias for each class (bias-corrected temperature scaling, Alexandari, Kundaje & Shrikumar
2020, after Guo et al. 2017, "On calibration of modern neural networks"; with two classes it is Platt scaling):

    p = softmax(s * z + b)

with logits z, a scale s (1 / temperature) and biases b, fitted to examples that the model was not trained on. Scale and
biases may depend on a property of the example, such as its length, through weights phi_j of a few points (`fit_by`):

    p = softmax(sum_j phi_j (s_j * z + b_j))
"""

import numpy as np

MAX_ITERATIONS = 100  # of Newton's method, which needs about five
MIN_CHANGE = 1e-9
MAX_ROUNDS = 100  # of expectation maximization
MIN_SHIFT = 1e-3  # of a target, in a round
MIN_SCALE = 0.05  # of a point: below it, the answers would turn into their opposite


def fit(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, np.ndarray]:
    """Returns (s, b float64[classes]) that minimize

        J = sum_n w_n * -log p_n[y_n]  +  ((s - 1)^2 + |b|^2) / 2

    The second term is a prior: with few examples, or only correct predictions, s and b stay close to (1, 0). It also
    sets the sum of b, which does not change the softmax, to zero.

    Returns (1, zeros) for logits that contradict the labels, for which s would not be positive.

    Args:
        logits: float[examples, classes].
        labels: int[examples], from 0 to classes - 1.
        weights: float[examples]; None: all are 1.
    """
    scales, biases = newton(logits, np.eye(logits.shape[1])[labels], np.ones([len(logits), 1]), weights)
    return (float(scales[0]), biases[0]) if scales[0] > 0 else (1.0, np.zeros(logits.shape[1]))


def fit_by(
    points: np.ndarray,
    logits: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray | None = None,
    noise: np.ndarray | float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the scales s float64[points] and biases b float64[points, classes] of `fit`, for each point.

    With `noise`, a label is assumed to be wrong with that probability e, and then to be any other with the same
    probability. The likelihood of a label y is the sum over the true labels k, P(k) = p[k], maximized by expectation
    maximization (Dempster, Laird & Rubin 1977): `newton` fits p to the targets

        t[k] = p[k] P(y | k) / sum_j p[j] P(y | j),  P(y | k) = 1 - e if k = y, else e / (classes - 1)

    of the p before, until they do not change any more. A scale is at least MIN_SCALE.

    Args:
        points: float[examples, points], the weights phi of the points in each example.
        logits, labels, weights: as in `fit`.
        noise: float[examples] or one for all, below 1 - 1 / classes.
    """
    classes = logits.shape[1]
    true = np.eye(classes)[labels]
    noise = np.broadcast_to(noise, len(labels))[:, None]
    likelihood = np.where(true > 0, 1 - noise, noise / (classes - 1))
    targets = true
    rows = None
    for _ in range(MAX_ROUNDS if noise.any() else 1):
        scales, biases = newton(logits, targets, points, weights, rows)
        rows = np.concatenate([scales[:, None], biases], axis=1)
        joint = np.exp(log_softmax(scaled(points, logits, scales, biases))) * likelihood
        before, targets = targets, joint / joint.sum(axis=1, keepdims=True)
        if np.abs(targets - before).max() < MIN_SHIFT:
            break
    return np.maximum(scales, MIN_SCALE), biases


def newton(
    logits: np.ndarray,
    targets: np.ndarray,
    points: np.ndarray,
    weights: np.ndarray | None = None,
    begin: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the scales float64[points] and biases float64[points, classes] that minimize, for the targets y
    float[examples, classes],

        J = sum_n w_n * -sum_k y_n[k] log p_n[k]  +  (sum_j (s_j - 1)^2 + |b|^2) / 2

    J is convex; Newton's method minimizes it with

        dJ/ds_i = sum w phi_i (E_p z - E_y z) + s_i - 1    d2J/ds_i ds_j  = sum w phi_i phi_j Var_p z + [i = j]
        dJ/db_i = sum w phi_i (p - y) + b_i                d2J/ds_i db_j  = sum w phi_i phi_j p (z - E_p z)
                                                           d2J/db_i db_j' = sum w phi_i phi_j (diag(p) - p p') + I

    Args:
        begin: float64[points, 1 + classes], rows s_j, b_j near the minimum, to begin with.
    """
    z, phi = logits.astype(np.float64), points.astype(np.float64)
    w = np.ones(len(z)) if weights is None else weights
    number, classes = phi.shape[1], z.shape[1]
    prior = np.concatenate([np.ones([number, 1]), np.zeros([number, classes])], axis=1)  # a row s_j, b_j for each point
    pairs = (phi[:, :, None] * phi[:, None, :]).reshape(len(z), -1) * w[:, None]  # w phi_i phi_j

    def log_p(rows):
        return log_softmax(scaled(phi, z, rows[:, 0], rows[:, 1:]))

    def cost(rows):
        return -w @ (targets * log_p(rows)).sum(axis=1) + np.sum((rows - prior) ** 2) / 2

    def newton_change(rows):
        p = np.exp(log_p(rows))
        mean = (p * z).sum(axis=1)
        slope = np.concatenate([(mean - (targets * z).sum(axis=1))[:, None], p - targets], axis=1)
        gradient = phi.T @ (w[:, None] * slope) + rows - prior
        curvature = np.empty([len(z), 1 + classes, 1 + classes])  # of one example, without phi
        curvature[:, 0, 0] = (p * z**2).sum(axis=1) - mean**2
        curvature[:, 0, 1:] = curvature[:, 1:, 0] = p * (z - mean[:, None])
        curvature[:, 1:, 1:] = np.eye(classes) * p[:, None, :] - p[:, :, None] * p[:, None, :]
        hessian = (pairs.T @ curvature.reshape(len(z), -1)).reshape(number, number, 1 + classes, 1 + classes)
        hessian = hessian.transpose(0, 2, 1, 3).reshape(rows.size, rows.size) + np.eye(rows.size)
        return -np.linalg.solve(hessian, gradient.ravel()).reshape(rows.shape)

    rows = prior if begin is None else begin
    for _ in range(MAX_ITERATIONS):
        change = newton_change(rows)
        while cost(rows + change) > cost(rows) and np.abs(change).max() > MIN_CHANGE:
            change /= 2  # the whole change overshoots; a part of it does not
        if np.abs(change).max() <= MIN_CHANGE:
            break
        rows = rows + change
    return rows[:, 0], rows[:, 1:]


def scaled(points, logits, scales, biases):
    """Returns sum_j phi_j (s_j z + b_j), for points float[examples, points], logits float[examples, classes], scales
    float[points] and biases float[points, classes]."""
    return (points @ scales)[:, None] * logits + points @ biases


def log_softmax(scores: np.ndarray) -> np.ndarray:
    scores = scores - scores.max(axis=1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def fold(scale: float, bias: np.ndarray, kernel: np.ndarray, own_bias: np.ndarray) -> list[np.ndarray]:
    """Returns the kernel and bias of a layer whose logits are scale * logits + bias of the layer that is given.

    Args:
        kernel: float[features, classes].
        own_bias: float[classes].
    """
    return [(scale * kernel).astype(kernel.dtype), (scale * own_bias + bias).astype(own_bias.dtype)]

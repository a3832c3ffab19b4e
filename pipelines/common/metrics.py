"""Scores of classifiers, and class weights, in NumPy."""

from collections.abc import Sequence

import numpy as np


def confusion_counts(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Returns the confusion matrix int64[classes, classes]: rows are true classes, columns predicted ones.

    Args:
        labels, predictions: int[examples], from 0 to classes - 1.
    """
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, predictions), 1)
    return counts


def precision_recall_f1(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Returns precision, recall and f1, float64[classes], and support, int64[classes], of a confusion matrix.

    A precision or recall without examples is 0. So is the F1 of a class that is never predicted correctly.
    """
    right = np.diag(counts).astype(np.float64)
    support = counts.sum(axis=1)
    precision = divide(right, counts.sum(axis=0))
    recall = divide(right, support)
    return {
        "precision": precision,
        "recall": recall,
        "f1": divide(2 * precision * recall, precision + recall),
        "support": support,
    }


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Returns numerator / denominator, and 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros(np.shape(numerator)), where=denominator != 0)


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean of -log softmax(logits)[label], in nats, for float[examples, classes] and int[examples]."""
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-log_probability[np.arange(len(labels)), labels].mean())


def classification(logits: np.ndarray, labels: np.ndarray, names) -> dict:
    """Returns the scores of a classifier by name, as JSON values.

    Args:
        logits: float[examples, classes], at least one example.
        labels: int[examples].
        names: of the classes.

    Returns:
        accuracy, loss (cross-entropy in nats), macro_f1, examples, classes (name -> precision, recall, f1, support) and
        confusion (rows: true class, columns: predicted).
    """
    counts = confusion_counts(labels, logits.argmax(axis=1), len(names))
    by_class = precision_recall_f1(counts)
    return {
        "accuracy": float(np.diag(counts).sum() / counts.sum()),
        "loss": cross_entropy(logits, labels),
        "macro_f1": float(by_class["f1"].mean()),
        "examples": int(counts.sum()),
        "classes": {
            name: {metric: values[number].item() for metric, values in by_class.items()}
            for number, name in enumerate(names)
        },
        "confusion": counts.tolist(),
    }


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns float64[examples, classes], the probabilities of logits float[examples, classes]."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def class_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """Returns float[classes]: examples / (labels that occur * examples of the label). The mean weight is 1."""
    counts = np.bincount(labels, minlength=classes)
    return len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))


def edit_distance(one: Sequence, other: Sequence) -> int:
    """Returns the least number of insertions, deletions and replacements that turn one sequence into the other
    (Levenshtein 1966), computed row by row."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(other, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]

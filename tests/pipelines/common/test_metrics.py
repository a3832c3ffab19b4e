import numpy as np
import pytest

from pipelines.common import metrics


def test_scores_of_a_small_case_by_hand():
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.5, 0.4, 0.1]]))
    labels = np.array([0, 1, 1, 0])
    scores = metrics.classification(logits, labels, ("a", "b", "c"))
    assert scores["confusion"] == [[2, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert scores["accuracy"] == 0.75
    assert scores["examples"] == 4
    assert scores["loss"] == pytest.approx(-np.log([0.7, 0.3, 0.8, 0.5]).mean())
    assert scores["classes"]["a"] == pytest.approx({"precision": 2 / 3, "recall": 1.0, "f1": 0.8, "support": 2})
    assert scores["classes"]["b"] == pytest.approx({"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 2})
    assert scores["classes"]["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert scores["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 3)


def test_cross_entropy_of_large_logits_is_finite():
    assert metrics.cross_entropy(np.array([[1e4, 0.0]], np.float32), np.array([1])) == pytest.approx(1e4)


def test_class_weights_make_labels_count_the_same():
    labels = np.array([0, 0, 0, 1])
    found = metrics.class_weights(labels, 3)
    assert found[0] * 3 == pytest.approx(found[1])
    assert found[labels].mean() == pytest.approx(1)


def test_softmax_of_large_logits():
    np.testing.assert_allclose(
        metrics.softmax(np.array([[1e4, 1e4 - np.log(3)]], np.float32)), [[0.75, 0.25]], atol=1e-3
    )


def test_the_edit_distance_is_minimal():
    def slow(a, b):
        if not a or not b:
            return len(a) + len(b)
        return min(slow(a[1:], b) + 1, slow(a, b[1:]) + 1, slow(a[1:], b[1:]) + (a[0] != b[0]))

    draw = np.random.default_rng(0)
    for _ in range(40):
        a, b = ([str(word) for word in draw.integers(0, 3, draw.integers(0, 6))] for _ in range(2))
        assert metrics.edit_distance(a, b) == slow(a, b)

import numpy as np
import pytest

from pipelines.common import metrics
from pipelines.common.training import calibration


def drawn(scale, bias, examples=20_000, classes=3):
    """Logits, and labels that are as probable as softmax(scale * logits + bias) says."""
    draw = np.random.default_rng(1)
    logits = draw.normal(0, 3, (examples, classes)).astype(np.float32)
    scores = scale * logits + np.asarray(bias)
    labels = (scores + draw.gumbel(size=scores.shape)).argmax(axis=1)  # Gumbel 1954: a draw from the softmax
    return logits, labels


@pytest.mark.parametrize(("scale", "bias"), [(0.5, [0.4, 0.1, -0.5]), (1.0, [0.0, 0.0, 0.0]), (2.0, [-1.0, 2.0, -1.0])])
def test_it_finds_what_the_labels_were_drawn_with(scale, bias):
    found_scale, found_bias = calibration.fit(*drawn(scale, bias))
    assert found_scale == pytest.approx(scale, rel=0.05)
    np.testing.assert_allclose(found_bias, bias, atol=0.1)


def test_nothing_near_it_is_better():
    logits, labels = drawn(0.5, [0.4, 0.1, -0.5], examples=300)
    scale, bias = calibration.fit(logits, labels)
    assert bias.sum() == pytest.approx(0, abs=1e-9)

    def cost(scale, bias):
        ridge = ((scale - 1) ** 2 + np.sum(np.square(bias))) / 2
        return len(labels) * metrics.cross_entropy(scale * logits + bias, labels) + ridge

    for change in np.concatenate([np.eye(4), -np.eye(4)]) * 1e-3:
        assert cost(scale + change[0], bias + change[1:]) > cost(scale, bias)


def test_a_weight_is_as_good_as_so_many_examples():
    logits, labels = drawn(0.5, [0.4, 0.1, -0.5], examples=50)
    times = np.arange(50) % 3
    scale, bias = calibration.fit(logits, labels, times.astype(float))
    again_scale, again_bias = calibration.fit(np.repeat(logits, times, axis=0), np.repeat(labels, times))
    assert scale == pytest.approx(again_scale)
    np.testing.assert_allclose(bias, again_bias, atol=1e-8)


def test_examples_that_are_all_right_do_not_ask_for_certainty():
    logits = np.array([[4.0, -4.0], [-4.0, 4.0]] * 5)
    scale, bias = calibration.fit(logits, np.array([0, 1] * 5))
    assert 1 < scale < 2
    np.testing.assert_allclose(bias, 0, atol=1e-9)


def test_logits_of_any_size_end():
    logits = np.array([[1e4, -1e4], [-1e4, 1e4], [1e4, -1e4]])
    scale, _ = calibration.fit(logits, np.array([0, 1, 1]))
    assert 0 < scale < 0.01


def test_logits_that_tell_the_opposite_stay():
    logits, labels = drawn(-2.0, [0.0, 0.0, 0.0])
    scale, bias = calibration.fit(logits, labels)
    assert (scale, *bias) == (1, 0, 0, 0)


def test_folded_into_the_linear_map_it_is_the_same():
    draw = np.random.default_rng(2)
    features, kernel, own = draw.normal(size=(5, 4)), draw.normal(size=(4, 3)), draw.normal(size=3)
    folded, moved = calibration.fold(0.7, np.array([0.1, 0.2, 0.3]), kernel, own)
    np.testing.assert_allclose(features @ folded + moved, 0.7 * (features @ kernel + own) + [0.1, 0.2, 0.3])


def halves(examples):
    """Weights of two points, from all on the first to all on the second."""
    share = np.linspace(0, 1, examples)
    return np.stack([1 - share, share], axis=1)


def drawn_by(points, scales, biases, noise=0.0):
    """Logits, and labels as probable as the points say, of which a share was replaced by another."""
    draw = np.random.default_rng(3)
    logits = draw.normal(0, 3, (len(points), 3))
    scores = calibration.scaled(points, logits, np.array(scales), np.array(biases))
    labels = (scores + draw.gumbel(size=scores.shape)).argmax(axis=1)
    return logits, np.where(draw.random(len(labels)) < noise, (labels + draw.integers(1, 3, len(labels))) % 3, labels)


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_scales_and_biases_of_points_and_labels_that_are_partly_wrong(noise):
    points = halves(8000)
    scales, biases = [0.4, 1.5], [[0.5, 0.0, -0.5], [-0.3, 0.3, 0.0]]
    logits, labels = drawn_by(points, scales, biases, noise)
    found_scales, found_biases = calibration.fit_by(points, logits, labels, noise=noise)
    np.testing.assert_allclose(found_scales, scales, rtol=0.15)
    np.testing.assert_allclose(found_biases, biases, atol=0.25)
    if noise:
        plain, _ = calibration.fit_by(points, logits, labels)
        assert (plain < 0.8 * np.array(scales)).all()  # it takes the wrong labels for doubt


def test_one_point_is_the_fit_of_all_examples():
    logits, labels = drawn(0.5, [0.4, 0.1, -0.5], examples=300)
    weights = np.arange(300) % 3 + 0.5
    scale, bias = calibration.fit(logits, labels, weights)
    scales, biases = calibration.fit_by(np.ones([300, 1]), logits, labels, weights)
    assert scales == pytest.approx([scale])
    np.testing.assert_allclose(biases, [bias])


def test_a_point_never_turns_answers_into_their_opposite():
    points = halves(2000)
    scales, _ = calibration.fit_by(points, *drawn_by(points, [-1.0, 1.0], np.zeros([2, 3])))
    assert scales[0] == calibration.MIN_SCALE and scales[1] > 0.8


def test_examples_without_a_point_change_nothing():
    points = halves(300)
    logits, labels = drawn_by(points, [1.0, 0.5], np.zeros([2, 3]))
    more = np.concatenate([points, np.zeros([50, 2])])
    found = calibration.fit_by(points, logits, labels)
    again = calibration.fit_by(more, np.pad(logits, [(0, 50), (0, 0)]), np.pad(labels, (0, 50)))
    np.testing.assert_allclose(found[0], again[0])
    np.testing.assert_allclose(found[1], again[1], atol=1e-12)

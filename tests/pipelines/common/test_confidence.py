import json

import numpy as np
import pytest
import tensorflow as tf

from pipelines.common import confidence
from pipelines.common.confidence import Confidence, Input
from pipelines.common.errors import UserError

RANDOM = np.random.default_rng(3)
ABOUT = {"bar": {"bleu": 30.0}, "fitted": {"part": "validation", "sentences": 3}}


def draws(examples: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Returns evidence of which only the first input matters, p = sigmoid(2 (x - 5) - 1), and what was reached."""
    evidence = {"signal": RANDOM.normal(5, 1, examples), "noise": RANDOM.normal(-300, 40, examples)}
    p = 1 / (1 + np.exp(-(2 * (evidence["signal"] - 5) - 1)))
    return evidence, RANDOM.uniform(size=examples) < p


def test_the_probabilities_of_a_logistic_regression_are_found():
    evidence, reached = draws(40_000)
    found = confidence.fit(evidence, reached, **ABOUT)
    slope = {name: each.weight / each.deviation for name, each in found.inputs.items()}
    assert slope["signal"] == pytest.approx(2, rel=0.05) and slope["noise"] == pytest.approx(0, abs=1e-3)
    p = found({name: tf.constant(values) for name, values in evidence.items()} | {"more": tf.zeros(1)}).numpy()
    assert p.mean() == pytest.approx(reached.mean(), abs=1e-3)  # the gradient of the bias is zero
    for low in (0.1, 0.4, 0.7):
        rows = (p > low) & (p < low + 0.2)
        assert reached[rows].mean() == pytest.approx(p[rows].mean(), abs=0.03)


def test_the_minimum_has_no_gradient():
    """dJ/dw = sum u (p - y) z + w."""
    evidence, reached = draws(50)
    weights = RANDOM.uniform(0, 2, 50)
    found = confidence.fit(evidence, reached, weights=weights, **ABOUT)
    p = found({name: tf.constant(values) for name, values in evidence.items()}).numpy()
    for name, each in found.inputs.items():
        z = (evidence[name] - each.mean) / each.deviation
        assert np.sum(weights * (p - reached) * z) + each.weight == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("reached", [True, False])
def test_answers_of_one_kind_only(reached):
    found = confidence.fit({"x": np.ones(9), "y": np.arange(9.0)}, np.full(9, reached), **ABOUT)
    p = found({"x": tf.constant([1.0, 1.0]), "y": tf.constant([0.0, 1e9])}).numpy()
    assert abs(p[0] - (9.5 / 10 if reached else 0.5 / 10)) < 1e-3 and np.isfinite(p).all()


def test_separable_answers_have_finite_weights():
    found = confidence.fit({"x": np.arange(10.0)}, np.arange(10) > 4, **ABOUT)
    assert 1 < found.inputs["x"].weight < 10


def test_it_is_stored_and_loaded(tmp_path):
    assert confidence.load(tmp_path) is None
    found = confidence.fit(*draws(20), **ABOUT)
    found.save(tmp_path)
    assert confidence.load(tmp_path) == found
    stored = json.loads((tmp_path / "confidence.json").read_text())
    assert set(stored) == {"inputs", "bias", "bar", "fitted"} and stored["bar"] == {"bleu": 30.0}


@pytest.mark.parametrize("text", ["[]", "{}", '{"inputs": {"x": {"mean": 1}}, "bias": 0, "bar": {}, "fitted": {}}'])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "confidence.json").write_text(text)
    with pytest.raises(UserError, match=r"confidence.json is not the confidence of a run: expected inputs"):
        confidence.load(tmp_path)


def test_the_average_of_several_is_that_of_their_probabilities():
    one, other = (Confidence({"x": Input(0.0, 1.0, weight)}, 0.0, {}, {}) for weight in (1.0, -2.0))
    x = {"x": tf.constant([0.0, 3.0])}
    np.testing.assert_allclose(confidence.average([one, other])(x), (one(x) + other(x)) / 2)
    assert confidence.average([one, None]) is None

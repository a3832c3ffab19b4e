import numpy as np
import pytest

from pipelines.common.evaluation.reliability import reliability, report
from tests.pipelines.common.pictures.pixels import coloured

BLUE = (0, 114 / 255, 178 / 255)


def test_the_calibration_error_by_hand():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.15, 0.15, 1.0, 0.0])
    reached = np.array([1, 1, 0, 0, 0, 1, 1, 0], bool)
    found = reliability(confidence, reached)
    # Of 15 bins, that above 14/15 has five with a mean of 0.96, of which three reached; that from 2/15 to 3/15 two, of
    # which one; the first one, which did not.
    assert found["ece"] == pytest.approx((5 * (0.96 - 0.6) + 2 * (0.5 - 0.15) + 0) / 8)
    assert found["reliability"]["examples"] == [1, 2, 5]
    assert found["reliability"]["confidence"] == pytest.approx([0, 0.15, 0.96])
    assert found["reliability"]["accuracy"] == pytest.approx([0, 0.5, 0.6])


def test_the_report_compares_the_halves(tmp_path, capsys):
    confidence = np.array([0.1, 0.9, 0.8, 0.2, 0.7])
    scores = np.array([1.0, 8.0, 6.0, 3.0, 7.0])
    options = {"bar": "at least 5", "name": "points", "png": tmp_path / "reliability.png"}
    found = report(confidence, scores >= 5, lambda rows: float(scores[rows].mean()), **options)
    assert (found["confident_half"], found["other_half"]) == (7.0, 2.0)
    out = capsys.readouterr().out
    assert "at least 5: 60.0%, ECE 18.0%; points of the most confident half 7.0, of the other half 2.0" in out
    assert coloured(tmp_path / "reliability.png", BLUE) > 500


def test_one_answer_has_no_other_half(tmp_path):
    options = {"bar": "right", "name": "points", "png": tmp_path / "reliability.png"}
    found = report(np.array([0.3]), np.array([True]), lambda rows: 1.0, **options)
    assert (found["confident_half"], found["other_half"], found["ece"]) == (1.0, None, pytest.approx(0.7))

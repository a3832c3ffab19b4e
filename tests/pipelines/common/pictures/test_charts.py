import numpy as np
import pytest

from pipelines.common.pictures.charts import (
    draw_bars,
    draw_confusion_matrix,
    draw_curves,
    draw_lines,
    draw_reliability,
    draw_sentence_map,
)
from tests.pipelines.common.pictures.pixels import coloured, size

RANDOM = np.random.default_rng(5)


def test_curves_has_a_panel_for_each_quantity_and_none_for_step_and_times(tmp_path):
    history = tmp_path / "history.csv"
    history.write_text("epoch,step,loss,val_loss,val_accuracy,seconds\n1,10,0.9,0.8,0.5,2\n2,20,0.5,,0.7,2\n")
    draw_curves(history, tmp_path / "two.png")
    history.write_text("epoch,step,loss,val_loss,seconds\n1,10,0.9,0.8,2\n")
    draw_curves(history, tmp_path / "one.png")
    assert size(tmp_path / "two.png")[0] > 1.5 * size(tmp_path / "one.png")[0]  # loss and accuracy, side by side


@pytest.mark.parametrize("text", ["", "epoch,step,loss,val_loss\n"])
def test_curves_of_a_run_without_an_epoch(tmp_path, text):
    (tmp_path / "history.csv").write_text(text)
    draw_curves(tmp_path / "history.csv", tmp_path / "curves.png")
    assert size(tmp_path / "curves.png")[0] > 100


@pytest.mark.parametrize("classes", [2, 9, 30])
def test_confusion_matrix_grows_with_the_classes(tmp_path, classes):
    counts = np.diag(np.full(classes, 5))
    counts[0, 0] = 0  # a class that never occurs is no division by zero
    draw_confusion_matrix(counts, [f"class {index}" for index in range(classes)], tmp_path / "matrix.png")
    dark = (8 / 255, 48 / 255, 107 / 255)  # share 1 in the scale "Blues"
    width, height = size(tmp_path / "matrix.png")
    assert min(width, height) > 300
    assert coloured(tmp_path / "matrix.png", dark) > 400 * (classes - 1)  # the diagonal is full but for one class


def test_confusion_matrix_names_what_does_not_fit(tmp_path):
    with pytest.raises(ValueError, match=r"shape \(2, 3\), expected \(2, 2\)"):
        draw_confusion_matrix(np.zeros((2, 3), int), ["a", "b"], tmp_path / "matrix.png")
    assert list(tmp_path.iterdir()) == []


def test_a_map_has_a_point_for_every_sentence(tmp_path):
    states = RANDOM.normal(size=(7, 12))
    draw_sentence_map(states, [f"sentence {n}" for n in range(7)], tmp_path / "seven.png")
    draw_sentence_map(states[:3], ["a", "b", "c"], tmp_path / "three.png")
    blue = (0, 114 / 255, 178 / 255)
    assert coloured(tmp_path / "seven.png", blue) > 1.8 * coloured(tmp_path / "three.png", blue) > 0
    draw_sentence_map(np.zeros((3, 2)), ["the same"] * 3, tmp_path / "same.png")
    with pytest.raises(ValueError, match="expected three or more of each"):
        draw_sentence_map(states[:2], ["a", "b"], tmp_path / "two.png")


def test_bars_are_as_long_as_their_values(tmp_path):
    blue = (0, 114 / 255, 178 / 255)
    for name, values in (("full", [10.0, 10.0]), ("half", [10.0, 0.0])):
        draw_bars(["a", "b"], values, [1, 2000], tmp_path / f"{name}.png", title="bars", names=("x", "y"))
    full, half = (coloured(tmp_path / f"{name}.png", blue) for name in ("full", "half"))
    assert full == pytest.approx(2 * half, rel=0.02)
    draw_bars(["a"], [0.0], [0], tmp_path / "zero.png", title="none", names=("x", "y"))


def test_lines_have_a_colour_for_each_system(tmp_path):
    blue, orange = (0, 114 / 255, 178 / 255), (230 / 255, 159 / 255, 0)
    values = {"one": [1.0, 2.0], "other": [5.0, 5.0]}
    draw_lines(["a", "b"], values, tmp_path / "two.png", title="lines", names=("x", "y"))
    draw_lines(["a", "b"], {"one": [1.0, 2.0]}, tmp_path / "one.png", title="lines", names=("x", "y"))
    assert coloured(tmp_path / "two.png", blue) > 0 and coloured(tmp_path / "two.png", orange) > 0
    assert coloured(tmp_path / "one.png", orange) == 0


def test_reliability_draws_a_gap_for_each_bin_that_is_off(tmp_path):
    orange = (213 / 255, 94 / 255, 0)
    draw_reliability([0.6, 0.9], [0.6, 0.9], [3, 1000], 0.0, tmp_path / "good.png")
    draw_reliability([0.6, 0.9], [0.3, 0.9], [3, 1000], 0.1, tmp_path / "off.png")
    assert coloured(tmp_path / "off.png", orange) > coloured(tmp_path / "good.png", orange) + 50
    with pytest.raises(ValueError, match="0 confidences, 0 accuracies and 0 counts"):
        draw_reliability([], [], [], 0.0, tmp_path / "none.png")

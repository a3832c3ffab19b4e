import numpy as np
import pytest
from matplotlib.colors import to_rgb

from pipelines.common.pictures.drawing import PALETTE
from pipelines.common.pictures.panels import DASHES, MARKERS, draw_grid, draw_line, logarithmic, panels, written
from tests.pipelines.common.pictures.pixels import coloured, size


def test_panels_lie_in_rows(tmp_path):
    for across, name in ((None, "row"), (2, "rows")):
        with panels(tmp_path / f"{name}.png", ["a", "b", "c", "d"], across=across):
            pass
    width, height = size(tmp_path / "row.png")
    assert size(tmp_path / "rows.png") == (width // 2, 2 * height)


def test_lines_differ_in_colour_marker_and_dashes(tmp_path):
    with panels(tmp_path / "lines.png", ["eight lines"]) as (axes,):
        for number in range(8):
            draw_line(axes, np.arange(40), np.full(40, number), number, f"line {number}")
        lines = axes.get_lines()
        assert len({line.get_marker() for line in lines}) == len(MARKERS) == 8
        assert len({line.get_color() for line in lines}) == len({str(dashes) for dashes in DASHES}) == 8
        assert {line.get_markevery()[0] for line in lines} == {0, 1, 2, 3, 4}  # beside one another
    assert all(coloured(tmp_path / "lines.png", to_rgb(colour)) > 100 for colour in PALETTE)


def test_a_short_line_has_a_marker_at_every_point(tmp_path):
    with panels(tmp_path / "line.png", ["line"]) as (axes,):
        draw_line(axes, [1, 2, 3], [1, 2, 3], 4)
        assert axes.get_lines()[0].get_markevery() == (0, 1)


def test_a_logarithmic_axis_is_labelled_without_typesetting(tmp_path):
    with panels(tmp_path / "line.png", ["line"]) as (axes,):
        draw_line(axes, [1, 10, 100], [1e-6, 1, 1e4], 0)
        logarithmic(axes.xaxis, axes.yaxis)
        labels = [label.get_text() for axis in (axes.xaxis, axes.yaxis) for label in axis.get_ticklabels()]
        assert axes.get_xscale() == axes.get_yscale() == "log"
    assert {"10", "100", "10⁻⁴"} <= set(labels) and not any("$" in label for label in labels)


@pytest.mark.parametrize(
    ("value", "text"), [(1e-6, "10⁻⁶"), (1e12, "10¹²"), (1000.0, "10³"), (0.05, "0.05"), (0.002, "2·10⁻³")]
)
def test_numbers_of_a_logarithmic_axis(value, text):
    assert written(value) == text


def test_an_axis_with_few_powers_of_ten_has_labels_between_them(tmp_path):
    with panels(tmp_path / "line.png", ["line"]) as (axes,):
        draw_line(axes, [1, 2], [0.03, 0.6], 0)
        logarithmic(axes.yaxis)
        labels = {label.get_text() for label in axes.yaxis.get_ticklabels(which="both")}
    assert {"0.05", "0.1", "0.2", "0.5"} <= labels and "0.3" not in labels


def test_a_grid_has_the_values_and_leaves_out_what_is_missing(tmp_path):
    with panels(tmp_path / "grid.png", ["grid"]) as (axes,):
        draw_grid(axes, [[1.0, np.nan], [0.5, 0.0]], ["a", "b"], ["c", "d"], "{:.1f}".format, ("row", "column"))
        assert [text.get_text() for text in axes.texts] == ["1.0", "0.5", "0.0"]
        assert axes.texts[0].get_color() == "white"  # on the darkest cell
        assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]

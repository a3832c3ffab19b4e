"""Whether pictures are beautiful, people judge; here: each is drawn, and its size and colours follow its content."""

import numpy as np
import pytest
from matplotlib.image import imread

from pipelines.common.pictures import figures
from pipelines.common.pictures.drawing import word_widths, wrap
from pipelines.common.pictures.text_rows import MOST_UNITS, most_varied

RANDOM = np.random.default_rng(5)


def size(png):
    height, width, _ = imread(png).shape
    return width, height


def coloured(png, colour, tolerance=0.02):
    """How many pixels of a picture have the colour (red, green, blue, each 0 to 1)."""
    return int((np.abs(imread(png)[..., :3] - colour) < tolerance).all(axis=-1).sum())


def probabilities(time, classes):
    logits = RANDOM.normal(size=(time, classes))
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def gates(time, units=9):
    return {name: RANDOM.uniform(0 if name != "c" else -2, 1, (time, units)) for name in "ifoc"}


def test_curves_has_a_panel_for_each_quantity_and_none_for_step_and_times(tmp_path):
    history = tmp_path / "history.csv"
    history.write_text("epoch,step,loss,val_loss,val_accuracy,seconds\n1,10,0.9,0.8,0.5,2\n2,20,0.5,,0.7,2\n")
    figures.curves(history, tmp_path / "two.png")
    history.write_text("epoch,step,loss,val_loss,seconds\n1,10,0.9,0.8,2\n")
    figures.curves(history, tmp_path / "one.png")
    assert size(tmp_path / "two.png")[0] > 1.5 * size(tmp_path / "one.png")[0]  # loss and accuracy, side by side


@pytest.mark.parametrize("text", ["", "epoch,step,loss,val_loss\n"])
def test_curves_of_a_run_without_an_epoch(tmp_path, text):
    (tmp_path / "history.csv").write_text(text)
    figures.curves(tmp_path / "history.csv", tmp_path / "curves.png")
    assert size(tmp_path / "curves.png")[0] > 100


@pytest.mark.parametrize("classes", [2, 9, 30])
def test_confusion_matrix_grows_with_the_classes(tmp_path, classes):
    counts = np.diag(np.full(classes, 5))
    counts[0, 0] = 0  # a class that never occurs is no division by zero
    figures.confusion_matrix(counts, [f"class {index}" for index in range(classes)], tmp_path / "matrix.png")
    dark = (8 / 255, 48 / 255, 107 / 255)  # share 1 in the scale "Blues"
    width, height = size(tmp_path / "matrix.png")
    assert min(width, height) > 300
    assert coloured(tmp_path / "matrix.png", dark) > 400 * (classes - 1)  # the diagonal is full but for one class


def test_confusion_matrix_names_what_does_not_fit(tmp_path):
    with pytest.raises(ValueError, match=r"shape \(2, 3\), expected \(2, 2\)"):
        figures.confusion_matrix(np.zeros((2, 3), int), ["a", "b"], tmp_path / "matrix.png")
    assert list(tmp_path.iterdir()) == []


def test_words_wrap_over_rows(tmp_path):
    for count in (10, 100):
        words = (["although", "I", "did", "not", "like", "it", ","] * 15)[:count]
        figures.words_with_probability(
            words, probabilities(count, 2), ["negative", "positive"], gates(count), tmp_path / f"{count}.png"
        )
    (width_10, height_10), (width_100, height_100) = size(tmp_path / "10.png"), size(tmp_path / "100.png")
    assert width_10 <= width_100 <= 1700
    assert height_100 > 2.5 * height_10


def test_words_of_other_scripts_dollars_and_one_endless_word(tmp_path):
    words = ["$5", "or", "$x^", "Привет", "三四", "שלום", "x" * 5000, "\x07", ""]
    figures.words_with_probability(
        words, probabilities(len(words), 3), ["a", "b", "c"], gates(len(words)), tmp_path / "words.png"
    )
    assert size(tmp_path / "words.png")[0] <= 1700


def test_words_of_a_very_long_review_are_cut_to_a_picture_that_opens(tmp_path):
    count = 1000
    figures.words_with_probability(
        ["word"] * count, probabilities(count, 2), ["negative", "positive"], {}, tmp_path / "long.png"
    )
    assert size(tmp_path / "long.png")[1] < 10_000


def test_probability_is_blue_where_the_second_class_leads_and_orange_where_the_first_does(tmp_path):
    names, words = ["negative", "positive"], ["word"] * 6
    tints = {}
    for sign, value in (("positive", 0.99), ("negative", 0.01)):
        probability = np.tile([1 - value, value], (6, 1))
        figures.words_with_probability(words, probability, names, {}, tmp_path / f"{sign}.png")
        image = imread(tmp_path / f"{sign}.png")[..., :3]
        tints[sign] = image[..., 2].sum() - image[..., 0].sum()  # blue minus red
    assert tints["positive"] > 1000 > -1000 > tints["negative"]


def test_an_empty_review_and_one_word(tmp_path):
    figures.words_with_probability([], np.zeros((0, 2)), ["a", "b"], {}, tmp_path / "none.png")
    figures.words_with_probability(["fine"], probabilities(1, 2), ["a", "b"], gates(1), tmp_path / "one.png")
    assert size(tmp_path / "none.png")[0] < size(tmp_path / "one.png")[0]


@pytest.mark.parametrize("change", ["probability", "classes", "gates"])
def test_words_that_do_not_fit_are_refused(tmp_path, change):
    time, classes = (4, 2) if change == "probability" else (3, 3) if change == "classes" else (3, 2)
    with pytest.raises(ValueError, match="3 words and 2 classes do not fit"):
        figures.words_with_probability(
            ["a", "b", "c"],
            probabilities(time, classes),
            ["n", "p"],
            gates(4 if change == "gates" else 3),
            tmp_path / "words.png",
        )


def test_strips_stand_in_the_order_of_the_equations_whatever_the_order_they_come_in(tmp_path):
    words, probability, values = ["a", "b"], probabilities(2, 2), gates(2)
    figures.words_with_probability(words, probability, ["n", "p"], values, tmp_path / "a.png")
    turned = dict(reversed(values.items()))
    figures.words_with_probability(words, probability, ["n", "p"], turned, tmp_path / "b.png")
    figures.words_with_probability(words, probability, ["n", "p"], {"h": values["c"] / 2}, tmp_path / "c.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert size(tmp_path / "c.png")[1] < size(tmp_path / "a.png")[1]  # one strip, not four


@pytest.mark.parametrize("names", [["negative", "positive"], ["rather negative", "nothing", "rather positive"]])
def test_nothing_of_a_short_text_is_cut_off_at_the_edges(tmp_path, names):
    values = {**gates(2), "g": np.ones((2, 9))}
    figures.words_with_probability(["Not", "bad"], probabilities(2, len(names)), names, values, tmp_path / "a.png")
    image = imread(tmp_path / "a.png")[..., :3]
    for edge in (image[:6], image[-6:], image[:, :6], image[:, -6:]):
        assert (edge == 1).all()


def test_most_varied_units_are_shown():
    activations = np.zeros((5, 20))
    activations[:, [3, 17]] = np.arange(5)[:, None] * [1.0, 2.0]
    chosen = most_varied(activations).tolist()
    assert len(chosen) == MOST_UNITS and chosen == sorted(chosen)
    assert {3, 17} <= set(chosen)


def test_wrap_keeps_every_word_and_the_width():
    widths = RANDOM.uniform(0.3, 3.0, 200)
    rows = wrap(widths, 5.0)
    assert np.concatenate([widths[row] for row in rows]).tolist() == widths.tolist()
    assert all(sum(widths[row]) <= 5.0 for row in rows)
    assert wrap([9.0, 1.0], 5.0) == [slice(0, 1), slice(1, 2)]


def test_word_widths_are_those_of_the_letters():
    narrow, wide = word_widths(["iiiiiiii", "mmmmmmmm"])
    assert wide > 2 * narrow


def test_unfolded_network_is_as_long_as_the_sequence(tmp_path):
    for time in (3, 6):
        figures.unfolded_network(
            np.eye(time), np.tanh(RANDOM.normal(size=(time, 7))), probabilities(time, 4), list("abcdef")[:time],
            tmp_path / f"{time}.png", targets=list("bcdefg")[:time], names=list("abcd"),
        )  # fmt: skip
    assert size(tmp_path / "6.png")[0] > 1.4 * size(tmp_path / "3.png")[0]
    with pytest.raises(ValueError, match="2 tokens do not fit"):
        figures.unfolded_network(np.eye(3), np.zeros((3, 2)), np.zeros((3, 2)), ["a", "b"], tmp_path / "no.png")


def test_words_written_are_drawn_with_their_gates(tmp_path):
    words = ["▁Two", "▁dogs", "."]
    figures.words_written("Zwei Hunde.", words, np.array([0.9, 0.2, 0.8]), {}, tmp_path / "plain.png")
    figures.words_written("Zwei Hunde.", words, np.array([0.9, 0.2, 0.8]), gates(3), tmp_path / "gates.png")
    assert size(tmp_path / "gates.png")[1] > 1.5 * size(tmp_path / "plain.png")[1]
    figures.words_written("", [], np.zeros(0), {}, tmp_path / "nothing.png")
    assert size(tmp_path / "nothing.png")[0] > 100


def test_a_map_has_a_point_for_every_sentence(tmp_path):
    states = RANDOM.normal(size=(7, 12))
    figures.sentence_map(states, [f"sentence {n}" for n in range(7)], tmp_path / "seven.png")
    figures.sentence_map(states[:3], ["a", "b", "c"], tmp_path / "three.png")
    blue = (0, 114 / 255, 178 / 255)
    assert coloured(tmp_path / "seven.png", blue) > 1.8 * coloured(tmp_path / "three.png", blue) > 0
    figures.sentence_map(np.zeros((3, 2)), ["the same"] * 3, tmp_path / "same.png")
    with pytest.raises(ValueError, match="expected three or more of each"):
        figures.sentence_map(states[:2], ["a", "b"], tmp_path / "two.png")


def test_bars_are_as_long_as_their_values(tmp_path):
    blue = (0, 114 / 255, 178 / 255)
    for name, values in (("full", [10.0, 10.0]), ("half", [10.0, 0.0])):
        figures.bars(["a", "b"], values, [1, 2000], tmp_path / f"{name}.png", title="bars", names=("x", "y"))
    full, half = (coloured(tmp_path / f"{name}.png", blue) for name in ("full", "half"))
    assert full == pytest.approx(2 * half, rel=0.02)
    figures.bars(["a"], [0.0], [0], tmp_path / "zero.png", title="none", names=("x", "y"))

import numpy as np
import pytest
from matplotlib.image import imread

from pipelines.common.pictures.text_rows import MAX_UNITS, draw_classified_text, draw_decoded_text, most_varied
from tests.pipelines.common.pictures.pixels import coloured, gates, probabilities, size


def test_words_wrap_over_rows(tmp_path):
    for count in (10, 100):
        words = (["although", "I", "did", "not", "like", "it", ","] * 15)[:count]
        draw_classified_text(
            words, probabilities(count, 2), ["negative", "positive"], gates(count), tmp_path / f"{count}.png"
        )
    (width_10, height_10), (width_100, height_100) = size(tmp_path / "10.png"), size(tmp_path / "100.png")
    assert width_10 <= width_100 <= 1700
    assert height_100 > 2.5 * height_10


def test_words_of_other_scripts_dollars_and_one_endless_word(tmp_path):
    words = ["$5", "or", "$x^", "Привет", "三四", "שלום", "x" * 5000, "\x07", ""]
    draw_classified_text(
        words, probabilities(len(words), 3), ["a", "b", "c"], gates(len(words)), tmp_path / "words.png"
    )
    assert size(tmp_path / "words.png")[0] <= 1700


def test_words_of_a_very_long_review_are_cut_to_a_picture_that_opens(tmp_path):
    count = 1000
    draw_classified_text(["word"] * count, probabilities(count, 2), ["negative", "positive"], {}, tmp_path / "long.png")
    assert size(tmp_path / "long.png")[1] < 10_000


def test_probability_is_blue_where_the_second_class_leads_and_orange_where_the_first_does(tmp_path):
    names, words = ["negative", "positive"], ["word"] * 6
    tints = {}
    for sign, value in (("positive", 0.99), ("negative", 0.01)):
        probability = np.tile([1 - value, value], (6, 1))
        draw_classified_text(words, probability, names, {}, tmp_path / f"{sign}.png")
        image = imread(tmp_path / f"{sign}.png")[..., :3]
        tints[sign] = image[..., 2].sum() - image[..., 0].sum()  # blue minus red
    assert tints["positive"] > 1000 > -1000 > tints["negative"]


def test_attention_is_drawn_as_bars(tmp_path):
    """The highest bar of the text has the height of the strip, wherever the text wraps."""
    words, probability, names = ["word"] * 40, probabilities(40, 2), ["negative", "positive"]
    bars = {}
    for name, weights in (("none", None), ("zero", np.zeros(40)), ("one", np.eye(40)[3]), ("even", np.ones(40) / 40)):
        draw_classified_text(words, probability, names, {}, tmp_path / f"{name}.png", weights)
        bars[name] = coloured(tmp_path / f"{name}.png", 0.48)
    assert bars["even"] - bars["zero"] == pytest.approx(40 * (bars["one"] - bars["zero"]), rel=0.1)
    assert bars["one"] > bars["zero"] + 500
    assert size(tmp_path / "none.png")[1] < size(tmp_path / "even.png")[1] == size(tmp_path / "one.png")[1]


def test_an_empty_review_and_one_word(tmp_path):
    draw_classified_text([], np.zeros((0, 2)), ["a", "b"], {}, tmp_path / "none.png")
    draw_classified_text(["fine"], probabilities(1, 2), ["a", "b"], gates(1), tmp_path / "one.png", np.ones(1))
    assert size(tmp_path / "none.png")[0] < size(tmp_path / "one.png")[0]


@pytest.mark.parametrize("change", ["probability", "classes", "gates", "attention"])
def test_words_that_do_not_fit_are_refused(tmp_path, change):
    time, classes = (4, 2) if change == "probability" else (3, 3) if change == "classes" else (3, 2)
    with pytest.raises(ValueError, match="3 words and 2 classes do not fit"):
        draw_classified_text(
            ["a", "b", "c"],
            probabilities(time, classes),
            ["n", "p"],
            gates(4 if change == "gates" else 3),
            tmp_path / "words.png",
            np.ones(4 if change == "attention" else 3),
        )


def test_strips_stand_in_the_order_of_the_equations_whatever_the_order_they_come_in(tmp_path):
    words, probability, values = ["a", "b"], probabilities(2, 2), gates(2)
    draw_classified_text(words, probability, ["n", "p"], values, tmp_path / "a.png")
    turned = dict(reversed(values.items()))
    draw_classified_text(words, probability, ["n", "p"], turned, tmp_path / "b.png")
    draw_classified_text(words, probability, ["n", "p"], {"h": values["c"] / 2}, tmp_path / "c.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert size(tmp_path / "c.png")[1] < size(tmp_path / "a.png")[1]  # one strip, not four


@pytest.mark.parametrize("names", [["negative", "positive"], ["rather negative", "nothing", "rather positive"]])
def test_nothing_of_a_short_text_is_cut_off_at_the_edges(tmp_path, names):
    values = {**gates(2), "g": np.ones((2, 9))}
    draw_classified_text(["Not", "bad"], probabilities(2, len(names)), names, values, tmp_path / "a.png", np.ones(2))
    image = imread(tmp_path / "a.png")[..., :3]
    for edge in (image[:6], image[-6:], image[:, :6], image[:, -6:]):
        assert (edge == 1).all()


def test_most_varied_units_are_shown():
    activations = np.zeros((5, 20))
    activations[:, [3, 17]] = np.arange(5)[:, None] * [1.0, 2.0]
    chosen = most_varied(activations).tolist()
    assert len(chosen) == MAX_UNITS and chosen == sorted(chosen)
    assert {3, 17} <= set(chosen)


def test_words_written_are_drawn_with_their_gates(tmp_path):
    words = ["▁Two", "▁dogs", "."]
    draw_decoded_text("Zwei Hunde.", words, np.array([0.9, 0.2, 0.8]), {}, tmp_path / "plain.png")
    draw_decoded_text("Zwei Hunde.", words, np.array([0.9, 0.2, 0.8]), gates(3), tmp_path / "gates.png")
    assert size(tmp_path / "gates.png")[1] > 1.5 * size(tmp_path / "plain.png")[1]
    png, sources = tmp_path / "alignment.png", ["▁Zwei", "▁Hunde", "."]
    draw_decoded_text("Zwei Hunde.", words, np.array([0.9, 0.2, 0.8]), gates(3), png, sources, np.eye(3))
    assert size(png)[1] > size(tmp_path / "gates.png")[1]
    draw_decoded_text("", [], np.zeros(0), {}, tmp_path / "nothing.png")
    assert size(tmp_path / "nothing.png")[0] > 100

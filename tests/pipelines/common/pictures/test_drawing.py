import numpy as np

from pipelines.common.pictures.drawing import word_widths, wrap

RANDOM = np.random.default_rng(5)


def test_wrap_keeps_every_word_and_the_width():
    widths = RANDOM.uniform(0.3, 3.0, 200)
    rows = wrap(widths, 5.0)
    assert np.concatenate([widths[row] for row in rows]).tolist() == widths.tolist()
    assert all(sum(widths[row]) <= 5.0 for row in rows)
    assert wrap([9.0, 1.0], 5.0) == [slice(0, 1), slice(1, 2)]


def test_word_widths_are_those_of_the_letters():
    narrow, wide = word_widths(["iiiiiiii", "mmmmmmmm"])
    assert wide > 2 * narrow

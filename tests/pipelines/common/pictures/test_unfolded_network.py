import numpy as np
import pytest

from pipelines.common.pictures.unfolded_network import draw_unfolded_network
from tests.pipelines.common.pictures.pixels import probabilities, size

RANDOM = np.random.default_rng(5)


def test_unfolded_network_is_as_long_as_the_sequence(tmp_path):
    for time in (3, 6):
        draw_unfolded_network(
            np.eye(time), np.tanh(RANDOM.normal(size=(time, 7))), probabilities(time, 4), list("abcdef")[:time],
            tmp_path / f"{time}.png", targets=list("bcdefg")[:time], names=list("abcd"),
        )  # fmt: skip
    assert size(tmp_path / "6.png")[0] > 1.4 * size(tmp_path / "3.png")[0]
    with pytest.raises(ValueError, match="2 tokens do not fit"):
        draw_unfolded_network(np.eye(3), np.zeros((3, 2)), np.zeros((3, 2)), ["a", "b"], tmp_path / "no.png")

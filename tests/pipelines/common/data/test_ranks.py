import numpy as np
import pytest

from pipelines.common.data import ranks
from pipelines.common.data.splits import ranks_of


@pytest.mark.parametrize("run", [1, 7, 64, 1000])
def test_ranks_are_those_of_texts_in_memory(tmp_path, monkeypatch, run):
    monkeypatch.setattr(ranks, "RUN", run)
    random = np.random.default_rng(1)
    texts = ["".join(random.choice(list("abÄ狗\U0001f600 "), random.integers(0, 4))) for _ in range(300)]
    assert len(set(texts)) < 200
    np.testing.assert_array_equal(ranks.ranks(iter(texts), tmp_path), ranks_of(texts))
    assert not list(tmp_path.iterdir())


def test_no_texts(tmp_path):
    assert ranks.ranks([], tmp_path).shape == (0,)

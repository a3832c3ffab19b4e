import numpy as np
import pytest

from pipelines.common.data import splits
from pipelines.common.data.splits import ranks, ranks_of, split, split_ranks
from pipelines.common.errors import UserError


def test_groups_stay_together_and_every_row_is_in_one_part():
    groups = [f"group {row % 10}" for row in range(50)]
    larger, smaller = split(groups, 8, 1, "here", "two groups")
    assert sorted(larger + smaller) == list(range(50)) and len(smaller) == 10
    assert {groups[row] for row in larger}.isdisjoint(groups[row] for row in smaller)
    assert split(groups, 8, 1, "here", "two groups") == (larger, smaller) != split(groups, 8, 2, "here", "two groups")


def test_rows_without_groups_are_the_first_of_a_permutation():
    """So that a run of an earlier version finds the same parts."""
    larger, smaller = split(range(20), 5, 3, "here", "two groups")
    assert smaller == sorted(np.random.default_rng(3).permutation(20)[:5].tolist()) and len(larger) == 15


@pytest.mark.parametrize("size", [0, 100])
def test_no_part_is_empty(size):
    assert sorted(map(len, split("abc", size, 1, "here", "two groups"))) == [1, 2]


@pytest.mark.parametrize("groups", ["", "a", "aaa"])
def test_one_group_cannot_be_split(groups):
    with pytest.raises(UserError, match="--data here cannot be split: expected two groups"):
        split(groups, 1, 1, "here", "two groups")


def split_by_the_definition(groups, size, seed):
    """Whole groups, in the order of a permutation, until there are enough rows."""
    known, chosen, taken = sorted(set(groups)), set(), 0
    for number in np.random.default_rng(seed).permutation(len(known))[:-1]:
        if chosen and taken >= size:
            break
        chosen.add(known[number])
        taken += groups.count(known[number])
    return [[row for row, group in enumerate(groups) if (group in chosen) == smaller] for smaller in (False, True)]


def test_numbered_groups_are_split_as_groups_are():
    random = np.random.default_rng(0)
    for seed in range(30):
        groups = [f"group {number}" for number in random.integers(0, 12, 40)]
        size = float(random.uniform(0, 45))
        expected = split_by_the_definition(groups, size, seed)
        assert list(split(groups, size, seed, "here", "two groups")) == expected
        rows = np.flatnonzero(random.random(40) < 0.7)  # some of the rows: not all numbers occur
        found = split_ranks(ranks_of(groups)[rows], size, seed, "here", "two groups")
        assert [part.tolist() for part in found] == split_by_the_definition([groups[row] for row in rows], size, seed)


@pytest.mark.parametrize("run", [1, 7, 64, 1000])
def test_ranks_are_those_of_texts_in_memory(tmp_path, monkeypatch, run):
    monkeypatch.setattr(splits, "RUN", run)
    random = np.random.default_rng(1)
    texts = ["".join(random.choice(list("abÄ狗\U0001f600 "), random.integers(0, 4))) for _ in range(300)]
    assert len(set(texts)) < 200
    for folder in (tmp_path, None):
        np.testing.assert_array_equal(ranks(iter(texts), folder), ranks_of(texts))
    assert not list(tmp_path.iterdir())


def test_ranks_of_no_texts(tmp_path):
    assert ranks([], tmp_path).shape == (0,)

import numpy as np
import pytest

from pipelines.common.data.batching import FILLER, JITTER, padded_length, plan_batches

LENGTHS = np.random.default_rng(0).integers(0, 700, 500)


def plan(**options):
    return plan_batches(LENGTHS, **{"max_rows": 16, "max_steps": 4000, **options})


@pytest.mark.parametrize("shapes", [1, 4, 8])
def test_padded_length_rounds_up_to_few_shapes(shapes):
    padded = [padded_length(length, shapes) for length in range(1, 1025)]
    assert all(length <= found <= max(2 * length, 4) for length, found in enumerate(padded, start=1))
    assert padded == sorted(padded)
    for low in (64, 256, 512):
        assert len(set(padded[low : 2 * low])) == shapes
    assert padded_length(128, shapes) == 128


def test_every_sequence_is_in_one_batch():
    rows = np.concatenate([rows for rows, _ in plan(seed=1)])
    assert sorted(rows[rows != FILLER]) == list(range(len(LENGTHS)))
    assert (rows == FILLER).sum() < 16


def test_batches_keep_the_limits():
    for rows, steps in plan():
        assert len(rows) <= 16
        assert len(rows) == 1 or len(rows) * steps <= 4000
        assert steps >= LENGTHS[rows[rows != FILLER]].max()
    for rows, steps in plan(seed=3):  # a random order may exceed them by as much as it strays
        assert len(rows) * steps <= 4000 * (1 + 2 * JITTER) or len(rows) == 1


def test_order_depends_only_on_seed_and_epoch():
    def flat(plan):
        return [(rows.tolist(), steps) for rows, steps in plan]

    first = flat(plan(seed=1, epoch=2))
    assert first == flat(plan(seed=1, epoch=2))
    for other in (plan(seed=1, epoch=3), plan(seed=2, epoch=2)):
        assert first != flat(other)
        assert len(first) == len(other)
        assert {tuple(sorted(rows)) for rows, _ in first} != {tuple(sorted(rows)) for rows, _ in flat(other)}


def test_padding_is_little():
    padded = sum(len(rows) * steps for rows, steps in plan(seed=1))
    assert padded < 1.2 * np.maximum(LENGTHS, 1).sum()


def test_no_sequences_make_no_batch():
    assert plan_batches(np.zeros(0, np.int64), max_rows=4, max_steps=10) == []

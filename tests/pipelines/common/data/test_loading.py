import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf

from pipelines.common.data.corpora import TEXTS_AT_ONCE
from pipelines.common.data.loading import (
    FILLER,
    JITTER,
    computed,
    padded_length,
    plan_batches,
    streamed,
    without_autotune,
)

LENGTHS = np.random.default_rng(0).integers(0, 700, 500)


def test_autotune_is_off_in_datasets_made_from_one():
    made = without_autotune(tf.data.Dataset.range(5)).map(lambda n: n + 1, num_parallel_calls=2).batch(2).prefetch(1)
    assert made.options().autotune.enabled is False
    assert [batch.numpy().tolist() for batch in made] == [[1, 2], [3, 4], [5]]
    both = tf.data.Dataset.zip(without_autotune(tf.data.Dataset.range(2)), without_autotune(tf.data.Dataset.range(2)))
    assert both.take(1).options().autotune.enabled is False


def test_texts_are_streamed_in_batches():
    texts = [f"text {number}" for number in range(TEXTS_AT_ONCE + 1)]
    batches = list(streamed(texts))
    assert [len(batch) for batch in batches] == [TEXTS_AT_ONCE, 1]
    assert b"".join(batches[1].numpy()).decode() == texts[-1]
    assert list(streamed([])) == []


def test_computed_elements_have_the_structure_of_the_signature():
    def element(number):
        return {"b": (np.full(2, number), np.float32(number)), "a": np.arange(number)}

    signature = {
        "a": tf.TensorSpec([None], tf.int64),
        "b": (tf.TensorSpec([2], tf.int64), tf.TensorSpec([], tf.float32)),
    }
    found = computed(element, 3, signature)
    assert int(found.cardinality()) == 3
    assert found.element_spec == signature
    (last,) = found.skip(2).as_numpy_iterator()
    assert (last["a"].tolist(), last["b"][0].tolist(), last["b"][1]) == ([0, 1], [2, 2], 2)


def test_what_computes_a_dataset_ends_with_it():
    class Numbers:
        def get(self, number):
            return number

    numbers = Numbers()
    weak = weakref.ref(numbers)
    found = computed(numbers.get, 100, tf.TensorSpec([], tf.int64))
    rest = iter(found.skip(1))
    del found, numbers
    gc.collect()
    assert int(next(rest)) == 1 and weak()
    del rest
    gc.collect()
    assert weak() is None


# Batches of sequences of similar length -------------------------------------------------------------------------------


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

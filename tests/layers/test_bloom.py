import numpy as np
import pytest
import tensorflow as tf

from layers.bloom import BloomFilter


@pytest.fixture(scope="module")
def words():
    return [f"word {number}" for number in range(5000)] + ["", "ä", "ä"]


def test_all_strings_are_found_and_few_others(words):
    found = BloomFilter.of(tf.constant(words))
    assert found(tf.constant(words)).numpy().all()
    others = found(tf.constant([f"other {number}" for number in range(20_000)])).numpy()
    assert others.mean() < 0.03
    assert len(found.table) == len(set(words))  # 8 bits each


def test_the_places_do_not_depend_on_process_or_version():
    assert np.flatnonzero(np.unpackbits(BloomFilter.of(["a", "Straße"]).table)).tolist() == PLACES


PLACES = [5, 12, 16, 20, 22, 26, 32, 36, 63]  # of FarmHash


def test_strings_are_added_to_a_filter_of_the_same_size(words):
    some = BloomFilter.of(words)
    more = some.with_strings(["new", "newer"])
    assert more(["new", "newer", "ä"]).numpy().all() and len(more.table) == len(some.table)
    np.testing.assert_array_equal(some.table | more.table, more.table)


def test_any_shape_in_a_graph():
    found = tf.function(BloomFilter.of(["a", "b"]), autograph=False)
    np.testing.assert_array_equal(found(tf.constant([["a", "x"], ["y", "b"]])), [[True, False], [False, True]])
    ragged = found(tf.ragged.constant([["x", "a", "b"], [], ["b"]], dtype=tf.string))
    assert ragged.to_list() == [[False, True, True], [], [True]]
    assert found(tf.constant([], tf.string)).shape == [0]


def test_no_string_at_all():
    assert not BloomFilter.of(tf.constant([], tf.string))(["a", ""]).numpy().any()


@pytest.mark.parametrize("table", [np.zeros(8), np.zeros([2, 2], np.uint8), np.zeros(0, np.uint8)])
def test_a_table_that_is_none(table):
    with pytest.raises(ValueError, match="expected uint8"):
        BloomFilter(table)

import gc
import weakref

import numpy as np
import tensorflow as tf

from pipelines.common.data.corpora import TEXTS_AT_ONCE
from pipelines.common.data.loading import computed, text_batches, without_autotune


def test_autotune_is_off_in_datasets_made_from_one():
    made = without_autotune(tf.data.Dataset.range(5)).map(lambda n: n + 1, num_parallel_calls=2).batch(2).prefetch(1)
    assert made.options().autotune.enabled is False
    assert [batch.numpy().tolist() for batch in made] == [[1, 2], [3, 4], [5]]
    both = tf.data.Dataset.zip(without_autotune(tf.data.Dataset.range(2)), without_autotune(tf.data.Dataset.range(2)))
    assert both.take(1).options().autotune.enabled is False


def test_text_batches():
    texts = [f"text {number}" for number in range(TEXTS_AT_ONCE + 1)]
    batches = list(text_batches(texts))
    assert [len(batch) for batch in batches] == [TEXTS_AT_ONCE, 1]
    assert b"".join(batches[1].numpy()).decode() == texts[-1]
    assert list(text_batches([])) == []


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

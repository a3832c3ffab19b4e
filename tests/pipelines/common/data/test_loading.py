import tensorflow as tf

from pipelines.common.data.loading import TEXTS_AT_ONCE, text_batches, without_autotune


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

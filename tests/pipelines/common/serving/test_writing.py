"""Models that say the same at every step, whatever they have read: their state is what they say."""

import numpy as np
import pytest
import tensorflow as tf

from layers import decoding
from layers.text import END, UNKNOWN
from pipelines.common.serving.writing import Writer

WORDS = tf.constant(["", "<unk>", "<s>", "</s>", "a", "b", "c"])
PROBABILITIES = np.array([[0.0, 0.3, 0.0, 0.1, 0.4, 0.15, 0.05], [0.0, 0.1, 0.0, 0.1, 0.1, 0.5, 0.2]], np.float32)


def step(ids, state):
    return state, state


def encode(texts):
    def numbers(letters):
        return tf.argmax(letters[:, None] == WORDS, axis=1, output_type=tf.int32)

    return tf.ragged.map_flat_values(numbers, tf.strings.unicode_split(texts, "UTF-8")), None


def decode(ids):
    return tf.strings.reduce_join(tf.gather(WORDS, ids), axis=-1)


def states(*models, batch=3):
    """Every model's state, of its probabilities."""
    return [tf.math.log(tf.tile(PROBABILITIES[None, model] + 1e-9, [batch, 1])) for model in models]


VALID = tf.constant([True, False, True])


def test_greedy_leaves_out_what_is_not_there_and_never_writes_an_unknown_word():
    assert PROBABILITIES[0, UNKNOWN] > PROBABILITIES[0, END]
    writer = Writer([step], encode, decode, name="caption", missing=decoding.NEVER)
    found = writer.greedy(states(0), VALID, 3)
    assert found["caption"].numpy().tolist() == [b"aaa", b"", b"aaa"]
    assert found["candidates"].numpy().tolist() == [[b"aaa"], [b""], [b"aaa"]]
    np.testing.assert_allclose(found["score"], [np.log(0.4**3 * 0.1), -np.inf, np.log(0.4**3 * 0.1)], rtol=1e-5)


def test_several_models_vote_with_the_mean_of_their_probabilities():
    writer = Writer([step, step], encode, decode, name="translation", missing=0.0)
    found = writer.greedy(states(0, 1), VALID, 2)
    assert found["translation"].numpy().tolist() == [b"bb", b"", b"bb"]
    assert found["score"][1] == 0
    assert float(found["score"][0]) == pytest.approx(np.log(((0.15 + 0.5) / 2) ** 2 * 0.1), rel=1e-5)


@pytest.mark.parametrize("prefix", [["c"], ["c", "c", "c"]])
def test_every_sentence_begins_with_its_prefix(prefix):
    writer = Writer([step], encode, decode, name="caption", missing=decoding.NEVER)
    found = writer.beam(states(0), VALID, tf.constant(prefix), 2, 0.0, 3, 3)
    assert found["caption"].numpy().tolist() == [b"caa", b"", b"caa"]
    assert set(found["candidates"][0, 1:].numpy()) <= {b"cab", b"cba"}  # equally likely
    drawn = writer.sample(states(0), VALID, tf.constant(prefix), 1.0, 1, 1.0, 0, 3)
    assert drawn["caption"].numpy().tolist() == [b"caa", b"", b"caa"]

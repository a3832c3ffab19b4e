import keras
import numpy as np
import pytest
import tensorflow as tf

from layers.word_softmax import WordSoftmax


@pytest.fixture(autouse=True)
def policy():
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


class Writer(keras.Model):
    """Word vectors, and a softmax that is tied to them or has its own weights."""

    def __init__(self, tied):
        super().__init__()
        keras.utils.set_random_seed(1)
        self.embedding = keras.layers.Embedding(7, 3, name="embedding")
        self.softmax = WordSoftmax(7, self.embedding if tied else None)

    def call(self, words):
        return self.softmax(self.embedding(words))


WORDS = tf.constant([[1, 2], [6, 0]])


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_logits_are_those_of_the_equation_in_float32(tied, precision):
    """The weights are never rounded, not even where a model of half precision calls it."""
    keras.config.set_dtype_policy(precision)
    model = Writer(tied)
    logits = model(WORDS)
    model.softmax.bias.assign(np.arange(7) / 7)
    logits = model(WORDS)
    x = model.embedding(WORDS).numpy().astype(np.float64)
    kernel = model.embedding.embeddings if tied else model.softmax.own_kernel
    assert logits.dtype == tf.float32 and model.softmax.kernel.dtype == tf.float32
    np.testing.assert_allclose(logits, x @ kernel.numpy().astype(np.float64).T + np.arange(7) / 7, atol=1e-6)


def test_it_can_initialize_bias_the_frequencies_of_the_words():
    """Two texts, "4 5 4" and "6": their ends (3) and one of each word count as well."""
    softmax = WordSoftmax(7)
    softmax.build((None, 3))
    softmax.initialize_bias(np.array([4, 5, 4, 6]), texts=2)
    np.testing.assert_allclose(tf.nn.softmax(softmax(tf.zeros([1, 3])))[0], np.array([1, 1, 1, 3, 3, 2, 2]) / 13, 1e-6)


@pytest.mark.parametrize("tied", [False, True])
def test_weights_are_listed_once_and_can_be_stored(tied, tmp_path):
    model, other = Writer(tied), Writer(tied)
    model(WORDS), other(WORDS)
    assert len(model.trainable_variables) == len({id(weight) for weight in model.variables}) == (2 if tied else 3)
    for weight in model.weights:
        weight.assign(tf.random.normal(weight.shape))
    model.save_weights(tmp_path / "some.weights.h5")
    other.load_weights(tmp_path / "some.weights.h5")
    np.testing.assert_array_equal(other(WORDS), model(WORDS))


def test_the_gradient_of_word_vectors_has_both_their_shares():
    model = Writer(tied=True)
    model(WORDS)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(model(WORDS) ** 2)
    found = tf.convert_to_tensor(tape.gradient(total, model.embedding.embeddings))
    E = model.embedding.embeddings.numpy().astype(np.float64)
    x = E[WORDS.numpy().ravel()]
    expected = 2 * (x @ E.T).T @ x  # as the softmax
    np.add.at(expected, WORDS.numpy().ravel(), 2 * (x @ E.T) @ E)  # as word vectors
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)

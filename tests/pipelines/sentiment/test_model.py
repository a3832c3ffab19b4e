import itertools

import keras
import numpy as np
import pytest

from layers.pooling import AttentionPooling
from layers.text import PADDING, UNKNOWN
from pipelines.sentiment.model import WordDropout, attention_model, build_model, recurrent_layers

SIZES = {"vocabulary_size": 9, "classes": 3, "units": 4, "layers": 1, "embedding_units": 5}
SIZES |= {"embedding_dropout": 0.3, "word_dropout": 0.3, "recurrent_dropout": 0.0, "dropout": 0.3, "seed": 1}
WORDS = np.array([[3, 4, 5, 6], [7, 1, 0, 0], [0, 0, 0, 0]], np.int32)


def build(cell="lstm", bidirectional=True, pooling=("max",), **changes):
    return build_model(cell=cell, bidirectional=bidirectional, pooling=pooling, **{**SIZES, **changes})


POOLINGS = [("last",), ("mean",), ("max",), ("attention",), ("last", "mean", "max", "attention")]


@pytest.mark.parametrize(
    ("cell", "bidirectional", "pooling"), list(itertools.product(["lstm", "rnn"], [True, False], POOLINGS))
)
def test_padding_is_ignored_and_empty_reviews_are_finite(cell, bidirectional, pooling):
    model = build(cell, bidirectional, pooling)
    answers = model(WORDS).numpy()
    assert answers.shape == (3, 3)
    assert np.isfinite(answers).all()
    np.testing.assert_allclose(model(np.pad(WORDS, [(0, 0), (0, 5)])), answers, atol=1e-6)
    np.testing.assert_allclose(model(np.pad(WORDS, [(0, 0), (3, 0)])), answers, atol=1e-6)
    np.testing.assert_allclose(model(WORDS[1:2, :2]), answers[1:2], atol=1e-6)
    assert not np.allclose(answers[0], answers[1])


def test_attention_weights_are_those_of_the_prediction():
    model = build(pooling=("attention", "max"))
    inner = keras.Model(model.input, [model.get_layer("recurrent_1").output[0], model.get_layer("review").output])
    states, review = (value.numpy() for value in inner(WORDS))
    weights = attention_model(model)(WORDS).numpy()
    np.testing.assert_allclose(weights.sum(axis=1), [1, 1, 0], atol=1e-6)
    assert (weights[1, 2:] == 0).all() and len(set(weights[0])) == 4
    np.testing.assert_allclose((weights[:, :, None] * states).sum(axis=1), review[:, :8], atol=1e-6)
    (layer,) = (layer for layer in model.layers if isinstance(layer, AttentionPooling))
    assert layer.kernel.shape == (8, 8)
    assert attention_model(build()) is None


def test_the_other_poolings_are_initialized_as_before_there_was_attention():
    """The seeds of a model without it: resumed runs and repeated experiments keep their weights."""
    first, second = build(pooling=("max",)), build(pooling=("max", "attention"))
    for name in ("embedding", "recurrent_1"):
        for own, other in zip(first.get_layer(name).get_weights(), second.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(own, other)


def test_last_is_the_last_word_of_each_direction():
    model = build(pooling=("last",), layers=2)
    second = model.get_layer("recurrent_2")
    inner = keras.Model(model.input, [second.output[0], model.get_layer("dropout").output])
    states, review = inner(WORDS[:2])
    np.testing.assert_allclose(review[0], np.concatenate([states[0, 3, :4], states[0, 0, 4:]]), atol=1e-6)
    np.testing.assert_allclose(review[1], np.concatenate([states[1, 1, :4], states[1, 0, 4:]]), atol=1e-6)


def test_the_directions_have_different_initial_weights():
    layer = build().get_layer("recurrent_1")
    first, second = layer.forward_layer.get_weights(), layer.backward_layer.get_weights()
    assert not np.allclose(first[0], second[0])
    assert not np.allclose(first[1], second[1])
    ((only,),) = recurrent_layers(build(bidirectional=False))
    assert only.name == "forward_1"


def test_the_seed_makes_weights_and_dropout_repeatable():
    first, again, other = build(), build(), build(seed=2)
    np.testing.assert_array_equal(first(WORDS, training=True), again(WORDS, training=True))
    assert not np.allclose(first(WORDS, training=True), first(WORDS))
    assert not np.allclose(first(WORDS), other(WORDS))


def test_word_dropout_replaces_words_only_in_training():
    ids = np.full((50, 100), 7, np.int32)
    ids[:, 90:] = PADDING
    layer = WordDropout(0.2, seed=1)
    np.testing.assert_array_equal(layer(ids), ids)
    found = keras.ops.convert_to_numpy(layer(ids, training=True))
    assert (found[:, 90:] == PADDING).all()
    assert set(np.unique(found[:, :90])) == {UNKNOWN, 7}
    assert (found[:, :90] == UNKNOWN).mean() == pytest.approx(0.2, abs=0.03)


def test_a_saved_model_loads_with_its_own_layers(tmp_path):
    model = build("rnn", pooling=("mean", "max", "attention"))
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "model.keras")(WORDS), model(WORDS), atol=1e-6)


def test_plain_keras_can_train_it():
    model = build(embedding_dropout=0.0, word_dropout=0.0, dropout=0.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.1), loss=loss, jit_compile=False)
    history = model.fit(WORDS, np.array([0, 1, 2]), epochs=8, verbose=0).history["loss"]
    assert history[-1] < 0.5 * history[0]

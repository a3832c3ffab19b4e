import itertools

import numpy as np
import pytest
import tensorflow as tf

from layers import decoding
from layers.text import END, START
from pipelines.translation.model import TranslationModel

SIZES = {"source_vocabulary": 20, "target_vocabulary": 30, "layers": 3, "units": 8, "embedding_units": 6, "seed": 3}
SOURCE = np.array([[4, 5, 6, 7, 8], [9, 10, 11, 0, 0], [0, 0, 0, 0, 0]], np.int32)
TOKENS = np.array([[2, 5, 6, 7], [2, 7, 0, 0], [2, 9, 9, 0]], np.int32)
KINDS = [
    {},
    {"cell": "rnn", "reverse": False, "context": "last", "tied": True},
    {"bidirectional": True, "residual": True, "context": "max", "tied": True},
    {"residual": True, "context": "mean", "initial_range": 0.08},
    {"attention": "general", "bidirectional": True, "tied": True, "layers": 1},
    {"attention": "dot", "residual": True, "variational": True},
    {
        "attention": "additive",
        "attention_input": True,
        "bidirectional": True,
        "residual": True,
        "recurrent_dropout": 0.2,
    },
    {"attention": "general", "attention_input": True, "cell": "rnn", "tied": True, "initial_range": 0.08},
]


def build(**changes) -> TranslationModel:
    model = TranslationModel(**{**SIZES, **changes})
    model((SOURCE, TOKENS))
    return model


@pytest.mark.parametrize("changes", KINDS)
def test_teacher_forcing_and_decoding_compute_the_same_logits(changes):
    """One call with teacher forcing equals a call for each step."""
    model = build(**changes)
    forced = model((SOURCE, TOKENS)).numpy()
    state = model.encode(tf.constant(SOURCE))
    for t in range(TOKENS.shape[1]):
        logits, state = model.step(tf.constant(TOKENS[:, t]), state)
        np.testing.assert_allclose(logits, forced[:, t], atol=1e-5)
    assert np.isfinite(forced).all()


@pytest.mark.parametrize("changes", KINDS)
def test_padding_is_ignored(changes):
    model = build(**changes)
    alone = model((SOURCE[1:2, :3], TOKENS[1:2])).numpy()
    np.testing.assert_allclose(model((SOURCE, TOKENS)).numpy()[1:2], alone, atol=1e-5)
    wider = np.pad(SOURCE, [(0, 0), (0, 3)])
    np.testing.assert_allclose(model((wider, TOKENS)), model((SOURCE, TOKENS)), atol=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_memory_is_in_the_order_of_the_source(bidirectional):
    """A reversed source is read from its end: its first word changes only the vector at its own place."""
    model = build(attention="dot", reverse=True, bidirectional=bidirectional, layers=1)
    other = np.array(SOURCE)
    other[0, 0] = 13
    before, after = (model.encode(tf.constant(source))["memory"].values.numpy() for source in (SOURCE, other))
    width = model.encoder[0].units  # the forward layer, which reads the reversed source
    changed = (before[0, :, :width] != after[0, :, :width]).any(axis=-1)
    assert changed.tolist() == [True, False, False, False, False]
    np.testing.assert_array_equal(before[1:, :, :width], after[1:, :, :width])


def test_a_reversed_source_is_the_source_read_from_its_end():
    forwards, backwards = build(reverse=False), build(reverse=True)
    turned = np.array([[8, 7, 6, 5, 4], [11, 10, 9, 0, 0], [0, 0, 0, 0, 0]], np.int32)
    np.testing.assert_allclose(forwards((turned, TOKENS)), backwards((SOURCE, TOKENS)), atol=1e-6)
    assert not np.allclose(forwards((SOURCE, TOKENS)), backwards((SOURCE, TOKENS)))


def test_the_encoder_starts_every_layer_of_the_decoder():
    model = build()
    state = model.encode(tf.constant(SOURCE))
    assert list(state) == ["layers"] and [len(layer) for layer in state["layers"]] == [2, 2, 2]
    x = model.source_embedding(SOURCE[:1, ::-1])
    for number, layer in enumerate(model.encoder):
        x, h, c = layer(x)
        np.testing.assert_allclose(state["layers"][number][0][:1], h, atol=1e-6)
        np.testing.assert_allclose(state["layers"][number][1][:1], c, atol=1e-6)


@pytest.mark.parametrize("changes", [{}, {"attention": "additive"}])
def test_all_weights_in_the_range_of_the_paper(changes):
    model = build(initial_range=0.08, **changes)
    drawn = [weight for weight in model.trainable_variables if "readout/bias" not in weight.path]
    values = np.concatenate([weight.numpy().ravel() for weight in drawn])
    assert np.abs(values).max() <= 0.08
    assert abs(values).mean() == pytest.approx(0.04, rel=0.05)


def test_every_weight_is_trained_and_stored(tmp_path):
    for number, changes in enumerate(KINDS):
        model = build(**changes, dropout=0.2, embedding_dropout=0.2, word_dropout=0.2)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model((SOURCE, TOKENS), training=True)[:, :, :7] ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        assert [v.path for v, g in zip(model.trainable_variables, gradients, strict=True) if g is None] == []
        path = tmp_path / f"{number}.weights.h5"
        model.save_weights(path)
        again = TranslationModel.from_config(model.get_config())
        again((SOURCE, TOKENS))
        again.load_weights(path)
        np.testing.assert_array_equal(again((SOURCE, TOKENS)), model((SOURCE, TOKENS)))


def test_the_same_seed_gives_the_same_weights():
    for first, second in zip(build().weights, build().weights, strict=True):
        np.testing.assert_array_equal(first, second)
    one, other = (build(seed=seed).source_embedding.embeddings for seed in (3, 4))
    assert not np.array_equal(one, other)


def test_contexts_that_are_refused():
    with pytest.raises(ValueError, match="context is 'first'"):
        build(context="first")
    with pytest.raises(ValueError, match="context is 'max', expected 'none' with attention"):
        build(context="max", attention="dot")


def test_beam_search_finds_the_best_of_all_sentences():
    """With a model of three words, over three steps."""
    model = TranslationModel(**{**SIZES, "target_vocabulary": 6, "layers": 2, "residual": True})
    model((SOURCE, TOKENS[:, :1]))
    state = model.encode(tf.constant(SOURCE[:1]))
    found = decoding.beam_search(
        model.step, state, start=START, end=END, beam_size=40, max_length=3, forbidden=(0, 1, START)
    )
    scores = {}
    for length in range(4):
        for words in itertools.product((4, 5), repeat=length):
            inputs, targets = [START, *words], [*words, END]
            log_probability = tf.nn.log_softmax(model((SOURCE[:1], np.array([inputs], np.int32))))[0].numpy()
            scores[words] = sum(log_probability[t, word] for t, word in enumerate(targets))
    best = sorted(scores, key=scores.get, reverse=True)
    for place, words in enumerate(best):
        assert tuple(found.ids[0, place].numpy()[: len(words)]) == words
        assert float(found.scores[0, place]) == pytest.approx(scores[words], abs=1e-4)


def test_keras_can_train_it():
    """The model works with Keras's own `fit`."""
    model = build()
    model.compile("adam", "sparse_categorical_crossentropy")
    history = model.fit((SOURCE, TOKENS), np.roll(TOKENS, -1, axis=1), epochs=2, verbose=0)
    assert len(history.history["loss"]) == 2

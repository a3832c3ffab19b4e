import itertools

import numpy as np
import pytest
import tensorflow as tf

from layers import decoding
from layers.text import END, START
from pipelines.captioning.model import CaptioningModel
from pipelines.common.vision.encoders import set_trainable

SIZES = {
    "vocabulary": 30, "encoder": "small", "image_size": 16, "image": "first", "cell": "lstm", "layers": 1, "units": 8,
    "embedding_units": 6, "tied": True, "seed": 3,
}  # fmt: skip
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)
WORDS = np.array([[2, 5, 6, 7], [2, 7, 0, 0], [2, 9, 9, 0]], np.int32)
KINDS = [
    {},
    {"layers": 2, "tied": False},
    {"cell": "rnn", "layers": 2},
    {"image": "state", "layers": 2},
    {"image": "state", "cell": "rnn", "tied": False},
    {"image": "merge"},
    {"image": "merge", "cell": "rnn", "tied": False},
    {"image": "attend", "attention": "dot"},
    {"image": "attend", "attention": "general", "layers": 2, "cell": "rnn", "attention_gate": True},
    {"image": "attend", "attention_input": True, "layers": 2, "tied": False},
    {"image": "attend", "attention": "general", "attention_input": True, "attention_gate": True},
]


def build(**changes) -> CaptioningModel:
    model = CaptioningModel(**{**SIZES, **changes})
    model((PIXELS, WORDS))
    return model


@pytest.mark.parametrize("changes", KINDS)
def test_teacher_forcing_and_decoding_give_the_same_logits(changes):
    """`decode` of all words, and `step` word by word."""
    model = build(**changes)
    forced = model((PIXELS, WORDS)).numpy()
    state = model.initial_state(model.encode_images(PIXELS))
    for t in range(WORDS.shape[1]):
        logits, state = model.step(tf.constant(WORDS[:, t]), state)
        np.testing.assert_allclose(logits, forced[:, t], atol=1e-5)
    assert np.isfinite(forced).all()


@pytest.mark.parametrize("image", ["first", "state", "merge"])
def test_the_image_is_the_first_input_the_state_or_merged(image):
    """first: like a word before the first one; state: as h and c; merge: the decoder does not read it."""
    model = build(image=image)
    state = model.initial_state(model.encode_images(PIXELS))
    features = model.image_norm(model.encode_images(PIXELS))
    (layer,) = model.decoder
    h, c = state["layers"][0]
    if image == "first":
        _, (expected_h, expected_c) = layer.cell(model.image_vector(features), [tf.zeros([3, 8])] * 2)
    elif image == "state":
        expected_h, expected_c = (dense(features) for dense in model.first_states[0])
    else:
        expected_h = expected_c = tf.zeros([3, 8])
        np.testing.assert_allclose(state["image"], model.image_vector(features))
    np.testing.assert_allclose(h, expected_h, atol=1e-6)
    np.testing.assert_allclose(c, expected_c, atol=1e-6)
    logits = model((PIXELS, WORDS)).numpy()
    assert np.abs(logits[0] - model((PIXELS[::-1], WORDS)).numpy()[0]).max() > 1e-4  # the image matters
    if image == "merge":
        x = layer(model.embedding(WORDS))[0]
        both = tf.concat([x, tf.repeat(model.image_vector(features)[:, None], 4, axis=1)], axis=-1)
        np.testing.assert_allclose(logits, model.softmax(model.readout(both)), atol=1e-6)


ATTENDING = [kind for kind in KINDS if kind.get("image") == "attend"]


@pytest.mark.parametrize("changes", ATTENDING)
def test_attention_is_that_of_the_equations(changes):
    """The first two steps, written out: m from the map, h(0) from its mean, then h, c and the readout."""
    model = build(**changes)
    maps = model.encode_images(PIXELS)
    assert maps.shape == (3, 4, 64)
    normal = model.image_norm(maps)
    memory = model.attention.memory(model.locations(normal), tf.ones([3, 4], tf.bool))
    layers = [[dense(tf.reduce_mean(normal, axis=1)) for dense in layer] for layer in model.first_states]
    state = model.initial_state(maps)
    np.testing.assert_allclose(state["memory"].values, memory.values, atol=1e-6)
    outputs, decoded = model.decode(WORDS, state)

    def look(h):
        context, alpha = model.attention(h, memory)
        gate = 1.0 if model.attention_gate is None else tf.sigmoid(h @ model.attention_gate.kernel)
        return gate * context, alpha

    inside = model.recurrent_decoder.attention_input
    context = look(layers[-1][0])[0] if inside else None
    for t in range(2):
        e = model.embedding(WORDS[:, t])
        h = e if context is None else tf.concat([e, context], axis=-1)
        for number, layer in enumerate(model.decoder):
            h, layers[number] = layer.cell(h, layers[number])
        new, alpha = look(h)
        context = new if inside else None
        expected = tf.tanh(tf.concat([h, new, e], axis=-1) @ model.readout.kernel)
        np.testing.assert_allclose(outputs[:, t], expected, atol=1e-5)
        np.testing.assert_allclose(decoded.alignment[:, t], alpha, atol=1e-5)
    np.testing.assert_allclose(tf.reduce_sum(decoded.alignment, axis=-1), np.ones([3, 4]), atol=1e-5)


@pytest.mark.parametrize("changes", ATTENDING)
def test_the_captions_of_an_image_share_its_memory(changes):
    """The same outputs as with the image repeated for each caption."""
    model = build(**changes)
    words = np.concatenate([WORDS, WORDS[::-1]])
    maps = model.encode_images(PIXELS)
    state = model.for_captions(model.initial_state(maps), 2)
    assert state["memory"].values.shape[0] == 3 and state["layers"][0][0].shape[0] == 6
    shared, repeated = (model.decode(words, each) for each in (state, model.initial_state(tf.repeat(maps, 2, axis=0))))
    np.testing.assert_allclose(shared[0], repeated[0], atol=1e-5)
    np.testing.assert_allclose(shared[1].alignment, repeated[1].alignment, atol=1e-5)


def test_maps_are_rounded_as_in_the_cache_but_not_in_training():
    model = build(image="attend")
    exact = model.encoder(PIXELS.astype(np.float32)).numpy()
    np.testing.assert_array_equal(model.encode_images(PIXELS), exact.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(model.encode_images(PIXELS, training=True), exact)


def test_every_weight_is_trained_and_saved(tmp_path):
    for number, changes in enumerate(KINDS):
        model = build(**changes, dropout=0.2, embedding_dropout=0.2)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model((PIXELS, WORDS), training=True)[:, :, :7] ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        assert [v.path for v, g in zip(model.trainable_variables, gradients, strict=True) if g is None] == []
        path = tmp_path / f"{number}.weights.h5"
        model.save_weights(path)
        again = CaptioningModel.from_config(model.get_config())
        again((PIXELS, WORDS))
        again.load_weights(path)
        np.testing.assert_array_equal(again((PIXELS, WORDS)), model((PIXELS, WORDS)))


def test_dropout_of_the_image_of_words_and_before_the_softmax():
    def drawn(*, off=(), **rates) -> bool:
        model = build(**rates)
        for layer in off:
            for each in np.atleast_1d(getattr(model, layer)):
                each.rate = 0.0
        first, second = (model((PIXELS, WORDS), training=True).numpy() for _ in range(2))
        return not np.array_equal(first, second)

    assert not drawn()
    assert drawn(embedding_dropout=0.5)
    assert drawn(dropout=0.5, off=["image_dropout"]) and drawn(dropout=0.5, off=["dropouts"])
    assert not drawn(dropout=0.5, off=["image_dropout", "dropouts"])
    for attention_input in (False, True):
        attend = {"image": "attend", "attention_input": attention_input, "layers": 2, "dropout": 0.5}
        assert drawn(**attend, off=["image_dropout", "dropouts"])  # of the readout
        assert drawn(**attend, off=["image_dropout", "readout_dropout"])  # between the layers
        assert not drawn(**attend, off=["image_dropout", "dropouts", "readout_dropout"])


def test_a_frozen_cnn_does_not_change_the_order_of_the_weights():
    """Fine-tuning copies weights in this order."""
    model = build()
    free = [weight.path for weight in model.weights]
    set_trainable(model.encoder, False)
    assert [weight.path for weight in model.weights] == free
    assert not model.encoder.trainable_variables and len(model.trainable_variables) < len(free)


def test_beam_search_equals_an_exhaustive_search():
    """Of all captions of up to three words out of three, with the model itself."""
    model = CaptioningModel(**{**SIZES, "vocabulary": 6, "layers": 2})
    model((PIXELS, WORDS[:, :1]))
    state = model.initial_state(model.encode_images(PIXELS[:1]))
    found = decoding.beam_search(
        model.step, state, start=START, end=END, beam_size=40, max_length=3, forbidden=(0, 1, START)
    )
    scores = {}
    for length in range(4):
        for words in itertools.product((4, 5), repeat=length):
            inputs, targets = [START, *words], [*words, END]
            log_probability = tf.nn.log_softmax(model((PIXELS[:1], np.array([inputs], np.int32))))[0].numpy()
            scores[words] = sum(log_probability[t, word] for t, word in enumerate(targets))
    for place, words in enumerate(sorted(scores, key=scores.get, reverse=True)):
        assert tuple(found.ids[0, place].numpy()[: len(words)]) == words
        assert float(found.scores[0, place]) == pytest.approx(scores[words], abs=1e-4)


def test_an_invalid_image_input_and_a_plain_keras_model():
    with pytest.raises(ValueError, match="image is 'attention', expected one of first, state, merge, attend"):
        build(image="attention")
    model = build()
    model.compile("adam", "sparse_categorical_crossentropy")
    history = model.fit((PIXELS, WORDS), np.roll(WORDS, -1, axis=1), epochs=2, verbose=0)
    assert len(history.history["loss"]) == 2

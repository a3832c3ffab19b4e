import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.common.training.tbptt import TruncatedBPTT
from pipelines.video.model import Augmentation, FrameClassifier
from pipelines.video.temporal import append_deltas

SIZES = {
    "encoder": "small", "encoder_weights": "none", "train_encoder": True, "encoder_first": "", "image_size": 16,
    "classes": 3, "feature_size": 0, "standardize": "none", "projection": 4, "deltas": 0.0, "units": 5, "layers": 2,
    "pool": 1, "refinement": 0, "shift": 0.1, "shuffle_colours": True, "feature_noise": 0.0,
    "feature_dropout": 0.3, "recurrent_dropout": 0.0, "dropout": 0.3, "seed": 1,
}  # fmt: skip
FEATURES = np.random.default_rng(0).normal(size=(3, 7, 256)).astype(np.float32)
LENGTHS = np.array([7, 4, 1])
MASK = np.arange(7)[None] < LENGTHS[:, None]
MODELS = [("lstm", False), ("lstm", True), ("rnn", False), ("rnn", True), ("none", False)]


def build(cell="lstm", bidirectional=False, **changes) -> FrameClassifier:
    keras.utils.set_random_seed(3)
    model = FrameClassifier(cell=cell, bidirectional=bidirectional, **{**SIZES, **changes})
    model(FEATURES)
    return model


@pytest.mark.parametrize(("cell", "bidirectional"), MODELS)
def test_padding_does_not_change_the_logits(cell, bidirectional):
    model = build(cell, bidirectional)
    logits = model(FEATURES, padding_mask=MASK).numpy()
    assert logits.shape == (3, 7, 3) and logits.dtype == np.float32
    for row, length in enumerate(LENGTHS):
        alone = model(FEATURES[row : row + 1, :length]).numpy()
        np.testing.assert_allclose(logits[row, :length], alone[0], atol=1e-5)
    longer = model(np.pad(FEATURES, [(0, 0), (0, 3), (0, 0)]), padding_mask=np.pad(MASK, [(0, 0), (0, 3)])).numpy()
    np.testing.assert_allclose(longer[0, :7], logits[0], atol=1e-5)


@pytest.mark.parametrize(("cell", "deltas"), [("lstm", 0.0), ("lstm", 10.0), ("rnn", 0.0), ("none", 3.0)])
def test_windows_with_the_state_carried_over_equal_the_whole_video(cell, deltas):
    model = build(cell, deltas=deltas)
    state, parts = model.initial_state(3), []
    for start, end in itertools.pairwise((0, 3, 4, 7)):
        logits, state = model.classify(model.project(FEATURES[:, start:end]), state)
        parts.append(logits.numpy())
    np.testing.assert_allclose(np.concatenate(parts, axis=1), model(FEATURES), atol=1e-5)


def test_frames_that_influence_the_logits():
    """Of a frame the logits of all later ones, of all frames, or only its own."""
    changed = FEATURES.copy()
    changed[:, 3] += 1

    def differs(model):
        return (np.abs(model(changed).numpy() - model(FEATURES).numpy()) > 1e-6).any(axis=(0, 2)).tolist()

    assert differs(build("lstm")) == [False] * 3 + [True] * 4
    assert differs(build("rnn")) == [False] * 3 + [True] * 4
    assert differs(build("lstm", True)) == [True] * 7
    assert differs(build("none")) == [False] * 3 + [True] + [False] * 3


def test_the_vanilla_rnn_returns_logits_by_its_own_output_map():
    model = build("rnn", layers=1)
    assert model.head is None
    W_ih, W_hh, b, W_ho, b_o = model.temporal_layers[0].get_weights()
    h, expected = np.zeros((3, 5)), []
    for x in np.moveaxis(model.project(FEATURES).numpy(), 1, 0):
        h = np.tanh(x @ W_ih + h @ W_hh + b)
        expected.append(h @ W_ho + b_o)
    np.testing.assert_allclose(model(FEATURES), np.stack(expected, axis=1), atol=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_deltas_are_differences_from_the_frame_before(bidirectional):
    """The logits are those of the layers on frames with their differences; padding does not change them."""
    model = build("lstm", bidirectional, deltas=5.0, projection=0, layers=1)
    x = tf.constant(FEATURES)
    both, (before, seen) = append_deltas(x, x[:, 0] * 0, x[:, 0, :1] * 0, 5.0, tf.constant(MASK))
    np.testing.assert_allclose(both[:, 1:, 256:], 5 * np.diff(FEATURES, axis=1), rtol=1e-5)
    assert not both[:, 0, 256:].numpy().any() and (seen.numpy() == 1).all()
    np.testing.assert_array_equal(before, FEATURES[np.arange(3), LENGTHS - 1])
    expected = model.temporal_layers[0](both, mask=tf.constant(MASK))
    expected = model.head(expected if bidirectional else expected[0])
    logits = model(FEATURES, padding_mask=MASK).numpy()
    np.testing.assert_allclose(logits[MASK], expected.numpy()[MASK], atol=1e-5)
    nothing, (same, unseen) = append_deltas(x, x[:, 3], x[:, 0, :1] * 0, 5.0, tf.zeros([3, 7], tf.bool))
    np.testing.assert_array_equal(same, x[:, 3])
    assert nothing.shape == (3, 7, 512) and not unseen.numpy().any()


def test_pixels_go_through_the_encoder():
    model = build("lstm")
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 3, 16, 16, 3)).astype(np.float32)
    features = np.stack([model.encoder(video).numpy() for video in pixels])
    np.testing.assert_allclose(model(pixels), model(features), atol=1e-5)


def test_trainable_variables():
    every = len(build("lstm").trainable_variables)
    frozen = build("lstm", train_encoder=False, shift=0.0, shuffle_colours=False)
    assert len(frozen.trainable_variables) == 2 + 2 * 3 + 2  # map, two layers, head
    assert every == len(frozen.trainable_variables) + len(frozen.encoder.weights)
    some = build("lstm", encoder_first="projection")
    assert len(some.trainable_variables) == len(frozen.trainable_variables) + 2


def test_the_seed_makes_weights_and_dropout_repeatable():
    first, again, other = build(), build(), build(seed=2)
    np.testing.assert_array_equal(first(FEATURES, training=True), again(FEATURES, training=True))
    assert not np.allclose(first(FEATURES, training=True), first(FEATURES))
    assert not np.allclose(first(FEATURES), other(FEATURES))


def test_feature_dropout_is_the_same_in_all_frames():
    model = build(projection=0)
    dropped = model.project(np.ones((2, 6, 256), np.float32), training=True).numpy() == 0
    assert 0.2 < dropped.mean() < 0.4
    assert (dropped == dropped[:, :1]).all() and not (dropped[0] == dropped[1]).all()


def test_augmentation_is_the_same_for_all_frames_of_a_video():
    frame = np.random.default_rng(0).uniform(0, 255, (20, 1, 16, 16, 3)).astype(np.float32)
    pixels = np.repeat(frame, 3, axis=1)
    layer = Augmentation(0.2, True, seed=1)
    np.testing.assert_array_equal(layer(pixels), pixels)
    found = layer(pixels, training=True).numpy()
    assert (found == found[:, :1]).all()
    moves, orders = set(), set()
    for before, after in zip(pixels[:, 0], found[:, 0], strict=True):
        hits = [
            (dy, dx, order)
            for dy, dx in itertools.product(range(-3, 4), repeat=2)
            for order in itertools.permutations(range(3))
            if np.array_equal(before[3 + dy : 13 + dy, 3 + dx : 13 + dx][..., order], after[3:13, 3:13])
        ]
        assert len(hits) == 1
        moves.add(hits[0][:2])
        orders.add(hits[0][2])
    assert len(moves) > 10 and len(orders) > 3


def test_the_model_is_saved_and_created_from_its_config(tmp_path):
    model = build("rnn", True)
    model.save_weights(tmp_path / "a.weights.h5")
    again = FrameClassifier.from_config(model.get_config())
    again(FEATURES)
    again.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_allclose(again(FEATURES), model(FEATURES), atol=1e-6)


def test_plain_keras_can_train_it():
    model = build(train_encoder=False, shift=0.0, shuffle_colours=False, feature_dropout=0.0, dropout=0.0)
    model.compile(keras.optimizers.Adam(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                  jit_compile=False)  # fmt: skip
    history = model.fit(FEATURES, np.arange(21).reshape(3, 7) % 3, epochs=15, verbose=0).history["loss"]
    assert history[-1] < 0.5 * history[0]


@pytest.mark.parametrize("cell", ["lstm", "rnn", "none"])
def test_truncated_backpropagation_runs_it_over_windows(cell):
    """Two windows of 3 time steps have the same logits as the whole."""
    model, seen = build(cell, feature_dropout=0.0, dropout=0.0), []

    def loss(logits, targets, weights):
        seen.append(logits.numpy())
        return {"loss": (tf.reduce_sum(logits), tf.reduce_sum(weights))}

    step = TruncatedBPTT(model.classify_window, model.initial_state, loss, k1=3, k2=3, batch_size=3)
    for age, start in enumerate((0, 3)):
        window = FEATURES[:, start : start + 3]
        step({"inputs": window, "targets": np.zeros((3, 3), np.int32), "weights": np.ones((3, 3), np.float32),
              "age": np.full(3, age, np.int32)}, True)  # fmt: skip
    np.testing.assert_allclose(np.concatenate(seen, axis=1), model(FEATURES[:, :6]), atol=1e-5)

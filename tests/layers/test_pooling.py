import keras
import numpy as np
import pytest
import tensorflow as tf

from layers.pooling import AttentionPooling, PoolOverTime, pool_over_time
from tests.layers.oracles import errors, finite_differences

HOLES = np.array([[1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0]], bool)
SHAPE, UNITS = (4, 4, 3), 2
KINDS = {"float64": tf.float64, "float32": tf.float32, "mixed_bfloat16": tf.bfloat16, "mixed_float16": tf.float16}


def equations(states, mask, kernel, bias, context):
    """The equations of the paper in NumPy, one row and one step at a time -> s, alpha."""
    s, alpha = np.zeros((len(states), states.shape[-1])), np.zeros(states.shape[:2])
    for row, (h, real) in enumerate(zip(states, mask, strict=True)):
        steps = np.flatnonzero(real)
        if len(steps):
            shares = np.exp([np.tanh(h[t] @ kernel + bias) @ context for t in steps])
            alpha[row, steps] = shares / shares.sum()
            s[row] = sum(alpha[row, t] * h[t] for t in steps)
    return s, alpha


def make_case(scale=1.0):
    random = np.random.default_rng(0)
    states = random.normal(size=SHAPE)
    weights = [random.normal(size=shape) * scale for shape in ((SHAPE[-1], UNITS), (UNITS,), (UNITS,))]
    return states, weights


def make_layer(weights, **options):
    layer = AttentionPooling(UNITS, return_weights=True, **options)
    layer.build(SHAPE)
    layer.set_weights(weights)
    return layer


@pytest.mark.parametrize("precision", KINDS)
@pytest.mark.parametrize("xla", [False, True], ids=["graph", "XLA"])
@pytest.mark.parametrize("masked", [False, True])
def test_equations(precision, xla, masked):
    states, weights = make_case()
    layer = make_layer(weights, dtype=precision)
    call = tf.function(lambda h, mask: layer(h, mask=mask), jit_compile=xla, autograph=False)
    found = call(tf.cast(states, KINDS[precision]), tf.constant(HOLES) if masked else None)
    expected = equations(states, HOLES if masked else np.ones_like(HOLES), *weights)
    assert found[0].dtype == KINDS[precision]
    assert found[1].dtype == (tf.float64 if precision == "float64" else tf.float32)
    tolerance = {"float64": 1e-12, "float32": 1e-6, "mixed_bfloat16": 0.03, "mixed_float16": 3e-3}[precision]
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(tf.cast(value, tf.float64), wanted, atol=tolerance)
    np.testing.assert_allclose(tf.reduce_sum(found[1], axis=1), HOLES.any(axis=1) if masked else 1, atol=1e-6)


@pytest.mark.parametrize("xla", [False, True], ids=["graph", "XLA"])
def test_gradients_against_finite_differences(xla):
    """Of a function of both outputs, with an empty sequence among the others."""
    states, weights = make_case()
    random = np.random.default_rng(1)
    share_s, share_alpha = random.normal(size=(4, 3)), random.normal(size=(4, 4))

    def loss():
        s, alpha = equations(states, HOLES, *weights)
        return np.sum(share_s * s) + np.sum(share_alpha * alpha)

    layer = make_layer(weights, dtype="float64")

    @tf.function(jit_compile=xla, autograph=False)
    def gradients(h):
        with tf.GradientTape() as tape:
            tape.watch(h)
            s, alpha = layer(h, mask=HOLES)
            total = tf.reduce_sum(share_s * s) + tf.reduce_sum(share_alpha * alpha)
        return tape.gradient(total, [h, *layer.trainable_weights])

    found = gradients(tf.constant(states))
    assert errors(found, finite_differences(loss, [states, *weights])) < 1e-7
    np.testing.assert_array_equal(found[0][~HOLES], 0)


def test_gradients_in_half_precision_are_finite():
    states, weights = make_case()
    layer = make_layer(weights, dtype="mixed_float16")
    h = tf.Variable(tf.cast(states, tf.float16))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(h, mask=HOLES)[0])
    for gradient in tape.gradient(total, [h, *layer.trainable_weights]):
        assert np.isfinite(tf.cast(gradient, tf.float32)).all()


def test_scores_that_a_softmax_without_a_maximum_could_not_bear():
    states, weights = make_case(scale=500.0)
    s, alpha = make_layer(weights, dtype="float64")(states, mask=HOLES)
    assert np.isfinite(s).all() and np.isfinite(alpha).all()
    np.testing.assert_allclose(tf.reduce_sum(alpha, axis=1), HOLES.any(axis=1))


def test_weights_of_many_steps_are_not_rounded_in_half_precision():
    """In bfloat16 a sum of 3,000 weights would stop growing."""
    states = np.ones((1, 3000, 2), np.float32)
    layer = AttentionPooling(4, return_weights=True, dtype="mixed_bfloat16")
    s, alpha = layer(states, mask=np.ones((1, 3000), bool))
    np.testing.assert_allclose(tf.reduce_sum(alpha), 1, atol=1e-5)
    np.testing.assert_array_equal(tf.cast(s, tf.float32), 1)


def test_the_mask_of_an_embedding_is_used():
    ids = keras.Input((None,), dtype="int32")
    states = keras.layers.Embedding(9, 3, mask_zero=True)(ids)
    s, alpha = AttentionPooling(2, return_weights=True)(states)
    model = keras.Model(ids, [s, alpha])
    assert s.shape == (None, 3) and alpha.shape == (None, None)
    found = [value.numpy() for value in model(np.array([[3, 4, 0], [0, 0, 0]]))]
    assert found[1][0, 2] == 0 and (found[1][0, :2] > 0).all()
    for value in found:
        np.testing.assert_array_equal(value[1], 0)


def test_it_is_stored_with_its_arguments(tmp_path):
    initializer = keras.initializers.RandomUniform(-2, 2, seed=1)
    layer = AttentionPooling(2, kernel_initializer=initializer, context_initializer="ones")
    model = keras.Sequential([keras.Input((None, 3)), layer])
    np.testing.assert_array_equal(layer.context, 1)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].get_config() == layer.get_config()
    states = np.random.default_rng(0).normal(size=(2, 5, 3))
    np.testing.assert_array_equal(loaded(states), model(states))


def test_bad_arguments():
    with pytest.raises(ValueError, match="units is 0, expected at least 1"):
        AttentionPooling(0)
    with pytest.raises(ValueError, match=r"the states have the shape \(2, 3\), expected \[batch, time, features\]"):
        AttentionPooling(2).build((2, 3))


def test_padding_is_not_pooled():
    states = tf.random.stateless_normal([2, 4, 3], [0, 1]) - 5
    mask = tf.constant([[True, True, False, False], [False] * 4])
    expected = {
        "last": states[0, 1],
        "mean": tf.reduce_mean(states[0, :2], axis=0),
        "max": tf.reduce_max(states[0, :2], axis=0),
    }
    for how, row in expected.items():
        np.testing.assert_allclose(pool_over_time(states, mask, how), [row, np.zeros(3)], rtol=1e-6)
    for how in ("mean", "max"):
        between = PoolOverTime(how)(states, tf.constant([[True, False, True, False], [False] * 4])).numpy()
        np.testing.assert_allclose(between[0], getattr(tf, f"reduce_{how}")(states[0, ::2], axis=0), rtol=1e-6)
        np.testing.assert_array_equal(between[1], 0)
    with pytest.raises(ValueError, match="how is 'median', expected 'mean' or 'max'"):
        PoolOverTime("median")


def test_mean_of_many_steps_in_half_precision():
    states = np.ones((1, 3000, 2), np.float32)
    found = PoolOverTime("mean", dtype="mixed_bfloat16")(states, np.ones((1, 3000), bool))
    np.testing.assert_array_equal(keras.ops.cast(found, "float32"), 1)

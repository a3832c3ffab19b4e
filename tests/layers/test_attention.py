import keras
import numpy as np
import pytest
import tensorflow as tf

from layers.attention import SCORES, Attention, Memory, masked_softmax

BATCH, STEPS, SOURCE, UNITS = 3, 4, 5, 6
LENGTHS = np.array([5, 2, 0])  # the last memory has no valid step


def make(score, dtype="float64", width=UNITS):
    """A layer, its queries, values and mask."""
    random = np.random.default_rng(3)
    layer = Attention(score, UNITS, initializer=lambda: keras.initializers.RandomNormal(seed=len(score)), dtype=dtype)
    query = tf.constant(random.standard_normal([BATCH, STEPS, UNITS]), layer.compute_dtype)
    values = tf.constant(
        random.standard_normal([BATCH, SOURCE, UNITS if score == "dot" else width]), layer.compute_dtype
    )
    layer(query, layer.memory(values, tf.sequence_mask(LENGTHS, SOURCE)))  # creates the weights
    for weight in layer.trainable_variables:
        weight.assign(random.standard_normal(weight.shape))
    return layer, query, values, tf.sequence_mask(LENGTHS, SOURCE)


def equations(layer, query, values):
    """The equations in NumPy, one step of one row at a time."""
    weights = {weight.path.split("/")[-2]: weight.numpy() for weight in layer.trainable_variables}
    context, alpha = np.zeros([BATCH, STEPS, values.shape[-1]]), np.zeros([BATCH, STEPS, SOURCE])
    for row, t in np.ndindex(BATCH, STEPS):
        h, m = query[row, t], values[row, : LENGTHS[row]]
        if layer.score == "dot":
            scores = [h @ m_s for m_s in m]
        elif layer.score == "general":
            scores = [h @ (m_s @ weights["W_m"]) for m_s in m]
        else:
            scores = [np.tanh(h @ weights["W_h"] + m_s @ weights["W_m"]) @ weights["v"][:, 0] for m_s in m]
        if len(m):
            alpha[row, t, : len(m)] = np.exp(scores) / np.sum(np.exp(scores))
            context[row, t] = alpha[row, t, : len(m)] @ m
    return context, alpha


@pytest.mark.parametrize("score", SCORES)
def test_equations(score):
    layer, query, values, mask = make(score, width=7)
    context, alpha = layer(query, layer.memory(values, mask))
    wanted = equations(layer, query.numpy(), values.numpy())
    np.testing.assert_allclose(context, wanted[0], atol=1e-12)
    np.testing.assert_allclose(alpha, wanted[1], atol=1e-12)


@pytest.mark.parametrize("score", SCORES)
def test_one_step_at_a_time_is_all_steps_at_once(score):
    layer, query, values, mask = make(score)
    memory = layer.memory(values, mask)
    context, alpha = layer(query, memory)
    for t in range(STEPS):
        one_context, one_alpha = layer(query[:, t], memory)
        np.testing.assert_allclose(one_context, context[:, t], atol=1e-12)
        np.testing.assert_allclose(one_alpha, alpha[:, t], atol=1e-12)


@pytest.mark.parametrize("score", SCORES)
def test_gradients(score):
    layer, query, values, mask = make(score)
    parameters = [weight.value for weight in layer.trainable_variables]

    def loss(query, values):
        context, alpha = layer(query, layer.memory(values, mask))
        return tf.reduce_sum(tf.sin(context)) + tf.reduce_sum(alpha**2)

    with tf.GradientTape() as tape:
        tape.watch([query, values])
        total = loss(query, values)
    found = tape.gradient(total, [query, values, *parameters])
    assert np.all(found[1].numpy()[~mask.numpy()] == 0)
    theoretical, numeric = tf.test.compute_gradient(loss, [query, values], delta=1e-5)
    for analytic, difference in zip(theoretical, numeric, strict=True):
        np.testing.assert_allclose(analytic, difference, atol=1e-7)
    for weight, gradient in zip(layer.trainable_variables, found[2:], strict=True):
        start, step = weight.numpy(), np.zeros(weight.shape)
        step.flat[0] = 1e-6
        weight.assign(start + step)
        after = loss(query, values)
        weight.assign(start - step)
        np.testing.assert_allclose((after - loss(query, values)) / 2e-6, gradient.numpy().flat[0], atol=1e-7)
        weight.assign(start)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_precisions_and_XLA(score, policy):
    exact, query, values, mask = make(score)
    layer, *_ = make(score, keras.DTypePolicy(policy))
    layer.set_weights(exact.get_weights())

    @tf.function(jit_compile=True)
    def attend(query, values):
        return layer(query, layer.memory(values, mask))

    context, alpha = attend(tf.cast(query, layer.compute_dtype), tf.cast(values, layer.compute_dtype))
    assert context.dtype == layer.compute_dtype
    wanted = exact(query, exact.memory(values, mask))
    tolerance = 1e-5 if policy == "float32" else 0.2
    np.testing.assert_allclose(tf.cast(context, tf.float64), wanted[0], atol=tolerance)
    np.testing.assert_allclose(tf.cast(alpha, tf.float64), wanted[1], atol=tolerance)


def test_memory_passes_through_a_decoding_state():
    layer, _, values, mask = make("general")
    memory = tf.nest.map_structure(lambda x: tf.repeat(x, 2, axis=0), layer.memory(values, mask))
    assert isinstance(memory, Memory)
    assert memory.values.shape == (2 * BATCH, SOURCE, UNITS)


def test_no_source_at_all_gives_zeros():
    layer, query, *_ = make("general")
    context, alpha = layer(query, layer.memory(tf.zeros([BATCH, 0, UNITS]), tf.zeros([BATCH, 0], tf.bool)))
    assert alpha.shape == (BATCH, STEPS, 0)
    np.testing.assert_array_equal(context, np.zeros([BATCH, STEPS, UNITS]))


def test_large_scores_in_half_precision():
    weights = masked_softmax(
        tf.constant([[60000.0, 59000.0, -60000.0]], tf.float16), tf.constant([[True, True, False]])
    )
    np.testing.assert_array_equal(weights, [[1, 0, 0]])


def test_refusals():
    with pytest.raises(ValueError, match="score is 'cosine', expected one of dot, general, additive"):
        Attention("cosine", 4)
    layer = Attention("dot", 4)
    with pytest.raises(ValueError, match="query as wide as the keys, but they have 3 and 4 units"):
        layer(tf.zeros([1, 3]), layer.memory(tf.zeros([1, 2, 4]), tf.ones([1, 2], tf.bool)))

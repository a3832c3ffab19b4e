import keras
import numpy as np
import pytest
import tensorflow as tf

from layers.attention import Attention
from layers.lstm import LSTM
from layers.recurrent_decoder import DecoderOutputs, RecurrentDecoder, repeat_rows
from layers.rnn import VanillaRNN

BATCH, TIME, SOURCE, UNITS = 3, 4, 5, 6
RANDOM = np.random.default_rng(7)
EMBEDDINGS = tf.constant(RANDOM.standard_normal([BATCH, TIME, UNITS]))
MEMORY = tf.constant(RANDOM.standard_normal([BATCH, SOURCE, UNITS]))
MASK = tf.sequence_mask([5, 2, 0], SOURCE)
KINDS = {
    "no attention": {},
    "fixed context": {"context": True},
    "behind": {"score": "general"},
    "behind, residual": {"score": "additive", "residual": True},
    "inside": {"score": "additive", "attention_input": True, "residual": True},
    "inside, vanilla RNN": {"score": "dot", "attention_input": True, "cell": VanillaRNN},
}


def make(cell=LSTM, score=None, context=False, rate=0.0, recurrent_dropout=0.0, layers=2, noise_shape=None, **options):
    """Returns a decoder in float64 and the state that it starts from."""
    recurrent = [
        cell(UNITS, return_sequences=True, return_state=True, recurrent_dropout=recurrent_dropout, dtype="float64",
             seed=number) for number in range(layers)
    ]  # fmt: skip
    dropouts = [keras.layers.Dropout(rate, noise_shape=noise_shape, seed=9, dtype="float64") for _ in recurrent]
    attention = Attention(score, UNITS, dtype="float64") if score else None
    decoder = RecurrentDecoder(recurrent, dropouts, attend=attention, **options)
    draw = np.random.default_rng(1)
    state = {"layers": [[tf.constant(draw.standard_normal([BATCH, UNITS])) for _ in layer.state_size]
                        for layer in recurrent]}  # fmt: skip
    if context:
        state["context"] = tf.constant(draw.standard_normal([BATCH, 2]))
    if attention:
        state = decoder.start(state["layers"], attention.memory(MEMORY, MASK))
    decoder.decode(EMBEDDINGS, state)  # creates the weights
    return decoder, state


def one_by_one(decoder, state, embeddings=EMBEDDINGS):
    """Returns what `decode` returns, by `advance`."""
    found = []
    for t in range(TIME):
        outputs, state = decoder.advance(embeddings[:, t], state)
        found.append(outputs)
    values = zip(*found, strict=True)
    return DecoderOutputs(*[None if value[0] is None else tf.stack(value, axis=1) for value in values])


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_and_its_steps_are_the_same(kind):
    decoder, state = make(**KINDS[kind])
    decoded, steps = decoder.decode(EMBEDDINGS, state), one_by_one(decoder, state)
    for found, expected in zip(decoded, steps, strict=True):
        assert (found is None) == (expected is None)
        if found is not None:
            np.testing.assert_allclose(found, expected, atol=1e-12)
    if "score" in KINDS[kind]:
        total = tf.reduce_sum(decoded.alignment, axis=-1)
        np.testing.assert_allclose(total, np.repeat([[1], [1], [0]], TIME, axis=1), atol=1e-12)


def test_inside_the_recurrence_the_next_step_reads_the_context():
    """The equations of the file, for one layer."""
    decoder, state = make(score="general", attention_input=True, layers=1)
    decoded = decoder.decode(EMBEDDINGS, state)
    h, c = state["layers"][0]
    context, _ = decoder.attend(h, state["memory"])
    for t in range(TIME):
        x = tf.concat([EMBEDDINGS[:, t], context], axis=-1)
        np.testing.assert_allclose(decoded.inputs[:, t], x, atol=1e-12)
        _, (h, c) = decoder.layers[0].cell(x, [h, c])
        context, _ = decoder.attend(h, state["memory"])
        np.testing.assert_allclose(decoded.h[:, t], h, atol=1e-12)
        np.testing.assert_allclose(decoded.context[:, t], context, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "jit_compile"),
    [
        ("behind", False),
        ("inside", False),
        ("inside, vanilla RNN", False),
        ("behind", True),
        ("inside", True),
        pytest.param("inside, vanilla RNN", True, marks=pytest.mark.extra),
    ],
)
def test_gradients_are_those_of_the_steps(kind, jit_compile):
    """Behind the recurrence the one derived by hand, inside it that of the loop, against autodiff of the steps; sizes
    are unknown when the function is traced."""
    decoder, state = make(**KINDS[kind])
    layers, memory = state["layers"], state["memory"]
    weights = [weight for layer in [*decoder.layers, decoder.attend] for weight in layer.trainable_variables]
    weights = [weight.value for weight in weights if "W_m" not in weight.path]  # that of the keys, which are given
    given = [EMBEDDINGS, memory.values, memory.keys, *tf.nest.flatten(layers)]

    def differentiate(run, embeddings, values, keys, *flat):
        inputs = [embeddings, values, *flat]
        if decoder.attend.score == "dot":  # its keys are the values
            keys = values
        else:
            inputs.append(keys)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            states = tf.nest.pack_sequence_as(layers, flat)
            outputs = run(decoder.start(states, memory._replace(values=values, keys=keys)), embeddings)
            loss = tf.reduce_sum(tf.sin(outputs.h)) + tf.reduce_sum(outputs.context * outputs.h)
            loss += tf.reduce_sum(outputs.alignment**2)
        return tape.gradient(loss, [*weights, *inputs])

    specs = [tf.TensorSpec([None] * (value.shape.rank - 1) + [UNITS], value.dtype) for value in given]

    @tf.function(jit_compile=jit_compile, input_signature=specs, autograph=False)
    def at_once(*given):
        return differentiate(lambda state, e: decoder.decode(e, state, training=True), *given)

    expected = differentiate(lambda state, e: one_by_one(decoder, state, e), *given)
    for found, wanted in zip(at_once(*given), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-10)


@pytest.mark.parametrize("noise_shape", [None, (None, 1, None)])
def test_dropout_inside_the_recurrence_is_that_of_the_sequence(noise_shape):
    """New at every step or, with a noise shape, the same."""
    decoder, state = make(score="dot", attention_input=True, rate=0.5, noise_shape=noise_shape)
    h = decoder.decode(EMBEDDINGS, state, training=True).h.numpy()
    dropped = h == 0
    assert 0 < dropped.mean() < 1
    assert (dropped == dropped[:, :1]).all() == (noise_shape is not None)
    assert (decoder.decode(EMBEDDINGS, state).h.numpy() != 0).all()


@pytest.mark.parametrize("kind", ["behind", "inside"])
def test_recurrent_dropout_only_in_training(kind):
    decoder, state = make(**KINDS[kind], recurrent_dropout=0.5)
    plain = decoder.decode(EMBEDDINGS, state).h
    first, second = (decoder.decode(EMBEDDINGS, state, training=True).h for _ in range(2))
    assert not np.allclose(first, plain) and not np.allclose(first, second)
    np.testing.assert_array_equal(decoder.decode(EMBEDDINGS, state).h, plain)


@pytest.mark.parametrize("kind", ["behind", "inside"])
def test_repeated_rows_share_a_memory(kind):
    decoder, state = make(**KINDS[kind])
    shared = repeat_rows(state, 2)
    assert shared["memory"].values.shape[0] == BATCH and shared["layers"][0][0].shape[0] == 2 * BATCH
    embeddings = tf.repeat(EMBEDDINGS, 2, axis=0) + tf.range(2.0 * BATCH, dtype="float64")[:, None, None]
    copied = tf.nest.map_structure(lambda rows: tf.repeat(rows, 2, axis=0), state)
    for found, expected in zip(decoder.decode(embeddings, shared), decoder.decode(embeddings, copied), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_attention_input_refuses_layers_with_dropout():
    layer = LSTM(UNITS, return_sequences=True, return_state=True, dropout=0.5)
    with pytest.raises(ValueError, match="the layers must not have dropout"):
        RecurrentDecoder([layer], [keras.layers.Dropout(0.0)], attend=Attention("dot", UNITS), attention_input=True)


def test_attention_input_needs_attention():
    with pytest.raises(ValueError, match="attention_input is True, but there is no attention"):
        make(attention_input=True)

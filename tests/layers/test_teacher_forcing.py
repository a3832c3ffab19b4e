import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from layers.lstm import LSTM, LSTMCell
from layers.teacher_forcing import scheduled_inputs, teacher_forcing, teacher_probability
from tests.layers.oracles import errors

START, END = 2, 3
WORDS, UNITS = 9, 5


def test_teacher_forcing():
    inputs, targets, weights = teacher_forcing([[5, 6, 7], [8, 0, 0], [0, 0, 0]], START, END)
    np.testing.assert_array_equal(inputs, [[2, 5, 6, 7], [2, 8, 0, 0], [2, 0, 0, 0]])
    np.testing.assert_array_equal(targets, [[5, 6, 7, 3], [8, 3, 0, 0], [3, 0, 0, 0]])
    np.testing.assert_array_equal(weights, [[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    assert (inputs.dtype, targets.dtype, weights.dtype) == (tf.int32, tf.int32, tf.float32)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(1, 99), max_size=4), max_size=4), st.integers(0, 2))
def test_teacher_forcing_of_any_sentences(sentences, padding):
    time = max(map(len, sentences), default=0) + padding
    ids = np.array([words + [0] * (time - len(words)) for words in sentences], np.int64)
    ids = ids.reshape([len(sentences), time])
    inputs, targets, weights = teacher_forcing(ids, 100, 101)
    assert inputs.shape == targets.shape == weights.shape == (len(sentences), time + 1)
    for row, words in enumerate(sentences):
        kept = len(words) + 1
        assert inputs[row].numpy().tolist() == [100, *words, *[0] * (time + 1 - kept)]
        assert targets[row].numpy().tolist() == [*words, 101, *[0] * (time + 1 - kept)]
        assert weights[row].numpy().tolist() == [1] * kept + [0] * (time + 1 - kept)


@pytest.mark.parametrize("xla", [False, True])
def test_teacher_forcing_of_unknown_shape(xla):
    signature = [tf.TensorSpec([None, None], tf.int32)]
    run = tf.function(lambda ids: teacher_forcing(ids, START, END), input_signature=signature, jit_compile=xla)
    _, targets, _ = run([[5, 0]])
    np.testing.assert_array_equal(targets, [[5, 3, 0]])


# Scheduled sampling ---------------------------------------------------------------------------------------------------


class Decoder:
    """The same weights twice: one step at a time, and the whole sequence in one pass."""

    def __init__(self, seed=0):
        random = np.random.default_rng(seed)
        self.cell, self.lstm = LSTMCell(UNITS, dtype="float64"), LSTM(UNITS, return_sequences=True, dtype="float64")
        shapes = [[WORDS, UNITS], [UNITS, 4 * UNITS], [UNITS, 4 * UNITS], [4 * UNITS], [UNITS, WORDS]]
        self.weights = [tf.Variable(random.normal(size=shape), dtype=tf.float64) for shape in shapes]
        self.embedding, *self.recurrent, self.kernel = self.weights
        self.cell.build([None, UNITS])
        self.lstm.build([None, None, UNITS])

    def zeros(self, rows):
        return [tf.zeros([rows, UNITS], tf.float64)] * 2

    def with_our_weights(self, layer):
        """The layer's own variables stand back for ours, so that both passes have one set of gradients."""
        return keras.StatelessScope(zip(layer.trainable_variables, self.recurrent, strict=True))

    def step(self, tokens, state):
        with self.with_our_weights(self.cell):
            h, state = self.cell(tf.gather(self.embedding, tokens), state)
        return tf.matmul(h, self.kernel), state

    def whole(self, inputs):
        with self.with_our_weights(self.lstm):
            h = self.lstm(tf.gather(self.embedding, inputs))
        return tf.einsum("btu,uw->btw", h, self.kernel)


@pytest.fixture(scope="module")
def decoder():
    return Decoder()


def sentences(rows=3, time=4, seed=0):
    """inputs and targets of sentences of several lengths, the last one empty."""
    random = np.random.default_rng(seed)
    ids = random.integers(4, WORDS, [rows, time])
    ids[np.arange(time) >= np.linspace(time, 0, rows).round()[:, None]] = 0
    return teacher_forcing(ids, START, END)


def mixed_step_by_step(decoder, inputs, keep, choose):
    """A plain loop: all logits of a network whose own choices are its inputs, and these inputs."""
    inputs = np.asarray(inputs)
    state, token, all_logits, used = decoder.zeros(len(inputs)), inputs[:, 0], [], []
    for t in range(inputs.shape[1]):
        if t:
            own = choose(all_logits[-1].numpy(), t)
            token = np.where(keep[:, t] | (inputs[:, t] == 0), inputs[:, t], own)
        used.append(token)
        logits, state = decoder.step(token, state)
        all_logits.append(logits)
    return tf.stack(all_logits, axis=1), np.stack(used, axis=1)


def without_chance(step):
    """The step with one token of probability 1: the most probable one."""

    def sharpened(tokens, state):
        logits, state = step(tokens, state)
        likeliest = tf.argmax(logits[:, 1:], axis=1) + 1  # never PADDING
        return tf.one_hot(likeliest, logits.shape[-1], on_value=0.0, off_value=-1e9), state

    return sharpened


def likeliest(logits, _):
    return logits[:, 1:].argmax(axis=1) + 1  # never PADDING


def test_always_the_teacher(decoder):
    inputs, _, _ = sentences()
    found = scheduled_inputs(decoder.step, decoder.zeros(3), inputs, 1.0, [1, 2])
    np.testing.assert_array_equal(found, inputs)
    assert found.dtype == tf.int32


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_never_the_teacher_is_the_free_run(decoder, mode):
    inputs, _, _ = sentences(time=6)

    def run():
        return scheduled_inputs(without_chance(decoder.step), decoder.zeros(3), inputs, 0.0, [1, 2])

    found = (run if mode == "eager" else tf.function(run, jit_compile=mode == "xla", autograph=False))()
    _, expected = mixed_step_by_step(decoder, inputs, np.zeros(inputs.shape, bool), likeliest)
    np.testing.assert_array_equal(found, expected)
    assert (found[:, 0].numpy() == START).all()
    np.testing.assert_array_equal(found == 0, inputs == 0)
    assert (found != inputs).numpy().any()


def test_unknown_shape_and_a_state_that_is_a_dict(decoder):
    def step(tokens, state):
        logits, lstm = decoder.step(tokens, state["lstm"])
        return logits, {"lstm": lstm, "steps": state["steps"] + 1}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([])], autograph=False)
    def run(inputs, probability):
        state = {"lstm": decoder.zeros(tf.shape(inputs)[0]), "steps": 0}
        return scheduled_inputs(without_chance(step), state, inputs, probability, [1, 2])

    inputs, _, _ = sentences()
    _, expected = mixed_step_by_step(decoder, inputs, np.zeros(inputs.shape, bool), likeliest)
    np.testing.assert_array_equal(run(inputs, 0.0), expected)
    np.testing.assert_array_equal(run(inputs, 1.0), inputs)
    np.testing.assert_array_equal(run(inputs[:, :1], 0.0), inputs[:, :1])


def test_draws_have_the_frequencies_of_the_model():
    """Half the inputs stay, and what replaces them is distributed as the model says, row by row."""
    rows, time = 3000, 3
    with np.errstate(divide="ignore"):
        logits = np.log([[0.5, 0.1, 0, 0, 0.4, 0], [0.5, 0, 0, 0.2, 0, 0.3]]).astype(np.float32)

    def step(tokens, state):
        return tf.gather(logits, tf.cast(tokens == 2, tf.int32)), state  # the second distribution after a token 2

    inputs = tf.constant([[2, 2, 2]] * rows)  # the model never says 2, so whatever is 2 was kept
    found = scheduled_inputs(step, (), inputs, 0.5, [1, 2]).numpy()
    assert found.shape == (rows, time)

    def holds(values, token, probability):
        return abs(np.mean(values == token) - probability) < 4 * 0.5 / np.sqrt(len(values))

    assert holds(found[:, 1], 2, 0.5) and holds(found[:, 2], 2, 0.5)
    kept_first, kept_second = found[:, 1] == 2, found[:, 2] == 2
    assert holds(kept_first & kept_second, True, 0.25)  # every step has coins of its own
    for drawn in (found[~kept_first, 1], found[kept_first & ~kept_second, 2]):
        assert set(drawn) == {3, 5}  # no PADDING, though its probability is half
        assert holds(drawn, 3, 0.4) and holds(drawn, 5, 0.6)
    own = found[~kept_first & ~kept_second, 1:]
    for first in (3, 5):  # every step has draws of its own, too
        drawn = own[own[:, 0] == first, 1]
        assert set(drawn) == {1, 4}
        assert holds(drawn, 1, 0.2) and holds(drawn, 4, 0.8)


def test_depends_on_the_seed_alone(decoder):
    inputs, _, _ = sentences(rows=8, time=6)

    def run(seed):
        return scheduled_inputs(decoder.step, decoder.zeros(8), inputs, 0.5, seed).numpy()

    first = run([1, 2])
    np.testing.assert_array_equal(first, run(tf.constant([1, 2])))
    assert (first != run([1, 3])).any()
    generator = keras.random.SeedGenerator(5)
    run(generator)
    state = generator.state.numpy()  # a checkpoint
    second, third = run(generator), run(generator)
    assert (second != third).any()
    resumed = keras.random.SeedGenerator(99)
    resumed.state.assign(state)
    np.testing.assert_array_equal(second, run(resumed))
    np.testing.assert_array_equal(third, run(resumed))


def test_the_whole_pass_has_the_gradient_of_the_network_that_drew_step_by_step(decoder):
    """The claim of `scheduled_inputs`: the step-by-step network, differentiated with its draws inside, against the
    whole-sequence LSTM on the mixed inputs."""
    inputs, targets, weights = sentences(rows=4, time=6, seed=1)
    weights = tf.cast(weights, tf.float64)

    def loss(logits):
        return tf.reduce_sum(weights * tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits))

    with tf.GradientTape() as tape:
        mixed = scheduled_inputs(decoder.step, decoder.zeros(4), inputs, 0.4, [1, 2])
        total = loss(decoder.whole(mixed))
    found = [total, *map(tf.convert_to_tensor, tape.gradient(total, decoder.weights))]
    changed = (mixed != inputs).numpy()
    assert changed.any() and not changed[:, 1:].all()

    # The coins of a run whose own choice is always a token that stands nowhere in the inputs.
    coins = scheduled_inputs(lambda _, s: (1e9 * tf.one_hot([1] * 4, WORDS), s), (), inputs, 0.4, [1, 2])
    keep = (coins != 1).numpy()

    def choose(logits, t):
        return mixed.numpy()[:, t]  # the one draw that was made of these logits

    with tf.GradientTape() as tape:
        logits, used = mixed_step_by_step(decoder, inputs, keep, choose)
        total = loss(logits)
    np.testing.assert_array_equal(used, mixed)
    expected = [total, *map(tf.convert_to_tensor, tape.gradient(total, decoder.weights))]
    assert errors(found, expected) < 1e-10


# Schedules ------------------------------------------------------------------------------------------------------------


def test_schedules_follow_their_equations():
    for i in (0, 1, 10, 250, 1000):
        for update in (i, tf.constant(i), tf.constant(i, tf.int64)):
            found = [
                teacher_probability("constant", update, k=0.7),
                teacher_probability("linear", update, k=0.9, c=0.002, eps=0.25),
                teacher_probability("linear", update, k=1.5, c=0.1),
                teacher_probability("inverse_sigmoid", update, k=50.0),
            ]
            expected = [0.7, max(0.25, 0.9 - 0.002 * i), min(1, max(0, 1.5 - 0.1 * i))]
            expected.append(50 / (50 + np.exp(i / 50)))
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)
            assert {(value.dtype, value.shape.rank) for value in found} == {(tf.float32, 0)}
    assert teacher_probability("inverse_sigmoid", 10**6, k=10.0) == 0  # exp(i / k) would not be finite


@pytest.mark.parametrize(
    ("kind", "constants", "message"),
    [
        ("cosine", {}, "kind is 'cosine', expected one of constant, linear, inverse_sigmoid"),
        ("constant", {"k": 1.1}, "the constant schedule has k = 1.1, .* expected 0 <= k <= 1"),
        ("linear", {"c": -1.0}, "the linear schedule has .* c = -1.0, .* expected k > 0, c >= 0 and 0 <= eps <= 1"),
        ("inverse_sigmoid", {"k": 0.5}, "the inverse_sigmoid schedule has k = 0.5, .* expected k >= 1"),
    ],
)
def test_refuses(kind, constants, message):
    with pytest.raises(ValueError, match=message):
        teacher_probability(kind, 3, **constants)

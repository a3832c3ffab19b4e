import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings

from layers.lstm import LSTM, LSTMCell
from tests.layers.oracles import cases, compare, errors, finite_differences, gradients, make_case

HOLES = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]], bool)
SHAPE = (5, 4, 2)
SLOW = pytest.param(1500, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "examples", [15, pytest.param(60, marks=pytest.mark.extra), pytest.param(1500, marks=pytest.mark.slow)]
)
def test_equations_and_gradients_over_all_options(examples):
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(cases("lstm"))
    def check(case):
        against_equations, against_differences, against_autodiff = compare(case)
        assert against_equations < 1e-12
        assert against_differences < 1e-6
        assert against_autodiff < 1e-10

    check()


@pytest.mark.extra
@pytest.mark.parametrize("return_gates", [False, True])
def test_finite_differences_of_the_layer_itself(return_gates):
    options = {"return_sequences": True, "return_state": True, "return_gates": return_gates}
    case = make_case("lstm", options, mask=HOLES, state=True, shape=SHAPE, units=2)
    layer = case.ours()
    call = tf.function(lambda x, state: keras.tree.flatten(layer(x, mask=HOLES, initial_state=state)))

    def loss():
        layer.set_weights(case.weights)
        result = call(tf.constant(case.x), [tf.constant(value) for value in case.state])
        return sum(np.sum(share * value) for share, value in zip(case.shares, result, strict=True))

    _, found = case.run(case.ours())
    assert errors(found, finite_differences(loss, [case.x, *case.weights, *case.state])) < 1e-6


def test_float32_at_a_common_size():
    random = np.random.default_rng(0)
    shape = (8, 60, 16)
    options = {"return_sequences": True, "return_state": True}
    case = make_case("lstm", options, mask=random.random(shape[:2]) < 0.8, shape=shape, units=32, dtype="float32")
    case.weights = [weight * 0.3 for weight in case.weights]
    found, wanted = case.run(case.ours()), case.run(case.native())
    assert errors(found[0], wanted[0]) < 1e-5
    assert errors(found[1], wanted[1]) < 1e-5


@pytest.mark.extra
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "XLA"])
@pytest.mark.parametrize(
    ("options", "mask", "state"),
    [
        ({"return_sequences": True}, None, False),
        ({"return_sequences": True, "return_state": True, "return_gates": True}, HOLES, True),
        ({"return_state": True, "go_backwards": True, "activation": "sigmoid", "use_bias": False}, HOLES, True),
    ],
    ids=["plain", "gates", "autodiff"],
)
def test_functions_of_unknown_sizes_agree_with_eager(options, mask, state, jit_compile):
    case = make_case("lstm", options, mask=mask, state=state, shape=SHAPE)
    layer = case.ours()
    unknown = tf.TensorSpec([None, None, 2], tf.float64), tf.TensorSpec([None, None], tf.bool)

    @tf.function(input_signature=unknown, jit_compile=jit_compile)
    def compiled(x, mask_):
        state = None if case.state is None else [tf.constant(value) for value in case.state]
        return gradients(layer, x, mask_ if mask is not None else None, state, True, case.shares)

    found = compiled(case.x, HOLES)
    result, gradient = case.run(case.ours())
    assert errors(found[0], result) < 1e-12
    assert errors(found[1], gradient) < 1e-12


@pytest.mark.extra
def test_one_unrolled_xla_program_agrees_with_eager():
    options = {"return_sequences": True, "unroll": True, "zero_output_for_mask": True}
    case = make_case("lstm", options, mask=HOLES, shape=SHAPE)
    layer = case.ours()
    found = tf.function(
        lambda: gradients(layer, tf.constant(case.x), HOLES, None, True, case.shares), jit_compile=True
    )()
    result, gradient = case.run(case.ours())
    assert errors(found[0], result) < 1e-12
    assert errors(found[1], gradient) < 1e-12


# The gates ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("return_sequences", "return_state", "go_backwards"), list(itertools.product([False, True], repeat=3))
)
def test_gates(return_sequences, return_state, go_backwards):
    options = {"return_sequences": return_sequences, "return_state": return_state, "go_backwards": go_backwards}
    case = make_case("lstm", options | {"return_gates": True}, mask=HOLES, state=True, shape=SHAPE)
    result = case.ours()(case.x, mask=HOLES, initial_state=case.state)
    assert isinstance(result, tuple) and len(result) == (4 if return_state else 2)
    gates = result[-1]
    assert sorted(gates) == ["c", "f", "g", "i", "o"]
    steps = HOLES[:, ::-1] if go_backwards else HOLES
    for name, expected in zip("cfgio", case.expected()[-5:], strict=True):
        assert gates[name].shape == (5, 4, 4)
        np.testing.assert_allclose(gates[name], expected, atol=1e-12)
        if name != "c":
            assert (np.any(gates[name] != 0, axis=-1) == steps).all()
    c = np.concatenate([case.state[1][:, None], gates["c"]], axis=1)
    kept = np.all(c[:, 1:] == c[:, :-1], axis=-1)
    assert (kept == ~steps).all()
    plain = make_case("lstm", options, mask=HOLES, state=True, shape=SHAPE)
    without = keras.tree.flatten(plain.ours()(case.x, mask=HOLES, initial_state=case.state))
    assert errors(keras.tree.flatten(result[:-1]), without) < 1e-12


def test_gates_obey_the_equations_between_them():
    case = make_case("lstm", {"return_sequences": True, "return_gates": True}, shape=SHAPE)
    h, gates = case.ours()(case.x)
    i, f, g, o, c = (gates[name].numpy() for name in "ifgoc")
    before = np.concatenate([np.zeros_like(c[:, :1]), c[:, :-1]], axis=1)
    np.testing.assert_allclose(c, f * before + i * g, atol=1e-12)
    np.testing.assert_allclose(h, o * np.tanh(c), atol=1e-12)


def test_bidirectional_refuses_gates():
    sentence = "keras.layers.Bidirectional cannot pass on the gates .* two LSTM layers"
    with pytest.raises(ValueError, match=sentence):
        keras.layers.Bidirectional(LSTM(3, return_gates=True))
    with pytest.raises(ValueError, match=sentence):
        keras.layers.Bidirectional(LSTM(3), backward_layer=LSTM(3, go_backwards=True, return_gates=True))


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of keras.layers.Embedding, when it is saved
@pytest.mark.parametrize("return_state", [False, True])
def test_model_with_gates_reloads(tmp_path, return_state):
    ids = keras.Input([None], dtype="int32")
    embedded = keras.layers.Embedding(7, 2, mask_zero=True)(ids)
    *result, gates = LSTM(3, return_gates=True, return_state=return_state)(embedded)
    assert {name: gate.shape for name, gate in gates.items()} == dict.fromkeys("ifgoc", (None, None, 3))
    later = keras.layers.GlobalAveragePooling1D()(gates["f"])
    model = keras.Model(ids, [*result, gates, later])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = np.array([[3, 1, 0, 0], [6, 2, 2, 5]])
    found, wanted = keras.tree.flatten(loaded(x)), keras.tree.flatten(model(x))
    assert len(found) == len(result) + 6
    assert errors(found, wanted) == 0
    assert not np.any(model(x)[-2]["i"][0, 2:])


# A drop-in ------------------------------------------------------------------------------------------------------------


def test_weights_copy_both_ways():
    ours, theirs = LSTM(3), keras.layers.LSTM(3)
    x = np.random.default_rng(0).normal(size=SHAPE)
    ours(x), theirs(x)
    assert [(w.name, w.shape) for w in ours.weights] == [(w.name, w.shape) for w in theirs.weights]
    np.testing.assert_array_equal(ours.cell.bias, [0] * 3 + [1] * 3 + [0] * 6)  # unit_forget_bias
    before = theirs(x)
    ours.set_weights(theirs.get_weights())
    assert errors([ours(x)], [before]) < 1e-6
    theirs.set_weights([weight * 0.5 for weight in theirs.get_weights()])
    theirs.set_weights(ours.get_weights())
    assert errors([theirs(x)], [before]) == 0


@pytest.mark.parametrize(
    "ignored", [{"implementation": 1}, {"implementation": 0}, {"use_cudnn": True}, {"use_cudnn": False}]
)
def test_implementation_and_use_cudnn_are_ignored(ignored):
    case = make_case("lstm", {"dropout": 0.4, "recurrent_dropout": 0.4, "seed": 3})
    (y, gradient), (wanted, wanted_gradient) = case.run(case.ours(**ignored)), case.run(case.ours())
    assert errors([*y, *gradient], [*wanted, *wanted_gradient]) == 0


def test_cell_is_that_of_keras():
    random = np.random.default_rng(0)
    x, h, c = random.normal(size=[5, 2]), *random.normal(size=[2, 5, 3])
    ours, theirs = LSTMCell(3, dtype="float64"), keras.layers.LSTMCell(3, dtype="float64")
    ours.build([None, 2]), theirs.build([None, 2])
    ours.set_weights(theirs.get_weights())
    assert errors(*[keras.tree.flatten(cell(x, [h, c])) for cell in (ours, theirs)]) < 1e-12
    assert LSTMCell.from_config(ours.get_config()).get_config() == ours.get_config()


@pytest.mark.parametrize("implementation", [1, 2])
def test_cell_draws_one_mask_for_all_gates(implementation):
    options = {"dropout": 0.5, "recurrent_dropout": 0.5, "seed": 1, "implementation": implementation}
    cell = LSTMCell(3, dtype="float64", **options)
    twin = LSTMCell(3, dtype="float64", **options)
    x, h, c = np.ones([5, 2]), np.ones([5, 3]), np.ones([5, 3])
    y, _ = cell(x, [h, c], training=True)
    twin.build([None, 2])
    twin.set_weights(cell.get_weights())
    dropped = x * twin.get_dropout_mask(x), h * twin.get_recurrent_dropout_mask(h)
    assert 0 < np.count_nonzero(dropped[1]) < dropped[1].numpy().size
    assert errors([y], [twin(dropped[0], [dropped[1], c])[0]]) < 1e-12


def test_stacked_cells_are_those_of_keras():
    x = np.random.default_rng(0).normal(size=SHAPE)
    stacks = [
        keras.layers.RNN([cell(3, dtype="float64"), cell(2, dtype="float64")], return_state=True, dtype="float64")
        for cell in (LSTMCell, keras.layers.LSTMCell)
    ]
    for stack in stacks:
        stack.build(x.shape)
    stacks[0].set_weights(stacks[1].get_weights())
    assert errors(*[keras.tree.flatten(stack(x)) for stack in stacks]) < 1e-12

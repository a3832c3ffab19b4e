import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings

from layers.rnn import VanillaRNN, VanillaRNNCell
from tests.layers.oracles import cases, compare, errors, finite_differences, gradients, make_case, sigmoid

HOLES = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]], bool)
SHAPE = (5, 4, 2)
SLOW = pytest.param(1500, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "examples", [15, pytest.param(60, marks=pytest.mark.extra), pytest.param(1500, marks=pytest.mark.slow)]
)
def test_equations_and_gradients_over_all_options(examples):
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(cases("rnn"))
    def check(case):
        against_equations, against_differences, against_autodiff = compare(case)
        assert against_equations < 1e-12
        assert against_differences < 1e-6
        assert against_autodiff < 1e-10

    check()


def test_finite_differences_of_the_layer_itself():
    options = {"return_sequences": True, "return_state": True, "output_units": 2, "output_activation": "sigmoid"}
    case = make_case("rnn", options, mask=HOLES, state=True, shape=SHAPE, units=2)
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
    case = make_case("rnn", options, mask=random.random(shape[:2]) < 0.8, shape=shape, units=32, dtype="float32")
    case.weights = [weight * 0.2 for weight in case.weights]
    found, wanted = case.run(case.ours()), case.run(case.native())
    assert errors(found[0], wanted[0]) < 1e-5
    assert errors(found[1], wanted[1]) < 1e-5


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "XLA"])
@pytest.mark.parametrize(
    ("options", "mask", "state"),
    [
        ({"return_sequences": True, "output_units": 2}, HOLES, True),
        ({"return_state": True, "go_backwards": True, "activation": "sigmoid", "use_bias": False}, HOLES, False),
    ],
    ids=["output layer", "autodiff"],
)
def test_functions_of_unknown_sizes_agree_with_eager(options, mask, state, jit_compile):
    case = make_case("rnn", options, mask=mask, state=state, shape=SHAPE)
    layer = case.ours()
    unknown = tf.TensorSpec([None, None, 2], tf.float64), tf.TensorSpec([None, None], tf.bool)

    @tf.function(input_signature=unknown, jit_compile=jit_compile)
    def compiled(x, mask):
        state = None if case.state is None else [tf.constant(value) for value in case.state]
        return gradients(layer, x, mask, state, True, case.shares)

    found = compiled(case.x, HOLES)
    result, gradient = case.run(case.ours())
    assert errors(found[0], result) < 1e-12
    assert errors(found[1], gradient) < 1e-12


# The output layer -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("return_sequences", "use_bias"), list(itertools.product([False, True], repeat=2)))
def test_output_layer_is_on_top_of_the_hidden_states(return_sequences, use_bias):
    options = {"return_sequences": return_sequences, "return_state": True, "use_bias": use_bias}
    mapped = make_case("rnn", options | {"output_units": 2, "output_activation": "sigmoid"}, shape=SHAPE)
    plain = make_case("rnn", options, shape=SHAPE)
    plain.weights = mapped.weights[: 3 if use_bias else 2]
    y, last = mapped.ours()(mapped.x)
    h, wanted_last = plain.ours()(mapped.x)
    W_ho, *b_o = mapped.weights[3 if use_bias else 2 :]
    np.testing.assert_allclose(y, sigmoid(h.numpy() @ W_ho + sum(b_o)), atol=1e-12)
    np.testing.assert_allclose(last, wanted_last, atol=1e-12)


def test_rows_without_a_valid_step_give_zeros_not_the_map_of_zeros():
    case = make_case("rnn", {"output_units": 2, "output_activation": "sigmoid"}, mask=HOLES, shape=SHAPE)
    y = case.ours()(case.x, mask=HOLES).numpy()
    assert not y[4].any() and y[:4].all()


@pytest.mark.parametrize("kind", [VanillaRNN, VanillaRNNCell])
@pytest.mark.parametrize("output_units", [0, -2])
def test_wrong_output_units_are_refused(kind, output_units):
    with pytest.raises(ValueError, match=rf"output_units must be a positive integer or None. Received: {output_units}"):
        kind(3, output_units=output_units)


def test_output_layer_has_regularizers_and_a_name_in_the_config():
    layer = VanillaRNN(
        3, output_units=2, output_activation="softmax", kernel_regularizer="l2", bias_constraint="non_neg"
    )
    y = layer(np.ones(SHAPE, "float32"))
    np.testing.assert_allclose(np.sum(y, axis=-1), 1, rtol=1e-6)
    assert [weight.name for weight in layer.weights] == [
        "kernel", "recurrent_kernel", "bias", "output_kernel", "output_bias",
    ]  # fmt: skip
    assert len(layer.losses) == 2  # kernel and output_kernel
    assert layer.cell.output_bias.constraint is not None
    copy = VanillaRNN.from_config(layer.get_config())
    assert (copy.output_units, copy.output_activation) == (2, keras.activations.softmax)


# A drop-in ------------------------------------------------------------------------------------------------------------


def test_weights_copy_both_ways():
    ours, theirs = VanillaRNN(3), keras.layers.SimpleRNN(3)
    x = np.random.default_rng(0).normal(size=SHAPE)
    ours(x), theirs(x)
    assert [(w.name, w.shape) for w in ours.weights] == [(w.name, w.shape) for w in theirs.weights]
    before = theirs(x)
    ours.set_weights(theirs.get_weights())
    assert errors([ours(x)], [before]) < 1e-6
    theirs.set_weights([weight * 0.5 for weight in theirs.get_weights()])
    theirs.set_weights(ours.get_weights())
    assert errors([theirs(x)], [before]) == 0


@pytest.mark.parametrize("as_list", [True, False])
def test_cell_is_that_of_keras(as_list):
    random = np.random.default_rng(0)
    x, h = random.normal(size=[5, 2]), random.normal(size=[5, 3])
    ours, theirs = VanillaRNNCell(3, dtype="float64"), keras.layers.SimpleRNNCell(3, dtype="float64")
    ours.build([None, 2]), theirs.build([None, 2])
    ours.set_weights(theirs.get_weights())
    results = [cell(x, [h] if as_list else h) for cell in (ours, theirs)]
    assert type(results[0][1]) is type(results[1][1])
    assert errors(*[keras.tree.flatten(result) for result in results]) < 1e-12
    assert VanillaRNNCell.from_config(ours.get_config()).get_config() == ours.get_config()


def test_stacked_cells_are_those_of_keras():
    x = np.random.default_rng(0).normal(size=SHAPE)
    stacks = [
        keras.layers.RNN([cell(3, dtype="float64"), cell(2, dtype="float64")], return_state=True, dtype="float64")
        for cell in (VanillaRNNCell, keras.layers.SimpleRNNCell)
    ]
    for stack in stacks:
        stack.build(x.shape)
    stacks[0].set_weights(stacks[1].get_weights())
    assert errors(*[keras.tree.flatten(stack(x)) for stack in stacks]) < 1e-12


def test_a_cell_with_an_output_layer_feeds_the_next_of_a_stack():
    cells = [VanillaRNNCell(3, output_units=4), VanillaRNNCell(2)]
    layer = keras.layers.RNN(cells, return_sequences=True)
    assert layer(np.ones(SHAPE, "float32")).shape == (5, 4, 2)
    assert cells[1].kernel.shape == (4, 2)


def test_both_directions_have_the_seed_of_their_dropout():
    x = np.random.default_rng(0).standard_normal((2, 4, 3)).astype(np.float32)

    def outputs():
        layer = keras.layers.Bidirectional(VanillaRNN(5, recurrent_dropout=0.5, dropout=0.5, seed=3))
        layer.build(x.shape)
        layer.set_weights([np.ones(weight.shape) / 4 for weight in layer.weights if weight.trainable])
        return layer(x, training=True).numpy()

    np.testing.assert_array_equal(outputs(), outputs())

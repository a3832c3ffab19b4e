"""Tests of both recurrent layers, each compared with the layer of Keras that it replaces."""

import functools
import inspect
import itertools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from layers.bptt import bptt
from tests.layers.oracles import KINDS, error, errors, gradients, make_case

HOLES = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]], bool)
SHAPE = (5, 4, 2)
FLAGS = [False, True]

# Of Keras, whose variables do not know NumPy's `copy` yet when they are saved.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")
both_kinds = pytest.mark.parametrize("kind", list(KINDS))


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(1)


def in_mode(function, mode):
    return function if mode == "eager" else tf.function(function, jit_compile=mode == "XLA", autograph=False)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def pair(kind, units=4, wrap=lambda layer: layer, shape=SHAPE, **options):
    """Our layer and Keras's, with the same weights."""
    layers = [wrap(made(units, **options)) for made in (KINDS[kind].layer, KINDS[kind].native)]
    for layer in layers:
        layer.build(shape)
    layers[0].set_weights([weight * 1.5 + 0.1 for weight in layers[1].get_weights()])
    layers[1].set_weights(layers[0].get_weights())
    return layers


# Stateful -------------------------------------------------------------------------------------------------------------


@both_kinds
@pytest.mark.parametrize(
    ("mode", "masked"), [("eager", False), ("eager", True), ("graph", False), ("graph", True), ("XLA", True)]
)
def test_stateful_calls_on_two_halves_equal_one_call(kind, mode, masked):
    case = make_case(kind, {"return_sequences": True, "return_state": True}, mask=HOLES, shape=SHAPE)
    layer, whole = case.ours(stateful=True), case.ours()
    call = in_mode(lambda x, mask: layer(x, mask=mask if masked else None), mode)
    wanted, *wanted_state = whole(case.x, mask=HOLES if masked else None)
    for _ in range(2):
        halves = [call(tf.constant(case.x[:, at : at + 2]), tf.constant(HOLES[:, at : at + 2])) for at in (0, 2)]
        found = tf.concat([half[0] for half in halves], axis=1)
        if masked:  # a masked step before the first valid one of its call gives zeros, as in Keras
            found, wanted = [tf.where(HOLES[..., None], y, 0.0) for y in (found, wanted)]
        assert errors([found, *halves[1][1:]], [wanted, *wanted_state]) < 1e-12
        assert errors([variable.numpy() for variable in layer.states], wanted_state) < 1e-12
        layer.reset_state()


@both_kinds
def test_stateful_is_that_of_keras(kind):
    x = numbers(2, *SHAPE)
    layers = pair(kind, stateful=True, return_sequences=True)
    for mask in (HOLES, HOLES[::-1]):
        assert errors(*[[layer(part, mask=mask) for part in x] for layer in layers]) < 1e-5
    start = list(numbers(KINDS[kind].states, 5, 4))
    assert error(*[layer(x[0], initial_state=start) for layer in layers]) < 1e-5
    assert error(*[layer(x[1]) for layer in layers]) < 1e-5
    for layer in layers:
        layer.reset_states()
    assert error(*[layer(x[1]) for layer in layers]) < 1e-5


@both_kinds
def test_gradient_stops_at_the_carried_state(kind):
    case = make_case(kind, {}, shape=SHAPE)
    layer = case.ours(stateful=True)
    layer(case.x[:, :2])
    carried = [variable.numpy() for variable in layer.states]
    x, half = tf.constant(case.x[:, 2:]), [tf.constant(value) for value in carried]
    found = gradients(layer, x, None, None, True, case.shares)
    wanted = gradients(case.ours(), x, None, half, True, case.shares)
    assert errors(found[0], wanted[0]) < 1e-12
    assert errors(found[1], wanted[1][: len(found[1])]) < 1e-12


@both_kinds
@pytest.mark.parametrize("mode", ["eager", "graph", "unknown batch"])
def test_another_batch_size_after_reset_starts_from_zeros(kind, mode):
    layer, stateless = KINDS[kind].layer(4, stateful=True), KINDS[kind].layer(4)
    stateless(numbers(*SHAPE)), layer(numbers(*SHAPE))
    stateless.set_weights(layer.get_weights())
    call = in_mode(layer, "eager" if mode == "eager" else "graph")
    if mode == "unknown batch":
        call = tf.function(layer, input_signature=[tf.TensorSpec([None, None, 2])])
    for batch in (5, 1, 5):
        layer.reset_state()
        x = numbers(batch, 4, 2, seed=batch)
        assert error(call(tf.constant(x)), stateless(x)) < 1e-6
        assert [variable.shape for variable in map(tf.convert_to_tensor, layer.states)] == [[batch, 4]] * len(
            layer.states
        )


@pytest.mark.extra
@both_kinds
def test_another_batch_size_after_reset_under_xla(kind):
    made = functools.partial(KINDS[kind].layer, 4, dtype="float64")
    layer, stateless = made(stateful=True), made()
    stateless(numbers(*SHAPE)), layer(numbers(*SHAPE))
    stateless.set_weights(layer.get_weights())
    call = in_mode(layer, "XLA")
    for batch in (5, 1):  # each is a new trace
        layer.reset_state()
        x = numbers(batch, 4, 2, seed=batch)
        assert error(call(tf.constant(x)), stateless(x)) < 1e-12
    for batch in (5, 1):  # traced before
        layer.reset_state(batch)
        x = numbers(batch, 4, 2, seed=batch)
        assert error(call(tf.constant(x)), stateless(x)) < 1e-12
    layer.reset_state()  # the traced function expects a state of one row
    with pytest.raises((tf.errors.OpError, ValueError)):
        call(tf.constant(numbers(5, 4, 2)))


@both_kinds
@pytest.mark.parametrize(("first", "second"), [(3, 2), (2, 3), (1, 3), (3, 1)])
def test_another_batch_size_without_reset_is_refused(kind, first, second):
    layer = KINDS[kind].layer(4, stateful=True, name="memory")
    x = tf.constant(numbers(3, 4, 2))
    layer(x[:first])
    before = [variable.numpy() for variable in layer.states]
    sentence = r"(?s)stateful layer memory .* call\s+reset_state\(\) between sequences"
    with pytest.raises(ValueError, match=sentence + rf".*{first}, {second}"):
        layer(x[:second])
    unknown = [tf.TensorSpec([None, 4, 2])]
    for function in (tf.function(layer, autograph=False), tf.function(layer, unknown, autograph=False)):
        with pytest.raises(tf.errors.InvalidArgumentError, match=sentence):
            function(x[:second])
    assert errors([variable.numpy() for variable in layer.states], before) == 0
    layer(x[:first])


@pytest.mark.extra
@both_kinds
@pytest.mark.parametrize("batch_size", ["known", "unknown"])
@pytest.mark.parametrize(("first", "second"), [(1, 3), (3, 1)])
def test_xla_never_broadcasts_a_carried_state(kind, batch_size, first, second):
    layer = KINDS[kind].layer(4, stateful=True)
    x = tf.constant(numbers(3, 2, 2))
    rows = None if batch_size == "unknown" else second
    layer(x[:first])
    call = tf.function(layer, input_signature=[tf.TensorSpec([rows, 2, 2])], jit_compile=True)
    with pytest.raises((tf.errors.OpError, ValueError)):
        call(x[:second])


@pytest.mark.extra
@both_kinds
@pytest.mark.parametrize("mode", ["eager", "XLA"])
def test_stateful_in_mixed_precision(kind, mode):
    layer = KINDS[kind].layer(4, stateful=True, return_sequences=True, dtype="mixed_bfloat16")
    whole = KINDS[kind].layer(4, return_sequences=True, dtype="mixed_bfloat16")
    x = tf.constant(numbers(*SHAPE))
    wanted = whole(x)
    layer.build(SHAPE)
    layer.set_weights(whole.get_weights())
    call = in_mode(layer, mode)
    found = tf.concat([call(x[:, :2]), call(x[:, 2:])], axis=1)
    assert found.dtype == tf.bfloat16 and {variable.dtype for variable in layer.states} == {tf.bfloat16}
    assert error(tf.cast(found, tf.float32), tf.cast(wanted, tf.float32)) < 2e-2


@both_kinds
def test_stateful_model_reloads_fresh_and_predicts(kind, tmp_path):
    model = keras.Sequential([keras.Input([None, 2]), KINDS[kind].layer(3, stateful=True), keras.layers.Dense(1)])
    x = numbers(4, 4, 2)
    first, second = model.predict(x, batch_size=4, verbose=0), model.predict(x, batch_size=4, verbose=0)
    assert error(first, second) > 1e-3
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert len(loaded.weights) == len(model.weights) == len(pair(kind)[0].weights) + 2
    assert error(loaded.predict(x, batch_size=4, verbose=0), first) < 1e-6


@both_kinds
def test_bidirectional_resets_both_states(kind):
    layer = keras.layers.Bidirectional(KINDS[kind].layer(3, stateful=True))
    x = numbers(*SHAPE)
    first = layer(x)
    assert error(layer(x), first) > 1e-3
    layer.reset_state()
    assert error(layer(x), first) < 1e-6


# Dropout --------------------------------------------------------------------------------------------------------------


@pytest.mark.extra
@both_kinds
@pytest.mark.parametrize("mode", ["eager", "XLA"])
def test_each_sequence_draws_new_dropout_masks(kind, mode):
    options = {"dropout": 0.5, "recurrent_dropout": 0.5, "return_sequences": True}
    layer = KINDS[kind].layer(8, **options)
    x = tf.ones([4, 2, 8])
    call = in_mode(lambda training: layer(x, training=training), mode)
    draws = [call(True).numpy() for _ in range(3)]
    assert all(error(a, b) > 1e-2 for a, b in itertools.combinations(draws, 2))
    assert all(np.isfinite(draw).all() for draw in draws)
    plain = KINDS[kind].layer(8, return_sequences=True)
    plain.build(x.shape)
    plain.set_weights(layer.get_weights())
    assert error(call(False), plain(x)) < 1e-5


@both_kinds
def test_dropout_keeps_the_mean_and_one_mask_for_all_steps(kind):
    """With W_ih = 1 and a tiny slope the layer shows what it is given: a dropped feature is dropped at every step."""
    layer = KINDS[kind].layer(1, activation="linear", dropout=0.25, return_sequences=True, seed=1, use_bias=False)
    layer.build([None, None, 1])
    kernel, recurrent = layer.get_weights()
    layer.set_weights([np.ones_like(kernel), np.zeros_like(recurrent)])
    y = layer(np.ones([4000, 3, 1], "float32"), training=True).numpy()[..., 0]
    zero = y == 0
    assert (zero == zero[:, :1]).all()
    assert 0.22 < zero.mean() < 0.28
    if kind == "rnn":
        np.testing.assert_allclose(y[~zero], 1 / 0.75, rtol=1e-6)


# Serialization --------------------------------------------------------------------------------------------------------

EVERY_OPTION = {
    "activation": "relu", "use_bias": False, "kernel_initializer": "he_normal", "recurrent_initializer": "zeros",
    "bias_initializer": "ones", "kernel_regularizer": "l1", "recurrent_regularizer": "l2", "bias_regularizer": "L1L2",
    "activity_regularizer": "l2", "kernel_constraint": "max_norm", "recurrent_constraint": "unit_norm",
    "bias_constraint": "non_neg", "dropout": 0.1, "recurrent_dropout": 0.2, "seed": 7, "return_sequences": True,
    "return_state": True, "go_backwards": True, "stateful": True, "unroll": True, "zero_output_for_mask": True,
    "name": "reader", "trainable": False, "dtype": "mixed_bfloat16",
}  # fmt: skip
OWN_OPTIONS = {
    "lstm": {"recurrent_activation": "tanh", "unit_forget_bias": False, "return_gates": True},
    "rnn": {"output_units": 2, "output_activation": "softmax"},
}


@both_kinds
def test_config_contains_every_option(kind):
    layer = KINDS[kind].layer(3, **EVERY_OPTION, **OWN_OPTIONS[kind])
    config = layer.get_config()
    plain = KINDS[kind].layer(3).get_config()
    same = {name for name in config if config[name] == plain[name]}
    assert same == {"units"}
    assert KINDS[kind].layer.from_config(json.loads(json.dumps(config))).get_config() == config
    assert set(config) - set(OWN_OPTIONS[kind]) | set(KINDS[kind].native(3).get_config()) <= set(config)


@both_kinds
def test_arguments_and_defaults_are_those_of_keras(kind):
    native, layer = KINDS[kind].native, KINDS[kind].layer
    parameters = list(inspect.signature(native).parameters.values())[1:-1]  # without units and **kwargs
    for arguments in ([], ["relu"], [parameter.default for parameter in parameters]):
        theirs, ours = native(3, *arguments, name="rnn").get_config(), layer(3, *arguments, name="rnn").get_config()
        assert {name: ours[name] for name in theirs} == theirs
    with pytest.raises(ValueError, match="colour"):
        layer(3, colour="blue")
    call = [inspect.signature(layer.call) for layer in (KINDS[kind].layer, KINDS[kind].native)]
    names = {"sequences", "initial_state", "mask", "training"}
    assert (
        names
        == set(call[0].parameters) - {"self"}
        == {"sequences" if name == "sequence" else name for name in call[1].parameters} - {"self"}
    )


@both_kinds
def test_a_config_of_keras_makes_our_layer(kind):
    theirs = KINDS[kind].native(3, activation="relu", go_backwards=True, kernel_regularizer="l2", seed=3)
    ours = KINDS[kind].layer.from_config(theirs.get_config())
    config = theirs.get_config()
    assert {name: ours.get_config()[name] for name in config} == config


@pytest.mark.extra
@both_kinds
@pytest.mark.parametrize("copy", ["save", "clone"])
@pytest.mark.parametrize("bidirectional", FLAGS)
def test_model_copies(kind, copy, bidirectional, tmp_path):
    layer = KINDS[kind].layer(3, return_sequences=True, dropout=0.2, recurrent_dropout=0.1)
    model = keras.Sequential(
        [
            keras.Input([None], dtype="int32"),
            keras.layers.Embedding(7, 2, mask_zero=True),
            keras.layers.Bidirectional(layer, merge_mode="sum") if bidirectional else layer,
            KINDS[kind].layer(2, activation="relu", go_backwards=True),
        ]
    )
    ids = np.array([[3, 1, 0, 0], [6, 2, 2, 5], [0, 0, 0, 0]])
    if copy == "save":
        model.save(tmp_path / "model.keras")
        twin = keras.models.load_model(tmp_path / "model.keras")
    else:
        twin = keras.models.clone_model(model)
        twin.set_weights(model.get_weights())
    assert error(twin(ids), model(ids)) == 0
    assert [type(layer) for layer in twin.layers] == [type(layer) for layer in model.layers]
    model.save_weights(tmp_path / "copy.weights.h5")
    twin.set_weights([weight * 0 for weight in twin.get_weights()])
    twin.load_weights(tmp_path / "copy.weights.h5")
    assert error(twin(ids), model(ids)) == 0


@both_kinds
def test_initial_states_of_a_functional_model_reload(kind, tmp_path):
    x = keras.Input([None, 2])
    states = [keras.Input([3]) for _ in range(KINDS[kind].states)]
    y, *last = KINDS[kind].layer(3, return_state=True, return_sequences=True)(x, initial_state=states)
    model = keras.Model([x, *states], [y, *last])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    values = [numbers(*SHAPE), *numbers(len(states), 5, 3)]
    found, wanted = loaded(values), model(values)
    assert errors(found, wanted) == 0
    zeros = [values[0], *[value * 0 for value in values[1:]]]
    assert errors(loaded(zeros), wanted) > 1e-3


@pytest.mark.extra
@both_kinds
def test_saved_model_takes_any_batch_and_time(kind, tmp_path):
    model = keras.Sequential([keras.Input([None, 2]), KINDS[kind].layer(3, return_sequences=True)])
    model.export(tmp_path / "export", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "export")
    for batch, time in ((1, 1), (1, 5), (2, 5), (3, 5)):
        x = numbers(batch, time, 2)
        assert error(loaded.serve(x), model(x)) < 1e-6


# Precision ------------------------------------------------------------------------------------------------------------


@both_kinds
@pytest.mark.parametrize(
    ("dtype", "bound"),
    [("float32", 1e-6), ("float64", 1e-6), ("mixed_bfloat16", 6e-2), ("mixed_float16", 6e-3), ("bfloat16", 6e-2)],
)
def test_dtype_policies(kind, dtype, bound):
    options = {"return_sequences": True, "return_state": True}
    case = make_case(kind, options, mask=HOLES, state=True, shape=SHAPE, dtype="float32")
    case.weights = [weight * 0.5 for weight in case.weights]
    wanted = case.run(case.ours())
    layer = case.make(case.kind.layer(case.units, dtype=dtype, recurrent_initializer="zeros", **options))
    state = [tf.constant(value, tf.float32) for value in case.state]
    found = gradients(layer, tf.constant(case.x, tf.float32), HOLES, state, True, case.shares)
    policy = keras.dtype_policies.get(dtype)
    assert {value.dtype.name for value in found[0]} == {policy.compute_dtype}
    assert {weight.dtype for weight in layer.weights} == {policy.variable_dtype}
    for ours, reference in zip(found, wanted, strict=True):
        assert errors([tf.cast(value, tf.float64) for value in ours], reference) < bound


# Masks before and after -----------------------------------------------------------------------------------------------


@both_kinds
def test_masking_and_embedding_in_front(kind):
    ids = np.array([[3, 1, 0, 0], [0, 2, 0, 5], [0, 0, 0, 0]])
    features = np.where(ids[..., None] > 0, numbers(3, 4, 2), -1)
    for first, x in ((keras.layers.Embedding(7, 2, mask_zero=True), ids), (keras.layers.Masking(-1.0), features)):
        models = []
        for made in (KINDS[kind].layer, KINDS[kind].native):
            both = keras.layers.Bidirectional(made(3, return_sequences=True))
            models.append(keras.Sequential([first, both, made(3, return_sequences=True, go_backwards=True), made(2)]))
        before = [model(x) for model in models]
        models[0].set_weights(models[1].get_weights())
        assert error(before[0], before[1]) > 1e-3
        assert error(models[0](x), models[1](x), floor=1e-2) < 1e-5


@pytest.mark.extra
@both_kinds
@pytest.mark.parametrize("merge_mode", ["concat", None])
def test_bidirectional_is_that_of_keras(kind, merge_mode):
    def wrap(layer):
        return keras.layers.Bidirectional(layer, merge_mode=merge_mode)

    start = list(numbers(2 * KINDS[kind].states, 5, 4, seed=1))
    for return_sequences, return_state in itertools.product(FLAGS, FLAGS):
        options = {"return_sequences": return_sequences, "return_state": return_state}
        layers = pair(kind, wrap=wrap, **options)
        results = [keras.tree.flatten(layer(numbers(*SHAPE), mask=HOLES, initial_state=start)) for layer in layers]
        assert errors(*results) < 1e-5


@both_kinds
def test_masks_of_any_form(kind):
    layer = KINDS[kind].layer(3)
    x = numbers(*SHAPE)
    wanted = layer(x, mask=HOLES)
    for mask in (tf.constant(HOLES), HOLES.astype("int32"), HOLES.astype("float32"), HOLES[..., None], [HOLES]):
        assert error(layer(x, mask=mask), wanted) == 0
    assert error(layer(x, mask=np.ones_like(HOLES)), layer(x)) == 0


@both_kinds
def test_the_inputs_of_masked_steps_do_not_matter(kind):
    case = make_case(kind, {"return_sequences": True, "return_state": True}, mask=HOLES, state=True, shape=SHAPE)
    layer = case.ours()
    result, found = case.run(layer)
    assert not found[0].numpy()[~HOLES].any()
    case.x = np.where(HOLES[..., None], case.x, 1e3)
    assert errors(case.run(layer)[0], result) == 0
    assert errors(case.run(layer)[1], found) < 1e-12


def shapes(value):
    return keras.tree.map_structure(lambda tensor: tuple(tensor.shape), value)


@pytest.mark.extra
@both_kinds
@pytest.mark.parametrize("own", FLAGS)
def test_compute_output_shape_and_compute_mask(kind, own):
    """compute_output_shape and compute_mask against real outputs, and against Keras's where it has the option too."""
    own_options = ({"return_gates": True} if kind == "lstm" else {"output_units": 4}) if own else {}
    x = tf.constant(numbers(*SHAPE))
    for return_sequences, return_state in itertools.product(FLAGS, FLAGS):
        options = {"return_sequences": return_sequences, "return_state": return_state}
        layer, native = KINDS[kind].layer(3, **options, **own_options), KINDS[kind].native(3, **options)
        result = layer(x, mask=HOLES)
        declared = layer.compute_output_shape(SHAPE)
        assert declared == shapes(result)
        symbolic = layer(keras.Input([None, 2]))
        assert shapes(symbolic) == keras.tree.map_shape_structure(
            lambda shape: (None, None, *shape[2:]) if len(shape) == 3 else (None, *shape[1:]), declared
        )
        masks = keras.tree.flatten(layer.compute_mask(x, HOLES))
        outputs = keras.tree.flatten(result)
        assert len(masks) == len(outputs)
        assert [mask is not None for mask in masks] == [return_sequences] + [False] * (len(outputs) - 1)
        assert (masks[0] is HOLES) == return_sequences
        carried = keras.layers.Masking(-1.0)(x)
        after = keras.tree.flatten(layer(carried))
        kept = [getattr(value, "_keras_mask", None) is not None for value in after]
        assert kept == [mask is not None for mask in masks]
        if not own:
            assert declared == native.compute_output_shape(SHAPE)
            expected = keras.tree.flatten(native.compute_mask(x, HOLES))
            assert [id(mask) for mask in masks] == [id(mask) for mask in expected]


# In a model -----------------------------------------------------------------------------------------------------------


@pytest.mark.extra
@both_kinds
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_model_learns(kind, jit_compile):
    """Which of the words 1 and 2 comes last? Sequences of any length, padded."""
    random = np.random.default_rng(0)
    ids = random.integers(1, 5, size=[256, 6])
    ids[random.integers(0, 7, size=[256, 1]) > np.arange(6)[::-1]] = 0
    last = np.array([([0] + [word for word in row if word in (1, 2)])[-1] for row in ids])
    model = keras.Sequential(
        [
            keras.layers.Embedding(5, 4, mask_zero=True),
            KINDS[kind].layer(16, dropout=0.05, recurrent_dropout=0.05),
            keras.layers.Dense(3),
        ]
    )
    model.compile(
        keras.optimizers.Adam(0.02),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=jit_compile,
    )
    history = model.fit(ids, last, batch_size=32, epochs=8, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] / 3
    assert history["accuracy"][-1] > 0.9


@both_kinds
def test_a_frozen_layer_passes_the_error_on_and_stays(kind):
    case = make_case(kind, {}, mask=HOLES, shape=SHAPE)
    wanted = case.run(case.ours())[1][0]
    frozen_later = case.ours()
    frozen_later.trainable = False
    for frozen in (frozen_later, case.ours(trainable=False)):
        assert frozen.trainable_weights == [] and len(frozen.non_trainable_weights) == len(case.weights)
        (dx,) = case.run(frozen)[1]
        assert error(dx, wanted) < 1e-12
    model = keras.Sequential([keras.layers.Dense(2, dtype="float64"), frozen])
    model.compile("sgd", "mse", run_eagerly=True)
    model.train_on_batch(case.x, np.ones([5, case.units]))
    assert errors(frozen.get_weights(), case.weights) == 0


@both_kinds
def test_regularizers_and_constraints_are_honoured(kind):
    options = {
        "kernel_regularizer": keras.regularizers.L2(0.1), "recurrent_regularizer": keras.regularizers.L1(0.2),
        "bias_regularizer": keras.regularizers.L2(0.3), "kernel_constraint": "non_neg",
        "recurrent_constraint": keras.constraints.MaxNorm(0.5), "bias_constraint": "non_neg",
    }  # fmt: skip
    ours, theirs = pair(kind, **options)
    x = numbers(*SHAPE)
    ours(x), theirs(x)
    assert len(ours.losses) == 3
    assert errors(ours.losses, theirs.losses) < 1e-5
    after = []
    for layer in (ours, theirs):
        model = keras.Sequential([layer])
        model.compile("sgd", "mse", run_eagerly=True)
        model.train_on_batch(x, numbers(5, 4, seed=1))
        after.append(layer.get_weights())
    assert errors(*after) < 1e-5
    kernel, recurrent, bias = after[0]
    assert kernel.min() == 0 and bias.min() >= 0
    assert np.linalg.norm(recurrent, axis=0).max() < 0.5 + 1e-5


@both_kinds
def test_activity_regularizer_is_honoured(kind):
    """Keras's SimpleRNN forgets it."""
    layer = KINDS[kind].layer(3, activity_regularizer=keras.regularizers.L2(0.4))
    y = layer(numbers(*SHAPE))
    assert error(layer.losses, [0.4 * np.sum(np.square(y)) / len(y)]) < 1e-5


@both_kinds
def test_unroll_needs_a_known_time(kind):
    layer = KINDS[kind].layer(3, unroll=True)
    x = numbers(*SHAPE)
    known = tf.function(layer, input_signature=[tf.TensorSpec([None, 4, 2])])
    looped = KINDS[kind].layer(3)
    looped.build(SHAPE)
    wanted = known(x)
    looped.set_weights(layer.get_weights())
    assert error(wanted, looped(x)) < 1e-6
    with pytest.raises(
        ValueError, match=r"Cannot unroll .*: the time dimension of its input \(5, None, 2\) is unknown"
    ):
        tf.function(layer, input_signature=[tf.TensorSpec([5, None, 2])])(x)


@both_kinds
@pytest.mark.parametrize("wrong", [{"units": 0}, {"units": -1}, {"activation": "tanhh"}, {"no_such_option": 1}])
def test_wrong_arguments_are_refused(kind, wrong):
    with pytest.raises((ValueError, TypeError)):
        KINDS[kind].layer(**{"units": 3, **wrong})


@both_kinds
@pytest.mark.parametrize("shape", [(4, 2), (2, 3, 4, 2)])
def test_inputs_of_another_rank_are_refused(kind, shape):
    with pytest.raises(ValueError, match="expected ndim=3"):
        KINDS[kind].layer(3)(numbers(*shape))


@both_kinds
def test_one_step_and_one_row(kind):
    case = make_case(kind, {"return_sequences": True, "return_state": True}, shape=(1, 1, 1), units=1, state=True)
    assert errors(case.run(case.ours())[0], case.expected()) < 1e-12


def test_no_dropout_mask_outlives_its_call():
    """The next call may have another batch size."""
    for kind in KINDS.values():
        layer = kind.layer(3, dropout=0.5, recurrent_dropout=0.5)
        for batch in (5, 2, 7):
            assert layer(numbers(batch, 4, 2), training=True).shape == (batch, 3)


@both_kinds
@pytest.mark.parametrize("units", [3, 4])
def test_an_activation_may_look_at_all_units_at_once(kind, units):
    layers = pair(kind, units, activation="softmax", return_sequences=True)
    assert error(*[layer(numbers(*SHAPE), mask=HOLES) for layer in layers]) < 1e-6


@both_kinds
@pytest.mark.parametrize("known", ["x", "mask", "state"])
def test_a_batch_of_known_size_beside_unknown_ones(kind, known):
    batch = 2
    case = make_case(kind, {"return_sequences": True}, mask=HOLES[:batch], state=True, shape=(batch, 4, 2))
    layer = case.ours()
    x, mask, *state = map(tf.constant, (case.x, case.mask, *case.state))

    def spec(name, value):
        return tf.TensorSpec([batch if name == known else None, *value.shape[1:]], value.dtype)

    signature = [spec("x", x), spec("mask", mask), [spec("state", value) for value in state]]

    @tf.function(input_signature=signature)
    def call(x, mask, state):
        return layer(x, mask=mask, initial_state=state)

    assert error(call(x, mask, state), layer(x, mask=mask, initial_state=state)) < 1e-12


@both_kinds
def test_a_mask_of_one_row_is_that_of_all(kind):
    layer = make_case(kind, {"return_sequences": True}, shape=SHAPE).ours()
    x = numbers(*SHAPE)
    assert error(layer(x, mask=HOLES[1:2]), layer(x, mask=np.repeat(HOLES[1:2], 5, axis=0))) < 1e-12


@both_kinds
@pytest.mark.parametrize("training", FLAGS)
def test_a_mask_of_another_size_is_refused(kind, training):
    layer = KINDS[kind].layer(2, name="reader")
    layer.build((None, None, 2))
    x = tf.constant(numbers(3, 4, 2))
    sentence = "reader received a mask of another size than its input"

    signature = [tf.TensorSpec([None, None, 2]), tf.TensorSpec([None, None], tf.bool)]

    @tf.function(input_signature=signature, autograph=False)
    def unknown(x, mask):
        return layer(x, mask=mask, training=training)

    for shape in ((3, 7), (3, 3), (3, 1), (2, 4), (4, 4)):
        mask = tf.ones(shape, tf.bool)
        for function in (layer, tf.function(layer, autograph=False)):
            with pytest.raises(ValueError, match=sentence):
                function(x, mask=mask, training=training)
        with pytest.raises(tf.errors.InvalidArgumentError, match=sentence):
            unknown(x, mask)
        assert error(unknown(x, tf.ones((3, 4), tf.bool)), layer(x)) < 1e-6


@pytest.mark.extra
@both_kinds
@pytest.mark.parametrize(("rows", "shape"), [(3, (3, 7)), (3, (3, 3)), (3, (3, 1)), (3, (2, 4)), (1, (3, 4))])
def test_xla_refuses_a_mask_of_another_size(kind, rows, shape):
    layer = KINDS[kind].layer(2)
    layer.build((None, None, 2))
    specs = [tf.TensorSpec([None, None, 2]), tf.TensorSpec([None, None], tf.bool)]
    call = tf.function(lambda x, mask: layer(x, mask=mask), input_signature=specs, jit_compile=True)
    with pytest.raises((tf.errors.OpError, ValueError)):
        call(tf.constant(numbers(rows, 4, 2)), tf.ones(shape, tf.bool))


@both_kinds
def test_other_initial_states_are_refused(kind):
    layer, count = KINDS[kind].layer(2, name="reader"), KINDS[kind].states
    x, state = numbers(3, 4, 2), numbers(3, 2)
    for wrong in ([], [state] * (count + 1), [state] * (count - 1), [numbers(3, 5)] * count):
        with pytest.raises(ValueError, match=rf"reader received initial states .* expected {count} of \(None, 2\)"):
            layer(x, initial_state=wrong)


@both_kinds
@pytest.mark.parametrize("wrap", [lambda layer: layer, keras.layers.Bidirectional])
def test_a_weights_file_of_keras_loads_into_a_sequential_model(kind, wrap, tmp_path):
    ours, theirs = (
        keras.Sequential([keras.Input([4, 2]), wrap(made(3, return_sequences=True)), wrap(made(2))])
        for made in (KINDS[kind].layer, KINDS[kind].native)
    )
    theirs.save_weights(tmp_path / "keras.weights.h5")
    ours.load_weights(tmp_path / "keras.weights.h5")
    assert error(ours(numbers(*SHAPE)), theirs(numbers(*SHAPE))) < 1e-6
    ours.save_weights(tmp_path / "ours.weights.h5")
    ours.set_weights([weight * 0 for weight in ours.get_weights()])
    ours.load_weights(tmp_path / "ours.weights.h5")
    assert error(ours(numbers(*SHAPE)), theirs(numbers(*SHAPE))) < 1e-6


@both_kinds
def test_a_row_alone_is_that_row_of_a_batch(kind):
    """A batch of one row computes its input product for all steps at once, other batches step by step."""
    case = make_case(kind, {"return_sequences": True}, mask=HOLES, state=True, shape=SHAPE)
    layer = case.ours()
    whole = layer(case.x, mask=HOLES, initial_state=case.state)
    for row in range(5):
        rows = slice(row, row + 1)
        state = [value[rows] for value in case.state]
        assert error(layer(case.x[rows], mask=HOLES[rows], initial_state=state), whole[rows]) < 1e-12


@both_kinds
def test_training_or_not_is_the_same_gradient_without_dropout(kind):
    options = {"return_sequences": True, "return_state": True}
    case = make_case(kind, options, mask=HOLES, state=True, shape=SHAPE)
    found = case.run(case.ours())
    case.training = False
    wanted = case.run(case.ours())
    assert errors(found[0], wanted[0]) < 1e-12
    assert errors(found[1], wanted[1]) < 1e-12


@both_kinds
@pytest.mark.parametrize("training", FLAGS)
def test_hand_derived_gradients_are_used_in_training_only(kind, training, monkeypatch):
    calls = []
    monkeypatch.setattr("layers.recurrent.bptt", lambda *given, **options: calls.append(0) or bptt(*given, **options))
    KINDS[kind].layer(3)(numbers(*SHAPE), training=training)
    KINDS[kind].layer(3, activation="relu")(numbers(*SHAPE), training=True)
    if kind == "lstm":
        KINDS[kind].layer(3, return_gates=True)(numbers(*SHAPE), training=True)
    assert len(calls) == training

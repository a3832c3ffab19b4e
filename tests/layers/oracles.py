"""References that the recurrent layers are compared with.

* `lstm`, `vanilla_rnn`, `unfold`: the lecture's equations a second time, in NumPy, one row and one step at a time, so
  that there is no mask arithmetic that could be wrong in the same way.
* `finite_differences` of them.
* Keras's own layer with our weights, and `keras.layers.RNN` around our cell, differentiated automatically.
"""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

from layers.lstm import LSTM, LSTMCell
from layers.rnn import VanillaRNN, VanillaRNNCell


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


FUNCTIONS = {"tanh": np.tanh, "sigmoid": sigmoid, None: lambda a: a}


def lstm(weights, x, state, options):
    """One step of one row: x float[features], [h, c] of float[units] -> (y, [h, c], gates)."""
    f_g, f_gate = (
        FUNCTIONS[options.get("activation", "tanh")],
        FUNCTIONS[options.get("recurrent_activation", "sigmoid")],
    )
    (x, h_in), (_, c) = x, state
    W_ih, W_hh, *bias = weights
    a = x @ W_ih + h_in @ W_hh + sum(bias)
    units = len(c)
    i, f = f_gate(a[:units]), f_gate(a[units : 2 * units])
    g, o = f_g(a[2 * units : 3 * units]), f_gate(a[3 * units :])
    c = f * c + i * g
    h = o * f_g(c)
    return h, [h, c], {"i": i, "f": f, "g": g, "o": o}


def vanilla_rnn(weights, x, state, options):
    """One step of one row: x float[features], [h] of float[units] -> (y, [h], no gates)."""
    x, h_in = x
    use_bias, mapped = options.get("use_bias", True), options.get("output_units") is not None
    W_ih, W_hh, *rest = weights
    h = FUNCTIONS[options.get("activation", "tanh")](x @ W_ih + h_in @ W_hh + (rest[0] if use_bias else 0))
    if not mapped:
        return h, [h], {}
    W_ho, *b_o = rest[1:] if use_bias else rest
    return FUNCTIONS[options.get("output_activation")](h @ W_ho + sum(b_o)), [h], {}


def unfold(step, weights, x, mask, state, options, dropped):
    """All rows and steps.

    Args:
        x: float[batch, time, features]; mask: bool[batch, time] or None; state: list of float[batch, units].
        options: those of the layer.
        dropped: what dropout multiplies x and h(t-1) with, float[batch, features] and float[batch, units].

    Returns:
        What the layer gives, flat: y, the states if asked for, the gates in alphabetical order if asked for.
    """
    batch, time, _ = x.shape
    ys, states, gates = [], [], []
    for row in range(batch):
        now, y, row_ys, row_gates = [value[row] for value in state], None, [], []
        for t in reversed(range(time)) if options.get("go_backwards") else range(time):
            if mask is None or mask[row, t]:
                y, now, found = step(weights, (x[row, t] * dropped[0][row], now[0] * dropped[1][row]), now, options)
                row_ys.append(y)
            else:
                found = dict.fromkeys("ifgo", np.zeros_like(now[0]))
                zero = options.get("zero_output_for_mask") or y is None
                row_ys.append(None if zero else y)
            row_gates.append({**found, "c": now[-1]})
        size = options.get("output_units") or len(now[0])
        ys.append([np.zeros(size) if y is None else y for y in row_ys])
        states.append(now)
        gates.append(row_gates)
    ys = np.array(ys)
    result = [ys if options.get("return_sequences") else ys[:, -1]]
    if options.get("return_state"):
        result += [np.array(rows) for rows in zip(*states, strict=True)]
    if options.get("return_gates"):
        result += [np.array([[step[name] for step in row] for row in gates]) for name in "cfgio"]
    return result


def finite_differences(function, arrays, width=1e-5):
    """The gradient of a scalar `function` with respect to each of `arrays`, by central differences."""
    gradients = []
    for array in arrays:
        gradient = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            kept = array[index]
            array[index] = kept + width
            above = function()
            array[index] = kept - width
            below = function()
            array[index] = kept
            gradient[index] = (above - below) / (2 * width)
        gradients.append(gradient)
    return gradients


def error(found, wanted, floor=1e-4):
    """The largest difference as a share of the largest entry wanted, which counts as no smaller than `floor`."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    assert found.shape == wanted.shape, (found.shape, wanted.shape)
    assert np.isfinite(found).all() and np.isfinite(wanted).all()
    return np.max(np.abs(found - wanted), initial=0) / max(np.max(np.abs(wanted), initial=0), floor)


def errors(found, wanted):
    """The largest `error` of two lists of arrays."""
    return max(error(a, b) for a, b in zip(found, wanted, strict=True))


# Cases ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    layer: type
    cell: type
    native: type
    step: object
    states: int
    columns: int  # of the kernels, in units


KINDS = {
    "lstm": Kind(LSTM, LSTMCell, keras.layers.LSTM, lstm, states=2, columns=4),
    "rnn": Kind(VanillaRNN, VanillaRNNCell, keras.layers.SimpleRNN, vanilla_rnn, states=1, columns=1),
}
CELL_OPTIONS = {
    "activation", "recurrent_activation", "use_bias", "dropout", "recurrent_dropout", "seed", "output_units",
    "output_activation",
}  # fmt: skip
OURS_ALONE = {"return_gates", "output_units", "output_activation"}


@dataclass
class Case:
    """A call of a layer: its options and all it is given. With `state` None the layer starts from zeros."""

    kind: Kind
    units: int
    options: dict
    x: np.ndarray
    mask: np.ndarray | None
    state: list | None
    weights: list
    shares: list  # of every entry of the result in the loss: the shape of every output
    dtype: str = "float64"
    training: bool = True  # False: no dropout, and the gradient by automatic differentiation

    @property
    def shares_without_gates(self):
        return self.shares[:-5] if self.options.get("return_gates") else self.shares

    def make(self, layer):
        layer.build(self.x.shape)
        layer.set_weights(self.weights)
        return layer

    def ours(self, **options):
        return self.make(self.kind.layer(self.units, dtype=self.dtype, **self.options, **options))

    def native(self):
        """Keras's own layer with our weights, or None where Keras has no such thing or a fault of its own."""
        on = self.options.get
        # Keras's LSTM ignores recurrent_dropout. Its unrolled loop does not reverse the mask together with the steps.
        errs = on("recurrent_dropout") and self.kind is KINDS["lstm"]
        errs = errs or (on("unroll") and on("go_backwards") and on("zero_output_for_mask") and self.mask is not None)
        if errs or on("output_units"):
            return None
        options = {name: value for name, value in self.options.items() if name not in OURS_ALONE}
        return self.make(self.kind.native(self.units, dtype=self.dtype, **options))

    def around_cell(self):
        """Our cell in `keras.layers.RNN`: differentiated automatically."""
        options = {name: value for name, value in self.options.items() if name not in CELL_OPTIONS | OURS_ALONE}
        options["unroll"] = False  # as above
        cell = {name: value for name, value in self.options.items() if name in CELL_OPTIONS}
        cell = self.kind.cell(self.units, dtype=self.dtype, **cell)
        return self.make(keras.layers.RNN(cell, dtype=self.dtype, **options))

    def dropped(self):
        """The very dropout masks that a layer made with these options draws first."""
        rows, features = len(self.x), self.x.shape[-1]
        masks = [np.ones([rows, features]), np.ones([rows, self.units])]
        if "seed" not in self.options:
            return masks
        names = "dropout", "recurrent_dropout", "seed"
        cell = self.kind.cell(self.units, dtype=self.dtype, **{name: self.options[name] for name in names})
        drawn = [cell.get_dropout_mask(masks[0]), cell.get_recurrent_dropout_mask(masks[1])]
        return [mask if made is None else np.asarray(made) for mask, made in zip(masks, drawn, strict=True)]

    def expected(self):
        """The layer's result by the equations, flat."""
        state = self.state or [np.zeros([len(self.x), self.units])] * self.kind.states
        return unfold(self.kind.step, self.weights, self.x, self.mask, state, self.options, self.dropped())

    def expected_gradients(self):
        """By finite differences, in the order of `gradients`."""
        dropped = self.dropped()
        zeros = [np.zeros([len(self.x), self.units])] * self.kind.states

        def loss():
            result = unfold(self.kind.step, self.weights, self.x, self.mask, self.state or zeros, self.options, dropped)
            return sum(np.sum(share * value) for share, value in zip(self.shares, result, strict=True))

        return finite_differences(loss, [self.x, *self.weights, *(self.state or [])])

    def run(self, layer, gates=True):
        """(result, gradients with respect to x, the weights and the initial state) of a call, flat lists of tensors.

        The loss is the sum of all entries of the result, each times its share; with `gates` False without the gates.
        """
        x = tf.constant(self.x, self.dtype)
        state = None if self.state is None else [tf.constant(value, self.dtype) for value in self.state]
        return gradients(layer, x, self.mask, state, self.training, self.shares if gates else self.shares_without_gates)


def gradients(layer, x, mask, state, training, shares):
    with tf.GradientTape() as tape:
        tape.watch([x, *(state or [])])
        result = keras.tree.flatten(layer(x, mask=mask, initial_state=state, training=training))
        shared = zip(result[: len(shares)], shares, strict=True)
        loss = sum(tf.reduce_sum(value * tf.cast(share, value.dtype)) for value, share in shared)
    wanted = [x, *[weight.value for weight in layer.trainable_weights], *(state or [])]
    return result, tape.gradient(loss, wanted, unconnected_gradients="zero")


def make_case(kind, options, *, mask=None, state=False, seed=0, shape=(3, 4, 2), units=4, **fields):
    """A Case with random numbers for everything that is not given."""
    kind = KINDS[kind]
    batch, time, features = shape
    random = np.random.default_rng(seed)
    outputs = options.get("output_units")
    weights = [random.normal(size=[features, kind.columns * units]), random.normal(size=[units, kind.columns * units])]
    if options.get("use_bias", True):
        weights.append(random.normal(size=[kind.columns * units]))
    if outputs:
        weights.append(random.normal(size=[units, outputs]))
        if options.get("use_bias", True):
            weights.append(random.normal(size=[outputs]))
    shapes = [(batch, time, outputs or units) if options.get("return_sequences") else (batch, outputs or units)]
    shapes += [(batch, units)] * kind.states if options.get("return_state") else []
    shapes += [(batch, time, units)] * 5 if options.get("return_gates") else []
    return Case(
        kind=kind,
        units=units,
        options=options,
        x=random.normal(size=shape),
        mask=mask,
        state=[random.normal(size=[batch, units]) for _ in range(kind.states)] if state else None,
        weights=[weight * 0.7 for weight in weights],
        shares=[random.normal(size=shape) for shape in shapes],
        **fields,
    )


def masks(batch, time):
    """Of every kind: none, padded right or left (also whole rows), holes anywhere."""
    steps = np.arange(time)
    lengths = st.lists(st.integers(0, time), min_size=batch, max_size=batch).map(
        lambda lengths: np.array(lengths)[:, None]
    )
    rows = st.lists(st.lists(st.booleans(), min_size=time, max_size=time), min_size=batch, max_size=batch)
    return st.one_of(
        st.none(),
        lengths.map(lambda lengths: steps < lengths),
        lengths.map(lambda lengths: steps >= time - lengths),
        rows.map(lambda rows: np.array(rows, bool)),
    )


@st.composite
def cases(draw, kind):
    flag = st.booleans()
    mostly = st.sampled_from([True, True, True, False])
    names = "return_sequences", "return_state", "go_backwards", "unroll", "zero_output_for_mask"
    options = {name: draw(flag) for name in names} | {"use_bias": draw(mostly)}
    options["activation"] = "tanh" if draw(mostly) else "sigmoid"
    if kind == "lstm":
        options["recurrent_activation"] = "sigmoid" if draw(mostly) else "tanh"
        options["return_gates"] = draw(flag)
    elif draw(flag):
        options["output_units"] = draw(st.integers(1, 3))
        options["output_activation"] = draw(st.sampled_from([None, "sigmoid"]))
    if draw(flag):
        options |= {name: draw(st.sampled_from([0.0, 0.4])) for name in ("dropout", "recurrent_dropout")}
        options["seed"] = draw(st.integers(0, 99))
    batch, time = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    return make_case(
        kind,
        options,
        training="seed" in options or draw(mostly),
        mask=draw(masks(batch, time)),
        state=draw(flag),
        seed=draw(st.integers(0, 999)),
        shape=(batch, time, draw(st.integers(1, 2))),
        units=draw(st.integers(1, 3)),
    )


def compare(case):
    """The errors of one case: of outputs, of gradients against finite differences, and against automatic ones."""
    result, found = case.run(case.ours())
    against_equations = errors(result, case.expected())
    against_differences = errors(found, case.expected_gradients())
    if case.options.get("return_gates"):  # the other oracles have none
        result = result[: len(case.shares_without_gates)]
        _, found = case.run(case.ours(), gates=False)
    against_autodiff = 0.0
    for oracle in (case.native(), case.around_cell()):
        if oracle is None:
            continue
        theirs, their_gradients = case.run(oracle, gates=False)
        against_equations = max(against_equations, errors(result, theirs))
        against_autodiff = max(against_autodiff, errors(found, their_gradients))
    return against_equations, against_differences, against_autodiff

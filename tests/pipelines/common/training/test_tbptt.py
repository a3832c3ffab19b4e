import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from pipelines.common.errors import UserError
from pipelines.common.runs import Run
from pipelines.common.training import tbptt
from pipelines.common.training.options import TrainingOptions
from pipelines.common.training.updates import Updates
from tests import killing
from tests.pipelines.common.training import small_training

RATE = 0.125  # a power of two: the same number in float32 and float64


# The recurrence h(t) = tanh(W x(t) + U h(t-1) + b), y(t) = V h(t), written twice: in NumPy by hand, and in TensorFlow


def draw_weights(seed=0, inputs=2, units=4, outputs=3):
    draw = np.random.default_rng(seed)
    shapes = [(inputs, units), (units, units), (units,), (units, outputs)]
    return [0.7 * draw.normal(size=shape) for shape in shapes]


def numpy_window(weights, x, start_state, targets, newest):
    """Gradient of sum over the `newest` last steps of (y - target)^2 / 2, by back-propagation through all of x."""
    W, U, b, V = weights
    states = [start_state]
    for step in x:
        states.append(np.tanh(step @ W + states[-1] @ U + b))
    dW, dU, db, dV = (np.zeros_like(weight) for weight in weights)
    dh = np.zeros_like(start_state)
    for t in reversed(range(len(x))):
        if t >= len(x) - newest:
            error = states[t + 1] @ V - targets[t - (len(x) - newest)]
            dV += np.outer(states[t + 1], error)
            dh = dh + V @ error
        da = dh * (1 - states[t + 1] ** 2)
        dW += np.outer(x[t], da)
        dU += np.outer(states[t], da)
        db += da
        dh = U @ da
    return [dW, dU, db, dV], states


def numpy_tbptt(weights, sequences, k1, k2):
    """One row that reads the sequences one after the other; plain gradient descent. Gives the weights."""
    weights = [weight.copy() for weight in weights]
    for x, targets in sequences:
        kept = {0: np.zeros(len(weights[1]))}  # the freshest state at every step that a window has run over
        for end in range(k1, len(x) + k1, k1):
            start, last = max(0, end - k2), min(end, len(x))
            newest = last - (end - k1)
            gradient, states = numpy_window(weights, x[start:last], kept[start], targets[last - newest : last], newest)
            kept.update({start + i: state for i, state in enumerate(states)})
            weights = [w - RATE * g / newest for w, g in zip(weights, gradient, strict=True)]
    return weights


class Recurrence(keras.Model):
    """The same in TensorFlow, float64, on weights that the test gives."""

    def __init__(self, weights):
        super().__init__(dtype="float64")
        self.parts = [self.add_weight(shape=weight.shape, dtype="float64") for weight in weights]
        self.built = True
        self.set_weights(weights)

    def run(self, inputs, state, training):
        W, U, b, V = (part.value for part in self.parts)
        outputs = []
        for t in range(inputs.shape[1]):
            state = tf.tanh(inputs[:, t] @ W + state @ U + b)
            outputs.append(state @ V)
        return tf.stack(outputs, axis=1), state


def squared_errors(outputs, targets, weights):
    errors = tf.reduce_sum(tf.square(outputs - targets), axis=-1) / 2
    return {"loss": (tf.reduce_sum(errors * tf.cast(weights, errors.dtype)), tf.reduce_sum(weights))}


def tensorflow_tbptt(weights, sequences, k1, k2, batch_size=1, xla=False):
    model = Recurrence(weights)
    options = TrainingOptions(optimizer="sgd", momentum=0.0, learning_rate=RATE, clip_norm=0.0, xla=xla)
    units = len(weights[1])
    loss = tbptt.TruncatedBPTT(
        model.run,
        lambda rows: tf.zeros([rows, units], tf.float64),
        squared_errors,
        k1=k1,
        k2=k2,
        batch_size=batch_size,
    )
    updates = Updates(model, loss, options)
    data = tbptt.dataset(lambda: sequences, k1=k1, k2=k2, batch_size=batch_size)
    updates.prepare(data.element_spec)
    targets = 0.0
    for i, batch in enumerate(data):
        updates.train_on_batch(batch, i + 1)
        targets += float(tf.reduce_sum(batch["weights"]))
    return model.get_weights(), targets


def draw_sequences(*lengths, seed=1):
    draw = np.random.default_rng(seed)
    return [(draw.normal(size=(length, 2)), draw.normal(size=(length, 3))) for length in lengths]


@pytest.mark.parametrize(
    ("k1", "k2", "xla"),
    [(4, 4, False), (3, 6, False), (3, 7, True), (2, 9, False), (1, 5, False), (20, 20, False)],
)
def test_equals_numpy(k1, k2, xla):
    """k1 = k2; k2 a multiple of k1 and not; the whole sequence in one window; lengths that k1 does not divide; three
    sequences one after the other, the second shorter than any window."""
    weights, sequences = draw_weights(), draw_sequences(20, 1, 11)
    expected = numpy_tbptt(weights, sequences, k1, k2)
    found, targets = tensorflow_tbptt(weights, sequences, k1, k2, xla=xla)
    assert targets == 32  # each counts once
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    assert max(np.abs(a - b).max() for a, b in zip(found, weights, strict=True)) > 0.01


def test_full_length_is_back_propagation_through_time():
    """With k1 = k2 = length, the gradient is that of finite differences of the whole sequence's loss."""
    weights, [(x, targets)] = draw_weights(), draw_sequences(9)
    found, *_ = tensorflow_tbptt(weights, [(x, targets)], 9, 9)

    def loss(weights):
        W, U, b, V = weights
        state, total = np.zeros(4), 0.0
        for step, target in zip(x, targets, strict=True):
            state = np.tanh(step @ W + state @ U + b)
            total += np.sum((state @ V - target) ** 2) / 2
        return total / 9

    for part, (before, after) in enumerate(zip(weights, found, strict=True)):
        for place in np.ndindex(before.shape):
            moved = []
            for sign in (1, -1):
                changed = [weight.copy() for weight in weights]
                changed[part][place] += sign * 1e-6
                moved.append(loss(changed))
            difference = (moved[0] - moved[1]) / 2e-6
            np.testing.assert_allclose((before - after)[place] / RATE, difference, rtol=1e-6, atol=1e-9)


def test_every_step_is_read_once_and_windows_begin_with_zeros():
    sequences = draw_sequences(13, 5, 8, 21)
    read, owner, waiting = [[] for _ in sequences], {}, iter(range(len(sequences)))
    for batch in tbptt.windows(sequences, k1=3, k2=7, batch_size=2):
        for row, age in enumerate(batch["age"]):
            count = int(batch["weights"][row].sum())
            if not count:
                continue
            if age == 0:
                owner[row] = next(waiting)
            read[owner[row]].append(batch["inputs"][row, 4 : 4 + count])
            assert (batch["inputs"][row, : max(0, 7 - 3 * (age + 1))] == 0).all()
    for (x, _), pieces in zip(sequences, read, strict=True):
        np.testing.assert_array_equal(np.concatenate(pieces), x)


def test_rows_of_unequal_length_against_numpy():
    """Two rows, the second done long before the first; an update weighs every target the same."""
    weights, sequences = draw_weights(), draw_sequences(13, 5)
    found, *_ = tensorflow_tbptt(weights, sequences, 3, 7, batch_size=2)
    expected, kept = weights, [{0: np.zeros(4)}, {0: np.zeros(4)}]
    for end in range(3, 16, 3):
        total, count = [np.zeros_like(w) for w in weights], 0
        for row, (x, targets) in enumerate(sequences):
            start, last = max(0, end - 7), min(end, len(x))
            newest = last - (end - 3)
            if newest <= 0:
                continue
            args = (expected, x[start:last], kept[row][start], targets[last - newest : last], newest)
            gradient, states = numpy_window(*args)
            kept[row].update({start + i: state for i, state in enumerate(states)})
            total, count = [a + b for a, b in zip(total, gradient, strict=True)], count + newest
        expected = [w - RATE * g / count for w, g in zip(expected, total, strict=True)]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_chunks_of_any_length_are_one_sequence():
    (x, y), other = draw_sequences(23, 4)
    weights = np.linspace(0, 1, 23, dtype=np.float32)

    def chunks():
        for start, end in ((0, 0), (0, 1), (1, 9), (9, 10), (10, 23)):
            yield x[start:end], y[start:end], weights[start:end]

    whole = list(tbptt.windows([(x, y, weights), other], k1=4, k2=6, batch_size=1))
    pieces = list(tbptt.windows([chunks(), other], k1=4, k2=6, batch_size=1))
    assert len(whole) == len(pieces) == 7
    for one, two in zip(whole, pieces, strict=True):
        for name, value in one.items():
            np.testing.assert_array_equal(value, two[name])


def test_sequences_are_read_when_their_turn_comes():
    begun = []

    def sequence(name):
        for _ in range(1000):
            begun.append(name)
            yield np.zeros((2, 1)), np.zeros((2, 1))

    windows = tbptt.windows((sequence(name) for name in "abc"), k1=2, k2=4, batch_size=2)
    for _ in range(3):
        next(windows)
    assert begun.count("a") == begun.count("b") == 3 and "c" not in begun


def test_wrong_lengths():
    with pytest.raises(UserError, match="--k2 is 2, but must be at least --k1, 3"):
        list(tbptt.windows([], k1=3, k2=2, batch_size=1))
    with pytest.raises(UserError, match="--k1 is 0"):
        list(tbptt.windows([], k1=0, k2=2, batch_size=1))
    with pytest.raises(UserError, match="no sequence"):
        tbptt.dataset(lambda: [], k1=1, k2=1, batch_size=1)
    with pytest.raises(ValueError, match="3 inputs and 2 targets"):
        list(tbptt.windows([(np.zeros((3, 1)), np.zeros((2, 1)))], k1=1, k2=1, batch_size=1))


def optimized_graphs(function, *arguments):
    """Returns what TensorFlow's optimizer makes of a tf.function's graph and those it calls."""
    context.context().enable_graph_collection()
    try:
        function(*arguments)
        return [each.post_optimization_graph for each in context.context().export_run_metadata().function_graphs]
    finally:
        context.context().disable_graph_collection()


def ancestors(graph, name: str) -> set[str]:
    """The names of all nodes that run before a node."""
    inputs = {node.name: [each.lstrip("^").split(":")[0] for each in node.input] for node in graph.node}
    found, waiting = set(), [name]
    while waiting:
        new = [each for each in inputs.get(waiting.pop(), ()) if each not in found]
        found.update(new)
        waiting += new
    return found


def test_the_old_state_is_read_before_the_new_one_is_kept():
    """Also where the new one does not depend on it: the graph optimizer then sees no reason to wait."""

    def network(x, state, training):
        some = tf.fill([tf.shape(x)[0]], tf.shape(x)[1]) > 0  # always true, which only the optimizer finds out
        last = tf.where(some[:, None], x[:, -1], state)
        return x - tf.concat([state[:, None], x[:, :-1]], axis=1), last

    loss = tbptt.TruncatedBPTT(network, lambda batch: tf.zeros([batch, 3]), squared_errors, k1=4, k2=4, batch_size=2)
    batch = {
        "inputs": tf.ones([2, 4, 3]), "targets": tf.ones([2, 4, 3]), "weights": tf.ones([2, 4]),
        "age": tf.ones([2], tf.int32),
    }  # fmt: skip
    pairs = 0
    for graph in optimized_graphs(tf.function(lambda batch: loss(batch, True)["loss"]), batch):
        kept = [node.name for node in graph.node if node.op == "AssignVariableOp"]
        read = [node.name for node in graph.node if node.op == "ReadVariableOp"]
        pairs += len(kept) * len(read)
        assert all(set(read) <= ancestors(graph, name) for name in kept)
    assert pairs


class Killed(Exception):
    pass


def test_resumed_in_the_middle_of_a_sequence(tmp_path):
    options = TrainingOptions(epochs=2, tensorboard=False, checkpoint_steps=4, learning_rate=0.05)

    class Kill(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 9:
                raise Killed

    def train(folder, callbacks=()):
        with Run.start(folder, "small", options) as run:
            return small_training.train_recurrent(run, options, callbacks=callbacks)

    train(tmp_path / "whole")
    with pytest.raises(Killed):
        train(tmp_path / "killed", [Kill()])
    train(tmp_path / "killed")
    killing.assert_same_run(tmp_path / "whole", tmp_path / "killed")


def check_memory(steps: int):
    """Peak of one process after 1,000 steps of a sequence that is made chunk by chunk, and after `steps`. The states of
    a sequence that is kept whole would add 8 kB a step (64 units, float64, 16 values a unit and step)."""
    program = """
import sys, resource
import numpy as np, keras, tensorflow as tf
from pipelines.common.training import tbptt
from pipelines.common.training.options import TrainingOptions
from pipelines.common.training.updates import Updates
from tests.pipelines.common.training.test_tbptt import Recurrence, draw_weights, squared_errors
def chunks(left):
    while left > 0:
        yield np.ones((min(left, 500), 2)), np.ones((min(left, 500), 3))
        left -= 500
model = Recurrence(draw_weights(units=64))
options = TrainingOptions()
loss = tbptt.TruncatedBPTT(
    model.run, lambda rows: tf.zeros([rows, 64], tf.float64), squared_errors, k1=20, k2=30, batch_size=1
)
updates = Updates(model, loss, options)
data = tbptt.dataset(lambda: [chunks(int(sys.argv[1]))], k1=20, k2=30, batch_size=1)
updates.prepare(data.element_spec)
for i, batch in enumerate(data):
    updates.train_on_batch(batch, i + 1)
    if i + 1 == 1000 // 20:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, i + 1)
"""
    command = [sys.executable, "-c", program, str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=killing.ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    short, long, updates = map(int, done.stdout.split())
    assert updates == steps // 20
    assert long - short < min(0.03 * short, 16 * 64 * 8 * steps / 4), f"{short} bytes, then {long}"


@pytest.mark.extra
def test_memory_does_not_grow_with_the_sequence():
    check_memory(10000)


@pytest.mark.slow
def test_memory_of_a_hundred_thousand_steps():
    check_memory(100000)

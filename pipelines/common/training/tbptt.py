"""Truncated back-propagation through time, TBPTT(k1, k2) with k2 >= k1.

Williams & Peng 1990, "An efficient gradient-based algorithm for on-line training of recurrent network trajectories";
the names k1 and k2 are from Sutskever 2013, "Training recurrent neural networks", section 2.8.6.

A sequence, however long, is read in windows. Every k1 steps, at step t:

    1. the network runs over steps t - k2 ... t with the current weights, from the state it had at step t - k2;
    2. the errors of the k1 newest steps, t - k1 ... t, are propagated back over the k2 steps;
    3. the weights are updated, and the state at step t + k1 - k2, where the next window starts, is kept from this run,
       the freshest there is.

Each target counts once. The state is carried on for ever, so the network remembers what no window reaches; only the
gradient is truncated. Neither the computation of an update nor its memory grows with the length of the sequence.

`windows` cuts sequences lazily; `TruncatedBPTT` is the `step` that `train` (loop.py) takes. All windows have one shape.
Before a sequence's first step a window holds zeros, and the state is set to the initial state where the sequence
begins; past its last step it holds zeros of weight 0. So the grid of windows does not move: the last window of a
sequence may have fewer than k1 targets, and reaches back as far as any other window does at its place.
"""

import itertools

import numpy as np
import tensorflow as tf

from pipelines.common.data.loading import without_autotune
from pipelines.common.errors import UserError


class TruncatedBPTT:
    """A training step that carries the recurrent state of `batch_size` rows from window to window.

    model_step(inputs[batch, steps, ...], state, training) gives (outputs[batch, steps, ...], state); a state is any
        structure of tensors [batch, ...].
    initial_state(batch_size) gives the state at the start of a sequence (zeros, or learned weights).
    loss(outputs[batch, k1, ...], targets[batch, k1, ...], weights float[batch, k1]) gives name -> (total, weight), as
        the loss of the training loop does.

    It is called with a batch of `windows` and gives what `loss` gives; `variables` hold the state between the calls.
    """

    def __init__(self, model_step, initial_state, loss, *, k1: int, k2: int, batch_size: int):
        check(k1, k2)
        self.model_step, self.initial_state, self.loss = model_step, initial_state, loss
        self.k1, self.k2, self.batch_size = k1, k2, batch_size
        self.state = tf.nest.map_structure(
            lambda value: tf.Variable(tf.zeros_like(value), trainable=False), initial_state(batch_size)
        )
        self.variables = tf.nest.flatten(self.state)

    def __call__(self, batch, training: bool):
        k1, k2 = self.k1, self.k2
        begins = range(k2 - k1, -1, -k1)  # where in a window a sequence can begin: its age is 0, 1, …
        cuts = sorted({0, k1, k2, *begins})
        initial = self.initial_state(self.batch_size)
        state = tf.nest.map_structure(lambda kept, first: tf.cast(kept, first.dtype), self.state, initial)
        newest = []
        for start, end in itertools.pairwise(cuts):
            if start in begins:
                state = choose(batch["age"] == begins.index(start), initial, state)
            inputs = tf.nest.map_structure(lambda value: value[:, start:end], batch["inputs"])  # noqa: B023
            outputs, state = self.model_step(inputs, state, training)
            if end == k1:
                carried = state
            if start >= k2 - k1:
                newest.append(outputs)
        outputs = tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=1), *newest)
        # After the outputs, which were computed from the old state: where the new one does not depend on the old by its
        # values (the last frame seen), TensorFlow's graph optimizer loses the order of reading and assigning.
        with tf.control_dependencies(tf.nest.flatten(outputs)):
            for kept, value in zip(self.variables, tf.nest.flatten(carried), strict=True):
                kept.assign(tf.cast(value, kept.dtype))
        return self.loss(outputs, batch["targets"], batch["weights"])


def choose(rows, chosen, other):
    """`chosen` where rows bool[batch] is true, `other` elsewhere, for structures of tensors [batch, ...]."""

    def pick(a, b):
        return tf.where(tf.reshape(rows, [-1] + [1] * (a.shape.rank - 1)), a, tf.cast(b, a.dtype))

    return tf.nest.map_structure(pick, chosen, other)


def check(k1: int, k2: int):
    """UserError unless 1 <= k1 <= k2."""
    if k1 < 1:
        raise UserError(f"--k1 is {k1}, but must be at least 1")
    if k2 < k1:
        raise UserError(f"--k2 is {k2}, but must be at least --k1, {k1}: a window has to hold every new step")


# Cutting sequences into windows ---------------------------------------------------------------------------------------


def streams(steps, rows: int):
    """One long sequence, array[time, ...], as `rows` equal parallel ones: views, without the odd steps at the end."""
    length = len(steps) // rows
    return [steps[row * length : (row + 1) * length] for row in range(rows)]


def windows(sequences, *, k1: int, k2: int, batch_size: int):
    """Generates batches of windows; memory holds `batch_size` windows and chunks, whatever the length of the sequences.

    sequences: an iterable of sequences, read when their turn comes. Each is a tuple (inputs [time, ...], targets
        [time, ...]), or an iterable of such tuples, the chunks of a sequence too long to hold (a video as it is
        decoded). A third array float[time] weighs the targets.

    A row that has come to the end of its sequence goes on with the next one that no row has begun; a row without one
    has weight 0. A batch is a dict: inputs [batch, k2, ...], targets [batch, k1, ...], weights float32[batch, k1], and
    age int32[batch], how many windows of its sequence the row has seen before.
    """
    check(k1, k2)
    waiting = iter(sequences)
    rows = [Row(k1, k2) for _ in range(batch_size)]
    while True:
        found = [row.advance(waiting) for row in rows]
        if not any(found):
            return
        shape = next(row for row in rows if row.window is not None)
        for row in rows:
            row.fill_like(shape)
        yield {
            "inputs": np.stack([row.window for row in rows]),
            "targets": np.stack([row.targets for row in rows]),
            "weights": np.stack([row.weights for row in rows]),
            "age": np.array([row.age for row in rows], np.int32),
        }


class Row:
    """One row of the batch: the sequence it reads, and its current window."""

    def __init__(self, k1: int, k2: int):
        self.k1, self.k2 = k1, k2
        self.chunks = iter(())
        self.left = None  # arrays read from the chunks and not yet used
        self.window = self.targets = None
        self.weights = np.zeros(k1, np.float32)
        self.age = 0

    def advance(self, waiting) -> bool:
        """Moves on by k1 steps, to the next sequence if this one is over; False when there is none."""
        self.age += 1
        steps = self._take()
        while steps is None:
            sequence = next(waiting, None)
            if sequence is None:
                self.weights = np.zeros(self.k1, np.float32)
                return False
            self.chunks = iter([sequence] if isinstance(sequence, tuple) else sequence)
            self.left, self.age = None, 0
            steps = self._take()
        inputs, self.targets, self.weights = (pad(array, self.k1) for array in steps)
        older = np.zeros((self.k2, *inputs.shape[1:]), inputs.dtype) if self.age == 0 else self.window
        self.window = np.concatenate([older, inputs])[-self.k2 :]
        return True

    def _take(self):
        """The next k1 steps, fewer at the end, None past it."""
        while self.left is None or len(self.left[0]) < self.k1:
            chunk = next(self.chunks, None)
            if chunk is None:
                break
            chunk = with_weights(*chunk)
            joined = zip(self.left or chunk, chunk, strict=True)
            self.left = chunk if self.left is None else tuple(np.concatenate(pair) for pair in joined)
        if self.left is None or not len(self.left[0]):
            return None
        steps = tuple(array[: self.k1] for array in self.left)
        self.left = tuple(array[self.k1 :] for array in self.left)
        return steps

    def fill_like(self, other: "Row"):
        """A row that never had a sequence takes zeros of the other rows' shape."""
        if self.window is None:
            self.window, self.targets = np.zeros_like(other.window), np.zeros_like(other.targets)


def with_weights(inputs, targets, weights=None):
    if len(inputs) != len(targets):
        raise ValueError(f"a sequence has {len(inputs)} inputs and {len(targets)} targets, expected as many")
    weights = np.float32(1) if weights is None else np.asarray(weights, np.float32)
    return np.asarray(inputs), np.asarray(targets), np.broadcast_to(weights, len(inputs))


def pad(array, length: int):
    """Zeros after the last step up to `length` steps."""
    return np.concatenate([array, np.zeros((length - len(array), *array.shape[1:]), array.dtype)])


def dataset(sequences, *, k1: int, k2: int, batch_size: int) -> tf.data.Dataset:
    """`windows` as a tf.data.Dataset for `train`. sequences() gives the iterable anew each time it is called; a resumed
    run reads up to its place again."""
    first = next(windows(sequences(), k1=k1, k2=k2, batch_size=batch_size), None)
    if first is None:
        raise UserError("there is no sequence with a step to train on")
    signature = {name: tf.TensorSpec(value.shape, value.dtype) for name, value in first.items()}
    return without_autotune(
        tf.data.Dataset.from_generator(
            lambda: windows(sequences(), k1=k1, k2=k2, batch_size=batch_size), output_signature=signature
        )
    ).prefetch(2)

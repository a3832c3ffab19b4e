"""Truncated back-propagation through time, TBPTT(k1, k2) with k2 >= k1.

Williams & Peng 1990, "An efficient gradient-based algorithm for on-line training of recurrent network trajectories";
the names k1 and k2 are from Sutskever 2013, "Training recurrent neural networks", section 2.8.6.

A sequence of any length is read in windows. After every k1 time steps, at time t:

    1. the network runs over the time steps t - k2 ... t with the current weights, from its state at time t - k2;
    2. the errors of the newest k1 time steps, t - k1 ... t, are propagated back over the k2 time steps;
    3. the weights are updated, and the state that step 1 computed at time t + k1 - k2, where the next window starts, is
       kept.

Each target counts once. The state is carried through the whole sequence; only the gradient is truncated. Neither the
computation of an update nor its memory grows with the length of the sequence.

`windows` cuts sequences lazily, and `TruncatedBPTT` is the loss that `Trainer` (loop.py) takes. All windows have one
shape. Before the first time step of a sequence a window has zeros, and the state is set to the initial state where the
sequence begins; after the last time step it has zeros of weight 0. So the last window of a sequence may have fewer than
k1 targets, but starts where it would start in a longer sequence.
"""

import heapq
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.common.data.loading import without_autotune
from pipelines.common.errors import UserError


class TruncatedBPTT:
    """The loss of a batch of `windows`; carries the recurrent state of its rows from window to window.

    Args:
        network: network(inputs[batch, time, ...], state, training) returns (outputs[batch, time, ...], state). A state
            is any structure of tensors [batch, ...].
        initial_state: initial_state(batch_size) returns the state at the start of a sequence (zeros, or weights).
        loss: loss(outputs[batch, k1, ...], targets[batch, k1, ...], weights float[batch, k1]) returns
            name -> (total, weight), as does a call of this object.

    Attributes:
        variables: the state between two windows.
    """

    def __init__(self, network, initial_state, loss, *, k1: int, k2: int, batch_size: int):
        check(k1, k2)
        self.network, self.initial_state, self.loss = network, initial_state, loss
        self.k1, self.k2, self.batch_size = k1, k2, batch_size
        self.state = tf.nest.map_structure(
            lambda value: tf.Variable(tf.zeros_like(value), trainable=False), initial_state(batch_size)
        )
        self.variables = tf.nest.flatten(self.state)

    def __call__(self, batch, training: bool):
        k1, k2 = self.k1, self.k2
        begins = range(k2 - k1, -1, -k1)  # the places in a window where a sequence can begin, by its age: 0, 1, …
        cuts = sorted({0, k1, k2, *begins})
        initial = self.initial_state(self.batch_size)
        state = tf.nest.map_structure(lambda old, first: tf.cast(old, first.dtype), self.state, initial)
        newest = []
        for start, end in itertools.pairwise(cuts):
            if start in begins:
                state = choose(batch["age"] == begins.index(start), initial, state)
            inputs = tf.nest.map_structure(lambda value: value[:, start:end], batch["inputs"])  # noqa: B023
            outputs, state = self.network(inputs, state, training)
            if end == k1:
                carried = state
            if start >= k2 - k1:
                newest.append(outputs)
        outputs = tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=1), *newest)
        # Assign after the outputs were computed from the old state: where the new state does not depend on the values
        # of the old one (the last frame of a video), TensorFlow's graph optimizer would lose this order.
        with tf.control_dependencies(tf.nest.flatten(outputs)):
            for variable, value in zip(self.variables, tf.nest.flatten(carried), strict=True):
                variable.assign(tf.cast(value, variable.dtype))
        return self.loss(outputs, batch["targets"], batch["weights"])


def choose(rows, chosen, other):
    """Returns `chosen` where rows bool[batch] is true, else `other`, for structures of tensors [batch, ...]."""

    def pick(a, b):
        return tf.where(tf.reshape(rows, [-1] + [1] * (a.shape.rank - 1)), a, tf.cast(b, a.dtype))

    return tf.nest.map_structure(pick, chosen, other)


def check(k1: int, k2: int):
    """Raises UserError unless 1 <= k1 <= k2."""
    if k1 < 1:
        raise UserError(f"--k1 is {k1}, but must be at least 1")
    if k2 < k1:
        raise UserError(f"--k2 is {k2}, but must be at least --k1, {k1}: a window has to contain every new time step")


# Cutting sequences into windows ---------------------------------------------------------------------------------------


def windows(sequences, *, k1: int, k2: int, batch_size: int):
    """Generates batches of windows, with `batch_size` windows and chunks in memory at a time.

    A row at the end of its sequence continues with the next sequence that no row has begun; rows without a sequence
    have weight 0. A batch is a dict: inputs [batch, k2, ...], targets [batch, k1, ...], weights float32[batch, k1], and
    age int32[batch], the number of earlier windows of the row's sequence.

    Args:
        sequences: an iterable of sequences, read lazily. Each is a tuple (inputs [time, ...], targets [time, ...]), or
            an iterable of such tuples, the chunks of a sequence that is too long for the memory (a video as it is
            decoded). An optional third array, float[time], has the weights of the targets.
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
    """One row of the batch: its sequence and its current window."""

    def __init__(self, k1: int, k2: int):
        self.k1, self.k2 = k1, k2
        self.chunks: Iterator[tuple] = iter(())
        self.left: tuple[np.ndarray, ...] | None = None  # arrays from the chunks that were not used yet
        self.window: Any = None  # arrays, after the first sequence has begun
        self.targets: Any = None
        self.weights = np.zeros(k1, np.float32)
        self.age = 0

    def advance(self, waiting) -> bool:
        """Moves on by k1 time steps, or to the next sequence at the end of this one; returns False without one."""
        self.age += 1
        new = self._take()
        while new is None:
            sequence = next(waiting, None)
            if sequence is None:
                self.weights = np.zeros(self.k1, np.float32)
                return False
            self.chunks = iter([sequence] if isinstance(sequence, tuple) else sequence)
            self.left, self.age = None, 0
            new = self._take()
        inputs, self.targets, self.weights = (pad(array, self.k1) for array in new)
        older = np.zeros((self.k2, *inputs.shape[1:]), inputs.dtype) if self.age == 0 else self.window
        self.window = np.concatenate([older, inputs])[-self.k2 :]
        return True

    def _take(self):
        """Returns the arrays of the next k1 time steps (fewer at the end of the sequence), None after the end."""
        while self.left is None or len(self.left[0]) < self.k1:
            chunk = next(self.chunks, None)
            if chunk is None:
                break
            chunk = with_weights(*chunk)
            joined = zip(self.left or chunk, chunk, strict=True)
            self.left = chunk if self.left is None else tuple(np.concatenate(pair) for pair in joined)
        if self.left is None or not len(self.left[0]):
            return None
        new = tuple(array[: self.k1] for array in self.left)
        self.left = tuple(array[self.k1 :] for array in self.left)
        return new

    def fill_like(self, other: "Row"):
        """Makes the window of a row that never had a sequence: zeros of the shape of another row's."""
        if self.window is None:
            self.window, self.targets = np.zeros_like(other.window), np.zeros_like(other.targets)


def with_weights(inputs, targets, weights=None):
    if len(inputs) != len(targets):
        raise ValueError(f"a sequence has {len(inputs)} inputs and {len(targets)} targets, expected as many")
    weights = np.float32(1) if weights is None else np.asarray(weights, np.float32)
    return np.asarray(inputs), np.asarray(targets), np.broadcast_to(weights, len(inputs))


def pad(array, length: int):
    """Returns the array with zeros after the last time step, up to `length` time steps."""
    return np.concatenate([array, np.zeros((length - len(array), *array.shape[1:]), array.dtype)])


def dataset(sequences, *, k1: int, k2: int, batch_size: int, lengths=None) -> tf.data.Dataset:
    """Returns `windows` as a tf.data.Dataset.

    Args:
        sequences: sequences() returns the iterable, each time from its beginning. A resumed run reads it again up to
            the place where it continues.
        lengths: int[sequences], the time steps of each sequence; None: the dataset does not know its cardinality.
    """
    first = next(windows(sequences(), k1=k1, k2=k2, batch_size=batch_size), None)
    if first is None:
        raise UserError("there is no sequence with a step to train on")
    signature = {name: tf.TensorSpec(value.shape, value.dtype) for name, value in first.items()}
    found = without_autotune(
        tf.data.Dataset.from_generator(
            lambda: windows(sequences(), k1=k1, k2=k2, batch_size=batch_size), output_signature=signature
        )
    )
    if lengths is not None:
        found = found.apply(tf.data.experimental.assert_cardinality(count_windows(lengths, k1, batch_size)))
    return found.prefetch(2)


def count_windows(lengths, k1: int, batch_size: int) -> int:
    """Returns the number of batches that `windows` generates from sequences of these lengths."""
    ends = [0] * batch_size  # when each row ends its sequence; the next sequence goes to the row that ends first
    for length in lengths:
        heapq.heapreplace(ends, ends[0] + -(-int(length) // k1))
    return max(ends)

"""Loading, as all pipelines do it: texts in batches, batches of sequences of similar length, tf.data without autotuning
and AutoGraph, vocabularies, labels."""

import collections
import itertools
import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from layers.text import Vocabulary
from pipelines.common.data.corpora import TEXTS_AT_ONCE
from pipelines.common.errors import UserError
from pipelines.common.files import read_json

CORES = os.cpu_count() or 1
JITTER = 0.1  # share of its length by which a sequence may move in the order of lengths
DRAWN_AT_ONCE = 1 << 20  # random numbers
FILLER = -1  # the row of a sequence that only fills the last batch
ALL_ROWS = (0, 1)  # the part of the only worker

# tf.data --------------------------------------------------------------------------------------------------------------

# For the functions that a dataset maps. They have no Python loop or condition over tensors, so there is nothing for
# AutoGraph to convert, but it takes a second to look through what they call.
without_autograph = tf.autograph.experimental.do_not_convert


def without_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the dataset with tf.data's tuning of parallelism turned off, for all that is made of it as well.

    The thread that tunes sleeps for up to a minute, and in TensorFlow 2.21 the end of an iterator fails to wake it
    every second or third time: an epoch of ten seconds then takes thirty.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def computed(function: Callable, count: int, signature) -> tf.data.Dataset:
    """Returns the dataset of function(number) for each number from 0 to `count`, a few of them computed in advance.

    The dataset, what is made of it, and their iterators keep the function, and so the arrays that it reads, in memory;
    nothing else does.

    Args:
        function: returns arrays of NumPy, in the structure of `signature`.
        signature: tf.TensorSpec, in a structure of dicts and tuples.
    """
    specs = tf.nest.flatten(signature)

    def arrays(number) -> list[np.ndarray]:
        return tf.nest.flatten(function(number))

    # TensorFlow never forgets a function of NumPy. So that it forgets what `arrays` reads, the one that it gets has a
    # weak reference. The dataset has the strong one; its iterators and the datasets that are made of it refer to it.
    weak = weakref.ref(arrays)

    def call(number):
        if (found := weak()) is None:
            raise StopIteration  # silently: an iterator that has ended was reading ahead
        return found(number)

    def element(number):
        values = tf.numpy_function(call, [number], [spec.dtype for spec in specs])
        values = [tf.ensure_shape(value, spec.shape) for value, spec in zip(values, specs, strict=True)]
        return tf.nest.pack_sequence_as(signature, values)

    found = without_autotune(tf.data.Dataset.range(count))
    found = found.map(without_autograph(element), num_parallel_calls=2).prefetch(4)
    found.arrays = arrays
    return found


def without_rewriting(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the dataset without the rewriting of its graph, which takes longer than it saves if the dataset is set up
    anew for every batch."""
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    return dataset.with_options(options)


# Texts in batches -----------------------------------------------------------------------------------------------------


def batched(items: Iterable, size: int) -> Iterator[list]:
    """Yields lists of so many items; the last may have fewer."""
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch


def streamed(texts: Iterable[str]) -> Iterator[tf.Tensor]:
    """Yields a stream of texts in tensors, string[batch]."""
    return (tf.constant(batch, tf.string) for batch in batched(texts, TEXTS_AT_ONCE))


def in_order(function: Callable, items: Iterable) -> Iterator:
    """Yields function(item) for each item, computed on all cores, a few items ahead of what is taken."""
    pending: collections.deque = collections.deque()
    with ThreadPoolExecutor(CORES) as pool:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > 2 * CORES:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def encoded_batches(texts: Iterable[str], encode: Callable) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Encodes a stream of texts, with `encode` as in `encode_texts`.

    Yields for each TEXTS_AT_ONCE of them their tokens, int32[tokens], one text after the other; int64[texts], their
    lengths; and bool[texts], whether they were cut.
    """
    graph = tf.function(lambda texts: encode(texts), [tf.TensorSpec([None], tf.string)], autograph=False)

    def encoded(batch: list[str]):
        tokens, cut = graph(tf.constant(batch, tf.string))
        return tokens.values.numpy(), tokens.row_lengths().numpy(), cut.numpy()

    return in_order(encoded, batched(texts, TEXTS_AT_ONCE))


def encode_texts(texts: Iterable[str], encode: Callable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Encodes texts once, so that an epoch does not have to.

    Args:
        encode: string[batch] -> (int32[batch, (tokens)], bool[batch]: whether the text was cut).

    Returns:
        int32[tokens], the tokens of all texts, one text after the other; int64[texts + 1], where each text begins and
        ends; bool[texts], whether it was cut.
    """
    none = np.zeros(0, np.int32), np.zeros(1, np.int64), np.zeros(0, bool)
    ids, lengths, cut = map(np.concatenate, zip(none, *encoded_batches(texts, encode), strict=True))
    return ids, np.cumsum(lengths), cut


# Batches of sequences of similar length -------------------------------------------------------------------------------


def own_rows(rows: int, part: tuple[int, int]) -> range:
    """Returns which rows of a batch a worker trains on; see `rows_of` in training/replicas.py.

    Args:
        part: index of the worker, and the number of workers.
    """
    index, workers = part
    return range(rows * index // workers, rows * (index + 1) // workers)


def padded_length(length: int, shapes_per_octave: int = 8) -> int:
    """Returns `length` rounded up to a multiple of four, so that at most `shapes_per_octave` different lengths occur
    between two powers of two."""
    octave = 1 << max(int(length) - 1, 1).bit_length() - 1  # the next lower power of two
    step = max(octave // shapes_per_octave, 4)
    return max(-(-int(length) // step), 1) * step


def batch_sizes(lengths: np.ndarray, max_rows: int, max_steps: int, shapes_per_octave: int = 8) -> list[int]:
    """Returns the number of sequences of each batch, for `lengths` int[sequences] in descending order.

    A batch has at most `max_rows` sequences, and at most `max_steps` time steps with padding (but at least one
    sequence). The last batch has this size as well, although fewer sequences may be left: it is filled up.
    """
    sizes, start = [], 0
    while start < len(lengths):
        sizes.append(max(1, min(max_rows, max_steps // padded_length(lengths[start], shapes_per_octave))))
        start += sizes[-1]
    return sizes


def plan_batches(
    lengths: np.ndarray,
    *,
    max_rows: int,
    max_steps: int,
    seed: int | None = None,
    epoch: int = 0,
    shapes_per_octave: int = 8,
) -> list[tuple[np.ndarray, int]]:
    """Returns the sequences of each batch, and the time steps to which it is padded: [(int64[rows], steps)].

    Every sequence is in one batch; the last batch is filled up with FILLER. The number of batches depends only on
    `lengths`; their order and contents also depend on (seed, epoch). Without a seed, the longest come first.

    Args:
        lengths: int[sequences]. With int32, the memory needed for a moment is 24 bytes a sequence, and 8 afterwards.
        max_rows, max_steps, shapes_per_octave: see `batch_sizes` and `padded_length`.
    """
    # For millions of sequences, this order is what needs memory: nothing is kept that is not needed.
    if lengths.min(initial=1) < 1:
        lengths = np.maximum(lengths, 1)
    sizes = batch_sizes(np.sort(lengths)[::-1], max_rows, max_steps, shapes_per_octave)
    key = np.log(lengths)
    random = None if seed is None else np.random.default_rng((seed, epoch))
    if random is not None:
        for start in range(0, len(key), DRAWN_AT_ONCE):  # the same numbers as in one draw
            part = key[start : start + DRAWN_AT_ONCE]
            part += random.uniform(0, JITTER, len(part))
    order = np.argsort(np.negative(key, out=key), kind="stable")
    del key
    plan: list[tuple[np.ndarray, int]] = []
    for start, size in zip(itertools.accumulate(sizes, initial=0), sizes, strict=False):
        rows = order[start : start + size].astype(np.int64, copy=False)
        steps = padded_length(lengths[rows].max(), shapes_per_octave)
        if len(rows) < size:
            rows = np.concatenate([rows, np.full(size - len(rows), FILLER)])
        plan.append((rows, steps))
    return plan if random is None else [plan[number] for number in random.permutation(len(plan))]


# Files of a run -------------------------------------------------------------------------------------------------------


def load_vocabulary(path) -> Vocabulary:
    """Reads the vocabulary file of a run; UserError when it is missing or not a vocabulary."""
    try:
        return Vocabulary.load(path)
    except OSError as error:
        raise UserError(f"{path} could not be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is not a vocabulary: {error}") from error


def load_labels(path) -> tuple[str, ...]:
    """Reads the labels.json of a run: the names of the labels, in the order of their ids."""
    names = read_json(path)
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path} does not contain labels: expected a list of two names or more")
    return tuple(names)

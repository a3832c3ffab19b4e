"""Loading, as all pipelines do it: tf.data without autotuning and AutoGraph, texts in batches, vocabularies, labels."""

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


def batched(items: Iterable, size: int) -> Iterator[list]:
    """Yields lists of so many items; the last may have fewer."""
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch


def streamed(texts: Iterable[str]) -> Iterator[tf.Tensor]:
    """Yields a stream of texts in tensors, string[batch]."""
    return (tf.constant(batch, tf.string) for batch in batched(texts, TEXTS_AT_ONCE))


def text_batches(texts: list[str]) -> tf.data.Dataset:
    """Returns a dataset of the texts, string[batch] an element."""
    return without_autotune(tf.data.Dataset.from_tensor_slices(tf.constant(texts, tf.string))).batch(TEXTS_AT_ONCE)


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

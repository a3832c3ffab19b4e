"""The rules, the loop and the log-probabilities that all decoders of `decoding.py` share."""

from typing import NamedTuple

import tensorflow as tf

from layers.text import PADDING

NEVER = float("-inf")
IMPOSSIBLE = -1e4  # log-probability of a forced token of probability 0: its sentence stays valid, but ranks last
BLOCK = 32


class Decoded(NamedTuple):
    """Sentences, the best candidate first; a missing candidate has score -inf, length 0 and only PADDING.

    Attributes:
        ids: int32[batch, candidates, time], without start and end, then PADDING; time is the greatest length.
        lengths: int32[batch, candidates].
        scores: float32[batch, candidates].
    """

    ids: tf.Tensor
    lengths: tf.Tensor
    scores: tf.Tensor


class Rules:
    """The tokens that are forced or excluded at step t, when every open sentence has t tokens."""

    def __init__(self, state, end, max_length, min_length, prefix, forbidden):
        tensors = tf.nest.flatten(state)
        if not tensors:
            raise ValueError("the state has no tensor, expected one or more: their first axis is the batch")
        if end in forbidden:
            raise ValueError(f"the end token {end} is among the forbidden {tuple(forbidden)}: no sentence could end")
        self.batch = tf.shape(tensors[0])[0]
        self.end = end
        self.forbidden = tf.constant(list(forbidden), tf.int32)
        self.min_length = scalar("min_length", min_length, tf.int32, least=0)
        self.max_length = scalar("max_length", max_length, tf.int32, least=0)
        prefix = tf.zeros([self.batch, 0], tf.int32) if prefix is None else tf.cast(prefix, tf.int32)
        prefix = _with_rows_of(tensors[0], prefix)
        self.prefix_lengths = tf.math.count_nonzero(prefix != PADDING, axis=1, dtype=tf.int32)
        self.prefix = tf.pad(prefix, [[0, 0], [0, 1]])  # at least one column, read beyond the last token
        self.steps = tf.maximum(self.max_length, tf.shape(prefix)[1]) + 1  # one more for the end

    def forced(self, t, sentences):
        """Returns, of the open sentences int32[open], whether the next token is forced, bool[open], and that token,
        int32[open]."""
        inside = t < self.prefix_lengths
        tokens = tf.gather(self.prefix, tf.minimum(t, tf.shape(self.prefix)[1] - 1), axis=1)
        tokens = tf.where(inside, tokens, self.end)
        return tf.gather(inside | (t >= self.max_length), sentences), tf.gather(tokens, sentences)

    def excluded(self, t, vocabulary):
        """Returns the tokens that must not be chosen at step t, bool[vocabulary]."""
        tokens = tf.range(vocabulary)
        forbidden = tf.reduce_any(tokens == self.forbidden[:, None], axis=0)
        return forbidden | ((t < self.min_length) & (tokens == self.end))


def block_top_k(x, k):
    """Returns (values, indices) of the k largest of each row of float32[rows, n], or of all n if there are no more.

    They are in the k blocks with the largest maxima. Finding those first is faster, because tf.math.top_k is slow for
    k > 1 (measured: half of its time at n = 8,000, a sixth at 80,000).
    """
    rows, n = tf.unstack(tf.shape(x))
    k = tf.minimum(k, n)
    blocks = -(-n // BLOCK)
    if x.shape[1] is None or x.shape[1] % BLOCK:
        x = tf.pad(x, [[0, 0], [0, blocks * BLOCK - n]], constant_values=NEVER)
    x = tf.reshape(x, [rows, blocks, BLOCK])
    _, best = tf.math.top_k(tf.reduce_max(x, axis=2), tf.minimum(k, blocks))
    values, indices = tf.math.top_k(tf.reshape(tf.gather(x, best, batch_dims=1), [rows, -1]), k)
    indices = tf.gather(best, indices // BLOCK, batch_dims=1) * BLOCK + indices % BLOCK
    return values, tf.minimum(indices, n - 1)  # padding may be among them if fewer than k are above -inf


def log_normalizer(logits, highest):
    """Returns log sum exp of each row, [rows, vocabulary] -> [rows], given its highest logit; inf where it is NaN."""
    normalizer = highest + tf.math.log(tf.reduce_sum(tf.exp(logits - highest[:, None]), axis=1))
    return tf.where(tf.math.is_nan(normalizer), -NEVER, normalizer)


def log_probability(logits, normalizer):
    """Returns the log softmax of logits, given the log_normalizer of their rows, of a shape that broadcasts."""
    return tf.where(tf.math.is_finite(logits), logits - normalizer, NEVER)  # -inf - -inf is NaN


def pick(x, columns):
    """Returns the value in one column of each row: [rows, n], int32[rows] -> [rows]."""
    return tf.gather(x, columns, batch_dims=1)


def put(x, rows, values):
    """Returns x with these rows replaced by values."""
    return tf.tensor_scatter_nd_update(x, rows[:, None], values)


def loop(body, rules, tokens, state, *results):
    """Runs `body(t, sentences, tokens, state, *results)` until no sentence is open; returns the results.

    t: int32[], number of tokens of each open sentence. sentences: int32[open], their indices. tokens: int32[rows], the
    last of each row. state: structure of tensors [rows, ...].
    """
    variables = (tf.constant(0), tf.range(rules.batch), tokens, state, *results)
    any_rows = tf.nest.map_structure(lambda x: tf.TensorShape([None, *x.shape[1:]]), state)
    shapes = (*(tf.TensorShape(shape) for shape in ([], [None], [None])), any_rows)
    shapes += tuple(tf.TensorShape([None] * x.shape.rank) for x in results)
    _, _, _, _, *results = tf.while_loop(
        lambda t, sentences, *_: tf.size(sentences) > 0, body, variables, shapes, maximum_iterations=rules.steps
    )
    return results


def decoded(ids, lengths, scores) -> Decoded:
    """Returns the results of a loop as `Decoded`, cut to the longest sentence, with missing candidates cleared."""
    lengths = tf.where(scores > NEVER, lengths, 0)
    longest = tf.maximum(tf.reduce_max(lengths), 0)  # the maximum over an empty batch is the lowest integer
    return Decoded(tf.where(scores[:, :, None] > NEVER, ids, PADDING)[:, :, :longest], lengths, scores)


def scalar(name, value, dtype, *, least):
    """Returns the number as a tensor, after a check that it is at least `least`."""
    known = tf.get_static_value(value)
    if known is not None and not known >= least:
        raise ValueError(f"{name} is {known}, expected {least} or more")
    value = tf.cast(value, dtype)
    if known is None:
        return _checked(value, value >= tf.cast(least, dtype), f"{name}, expected {least} or more, is", value)
    return value


def _with_rows_of(tensor, prefix):
    """Returns the prefix, after a check that it has as many rows as the tensor."""
    known = prefix.shape[0], tensor.shape[0]
    if None in known:
        rows = tf.shape(prefix)[0], tf.shape(tensor)[0]
        message = "the numbers of rows of the prefix and of the state, expected equal, are"
        return _checked(prefix, rows[0] == rows[1], message, *rows)
    if known[0] != known[1]:
        raise ValueError(f"the prefix has {known[0]} rows and the state {known[1]}, expected as many")
    return prefix


def _checked(x, condition, *message):
    with tf.control_dependencies([tf.debugging.Assert(condition, message)]):
        return tf.identity(x)  # without it, an operation that reads x could fail before the assertion does

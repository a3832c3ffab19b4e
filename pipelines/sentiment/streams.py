"""Texts laid end to end in parallel streams, and cut into the windows of truncated back-propagation through time.

A text w1 … wn is n + 1 steps of its stream, as in teacher forcing; the autoencoder reads it first, with nothing to say:

    next-word     inputs   <s>  w1   …  wn          autoencoder   inputs   w1  …  wn   <s>  w1   …  wn
                  targets  w1   w2   …  </s>                      targets              w1   w2   …  </s>
                  weights  1    1       1                         weights  0      0    1    1       1

The stream itself is never made: a window looks up which text each of its steps belongs to, and what stands there. So an
epoch in another order costs no memory, however long the stream is, and a resumed run finds its place at once.
"""

import numpy as np
import tensorflow as tf

from layers.text import END, PADDING, START
from pipelines.common.data.loading import without_autograph, without_autotune
from pipelines.sentiment.dataset import Texts


class Streams:
    """The texts as `rows` streams, window by window.

    Args:
        k1, k2: as in pipelines.common.training.tbptt: new steps of a window, and all of its steps.
        objective: "next-word" or "autoencoder".
        directions: of "forward" and "backward", which reads every text from its end.
        carried: lay the texts end to end without gaps, the state going on. False: every text begins with a window, and
            the state anew; what is left of a text's last window is empty.
        seed: with the epoch, decides the order of the texts; None: always their own.
    """

    def __init__(
        self,
        texts: Texts,
        *,
        k1: int,
        k2: int,
        rows: int,
        objective: str,
        directions: tuple[str, ...],
        carried: bool,
        seed: int | None,
    ):
        self.k1, self.k2, self.rows = k1, k2, rows
        self.objective, self.directions, self.carried, self.seed = objective, directions, carried, seed
        self.lookup = Lookup(texts, objective)
        self.lengths = texts.lengths
        steps = steps_of(self.lengths, objective)
        self.steps = steps if carried else -(-steps // k1) * k1  # int64[texts]
        self.windows = max(-(-int(self.steps.sum()) // (rows * k1)), 1)

    def epoch(self, epoch: int) -> tf.data.Dataset:
        """The batches of an epoch, `windows` of them, each target once. Each is a dict as tbptt.TruncatedBPTT takes it:

        `inputs`, direction -> int32[rows, k2]; `targets`, direction -> int32[rows, k1]; `weights` float32[rows, k1],
        zero behind the last text; and `age` int32[rows], the windows since the state began.

        Where the seam of two rows cuts a text whose state was to begin with it, its rest counts for nothing.
        """
        order = np.arange(len(self.steps))
        if self.seed is not None:
            order = np.random.default_rng((self.seed, epoch)).permutation(order)
        ends = np.cumsum(self.steps[order])
        total, stretch = int(ends[-1]), self.windows * self.k1
        order, begins, ends = tf.constant(order), tf.constant(ends - self.steps[order]), tf.constant(ends)
        row_begins = tf.range(self.rows, dtype=tf.int64)[:, None] * stretch

        def window(number):
            first = row_begins + number * self.k1  # int64[rows, 1], of the new steps
            places = first + tf.range(self.k1 - self.k2, self.k1, dtype=tf.int64)  # [rows, k2]
            places = tf.clip_by_value(places, 0, total - 1)  # what lies before a stream begins is not looked at
            text = tf.searchsorted(ends, tf.reshape(places, [-1]), side="right", out_type=tf.int64)
            text = tf.reshape(text, [self.rows, self.k2])
            begin = tf.gather(begins, text)
            inputs, targets, weights = {}, {}, None
            for direction in self.directions:
                read, said, weights = self.lookup(tf.gather(order, text), places - begin, direction)
                inputs[direction], targets[direction] = read, said[:, -self.k1 :]
            new = first + tf.range(self.k1, dtype=tf.int64)
            counts = new < total
            age = tf.fill([self.rows], number)
            if not self.carried:
                begin = begin[:, -self.k1 :]
                counts &= begin >= row_begins
                age = tf.minimum(age, (first - begin[:, :1])[:, 0] // self.k1)
            weights = tf.where(counts, weights[:, -self.k1 :], 0.0)
            return {"inputs": inputs, "targets": targets, "weights": weights, "age": tf.cast(age, tf.int32)}

        return (
            without_autotune(tf.data.Dataset.range(self.windows))
            .map(without_autograph(window), num_parallel_calls=2)
            .prefetch(4)
        )


class Lookup:
    """What stands at any step of any text."""

    def __init__(self, texts: Texts, objective: str):
        self.ids = tf.constant(np.append(texts.ids, np.int32(PADDING)))  # one more: there may be no word at all
        self.begins, self.lengths = tf.constant(texts.splits[:-1]), tf.constant(texts.lengths)
        self.reads_first = objective == "autoencoder"

    def __call__(self, text, step, direction: str):
        """int64[...] numbers of texts, int64[...] steps in them -> inputs and targets int32[...], weights float32[...];
        PADDING of weight 0 behind the last step."""
        begin, length = tf.gather(self.begins, text), tf.gather(self.lengths, text)
        last = tf.cast(tf.size(self.ids) - 1, tf.int64)

        def word(number):
            place = number if direction == "forward" else length - 1 - number
            return tf.gather(self.ids, tf.clip_by_value(begin + place, 0, last))

        written = step - length if self.reads_first else step  # the word to be said
        inputs = tf.where(written == 0, START, tf.where(written <= length, word(written - 1), PADDING))
        if self.reads_first:
            inputs = tf.where(written < 0, word(step), inputs)
        counts = (written >= 0) & (written <= length)
        targets = tf.where(written == length, END, word(written))
        return inputs, tf.where(counts, targets, PADDING), tf.cast(counts, tf.float32)


def steps_of(lengths: np.ndarray, objective: str) -> np.ndarray:
    """int64[texts]: steps of each text of so many words."""
    return 2 * lengths + 1 if objective == "autoencoder" else lengths + 1

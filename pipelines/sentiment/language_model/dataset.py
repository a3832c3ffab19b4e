"""Loads texts for a language model, and cuts them into windows for truncated backpropagation through time (TBPTT).

The texts are concatenated into parallel streams. A text w1 … wn takes n + 1 time steps, as in teacher forcing; for the
autoencoder the text comes first, without targets:

    next-word     inputs   <s>  w1   …  wn          autoencoder   inputs   w1  …  wn   <s>  w1   …  wn
                  targets  w1   w2   …  </s>                      targets              w1   w2   …  </s>
                  weights  1    1       1                         weights  0      0    1    1       1

The streams are not stored: each window looks up which text each of its time steps belongs to, and which word. So
another order in each epoch takes no memory, and a resumed run finds its place at once.
"""

import pathlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from layers.text import END, PADDING, START
from pipelines.common.data.loading import without_autograph, without_autotune
from pipelines.common.data.splits import HELD_OUT, require_part
from pipelines.common.data.tables import COMPRESSIONS, read_lines
from pipelines.common.errors import UserError
from pipelines.sentiment import dataset
from pipelines.sentiment.dataset import Texts
from pipelines.sentiment.reviews import Reviews, join, locate
from pipelines.sentiment.text_config import DataConfig

TEXT_FILE = ".txt"


def load(data: DataConfig, max_characters: int) -> dict[str, Reviews]:
    """Loads the parts "train" and "validation".

    They are those that a classifier with the same DataConfig gets. "train" also has the unlabelled reviews, but those
    of films (groups) and texts that are held out. Test reviews are not read. Of a text file, each line is a text.

    Args:
        max_characters: where a longer line of a text file is cut into several texts.

    Raises:
        UserError: The data does not exist or is invalid, or nothing is held out.
    """
    where = locate(data)
    if isinstance(where, pathlib.Path) and where.is_file() and is_text(where):
        train, validation = dataset.split_off(read_text(where, max_characters), data.validation_share, data)
        return {"train": train, "validation": validation}
    parts = dataset.load(data, labelled=False)
    require_part("validation", parts, data.location, HELD_OUT)
    unlabelled = dataset.load_unlabelled(data, parts)
    if unlabelled is not None:
        parts["train"] = join(parts["train"], unlabelled)
    return {part: parts[part] for part in ("train", "validation")}


def is_text(path: pathlib.Path) -> bool:
    """Returns whether a file is plain text, by its name: .txt, possibly compressed."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    return suffixes[-1:] == [TEXT_FILE] or (suffixes[:1] == [TEXT_FILE] and suffixes[-1] in COMPRESSIONS)


def read_text(path: pathlib.Path, max_characters: int) -> Reviews:
    """Reads each line of a text file that is not blank as a text. A longer line becomes several texts, so that none of
    it is lost."""
    texts = Reviews([], [], [], [])
    for number, line in enumerate(read_lines(path), start=1):
        for piece in cut_line(line.strip(), max_characters):
            texts.texts.append(piece)
            texts.labels.append("")
            texts.groups.append(piece)
            texts.places.append(f"{path}, line {number}")
    if not texts.texts:
        raise UserError(f"{path} is empty: expected lines of text")
    return texts


def cut_line(line: str, max_characters: int) -> Iterator[str]:
    """Cuts a line into pieces, at spaces if it has any."""
    start = 0
    while len(line) - start > max_characters:
        end = line.rfind(" ", start + 1, start + max_characters + 1)
        end = start + max_characters if end < 0 else end
        yield line[start:end]
        start = end
    if line[start:]:
        yield line[start:]


class Streams:
    """Texts in parallel streams, cut into windows.

    Args:
        texts: the texts as word ids.
        k1, k2: number of new time steps of a window, and of all of its time steps (as in
            pipelines.common.training.tbptt).
        rows: number of streams.
        objective: "next-word" or "autoencoder".
        directions: some of "forward" and "backward", which reads every text from its end.
        carried: concatenate the texts without gaps, since the state is carried on. False: every text begins with a new
            window and a new state; the rest of its last window is empty.
        seed: decides, with the epoch, the order of the texts. None: always their own order.
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
        steps = count_steps(self.lengths, objective)
        self.steps = steps if carried else -(-steps // k1) * k1  # int64[texts]
        self.windows = max(-(-int(self.steps.sum()) // (rows * k1)), 1)

    def epoch(self, epoch: int) -> tf.data.Dataset:
        """Returns the batches of an epoch, `windows` of them, with each target once.

        A batch is a dict for tbptt.TruncatedBPTT:

            inputs: direction -> int32[rows, k2].
            targets: direction -> int32[rows, k1].
            weights: float32[rows, k1], zero after the last text.
            age: int32[rows], the number of windows since the state was reset.

        If `carried` is False and a text is cut at the end of a stream, the rest, in the next stream, has weight zero.
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
            places = tf.clip_by_value(places, 0, total - 1)  # before the start of a stream, any place will do
            text = tf.searchsorted(ends, tf.reshape(places, [-1]), side="right", out_type=tf.int64)
            text = tf.reshape(text, [self.rows, self.k2])
            begin = tf.gather(begins, text)
            inputs, targets = {}, {}
            weights: tf.Tensor = None
            for direction in self.directions:
                inputs[direction], target, weights = self.lookup(tf.gather(order, text), places - begin, direction)
                targets[direction] = target[:, -self.k1 :]
            new = first + tf.range(self.k1, dtype=tf.int64)
            mask = new < total
            age = tf.fill([self.rows], number)
            if not self.carried:
                begin = begin[:, -self.k1 :]
                mask &= begin >= row_begins
                age = tf.minimum(age, (first - begin[:, :1])[:, 0] // self.k1)
            weights = tf.where(mask, weights[:, -self.k1 :], 0.0)
            return {"inputs": inputs, "targets": targets, "weights": weights, "age": tf.cast(age, tf.int32)}

        return (
            without_autotune(tf.data.Dataset.range(self.windows))
            .map(without_autograph(window), num_parallel_calls=2)
            .prefetch(4)
        )


class Lookup:
    """Looks up the input, target and weight of any time step of any text."""

    def __init__(self, texts: Texts, objective: str):
        self.ids = tf.constant(np.append(texts.ids, np.int32(PADDING)))  # so that it is never empty
        self.begins, self.lengths = tf.constant(texts.splits[:-1]), tf.constant(texts.lengths)
        self.autoencoder = objective == "autoencoder"

    def __call__(self, text, step, direction: str):
        """int64[...] numbers of texts, int64[...] their time steps -> inputs int32[...], targets int32[...], weights
        float32[...]. After the last time step there is PADDING with weight 0."""
        begin, length = tf.gather(self.begins, text), tf.gather(self.lengths, text)
        last = tf.cast(tf.size(self.ids) - 1, tf.int64)

        def word(number):
            place = number if direction == "forward" else length - 1 - number
            return tf.gather(self.ids, tf.clip_by_value(begin + place, 0, last))

        target_step = step - length if self.autoencoder else step  # negative while the autoencoder reads the text
        inputs = tf.where(target_step == 0, START, tf.where(target_step <= length, word(target_step - 1), PADDING))
        if self.autoencoder:
            inputs = tf.where(target_step < 0, word(step), inputs)
        mask = (target_step >= 0) & (target_step <= length)
        targets = tf.where(target_step == length, END, word(target_step))
        return inputs, tf.where(mask, targets, PADDING), tf.cast(mask, tf.float32)


def count_steps(lengths: np.ndarray, objective: str) -> np.ndarray:
    """Returns the time steps of texts of so many words, int64[texts]."""
    return 2 * lengths + 1 if objective == "autoencoder" else lengths + 1

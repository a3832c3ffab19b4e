"""Loads texts for a language model, and cuts them into windows for truncated backpropagation through time (TBPTT).

The texts are concatenated into parallel streams. A text w1 … wn takes n + 1 time steps, as in teacher forcing; for the
autoencoder the text comes first, without targets:

    next-word     inputs   <s>  w1   …  wn          autoencoder   inputs   w1  …  wn   <s>  w1   …  wn
                  targets  w1   w2   …  </s>                      targets              w1   w2   …  </s>
                  weights  1    1       1                         weights  0      0    1    1       1

The streams are not stored: each window looks up which text each of its time steps belongs to, and which word. What an
epoch has in memory is the order of the texts and where each of them ends; the words are read from files.
"""

import functools
import pathlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from layers.text import END, PADDING, START
from pipelines.common.cache_folders import identities
from pipelines.common.data.loading import computed
from pipelines.common.data.splits import HELD_OUT, require_part
from pipelines.common.data.tables import COMPRESSIONS, read_lines
from pipelines.common.errors import UserError
from pipelines.sentiment import dataset
from pipelines.sentiment.reviews import Reviews, Row, Stream
from pipelines.sentiment.text_config import DataConfig
from pipelines.sentiment.word_ids import Texts

TEXT_FILE = ".txt"


def load(data: DataConfig, max_characters: int, cache: pathlib.Path | None = None) -> dict[str, list[Reviews]]:
    """Returns the parts "train" and "validation", each as a list of reviews.

    They are those that a classifier with the same DataConfig gets. "train" also has the unlabelled reviews, but those
    of films (groups) and texts that are held out. Test reviews are not read. Of a text file, each line is a text.

    Args:
        max_characters: where a longer line of a text file is cut into several texts.
        cache: folder of corpora that the texts are read into, once. None: they are in memory.

    Raises:
        UserError: The data does not exist or is invalid, or nothing is held out.
    """
    where = dataset.locate(data)
    if isinstance(where, pathlib.Path) and where.is_file() and is_text(where):
        texts = open_text(where, max_characters).read(cache)
        rest, held_out = dataset.split_off(texts, data.validation_share, data)
        return {"train": [rest], "validation": [held_out]}
    parts = dataset.load(data, cache, labelled=False)
    require_part("validation", parts, data.location, HELD_OUT)
    unlabelled = dataset.find_unlabelled(data, parts, cache)
    train = [parts["train"]] if unlabelled is None else [parts["train"], unlabelled]
    return {"train": train, "validation": [parts["validation"]]}


def is_text(path: pathlib.Path) -> bool:
    """Returns whether a file is plain text, by its name: .txt, possibly compressed."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    return suffixes[-1:] == [TEXT_FILE] or (suffixes[:1] == [TEXT_FILE] and suffixes[-1] in COMPRESSIONS)


def open_text(path: pathlib.Path, max_characters: int) -> Stream:
    """Returns a text file as a stream: each line that is not blank is a text. A longer line becomes several texts, so
    that none of it is lost."""

    def key() -> dict:
        return {"data": identities([path]), "max_characters": max_characters}

    return Stream(functools.partial(read_text, path, max_characters), key)


def read_text(path: pathlib.Path, max_characters: int) -> Iterator[Row]:
    """Yields the rows of `open_text`."""
    empty = True
    for number, line in enumerate(read_lines(path), start=1):
        for piece in cut_line(line.strip(), max_characters):
            empty = False
            yield piece, "", piece, f"{path}, line {number}"
    if empty:
        raise UserError(f"{path} is empty: expected lines of text")


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
        self.texts, self.lookup = texts, Lookup(texts, objective)
        steps = count_steps(texts.lengths, objective)
        self.steps = steps if carried else -(-steps // k1) * k1  # int32[texts]
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
        order = np.arange(len(self.steps), dtype=np.int32 if len(self.steps) < 2**31 else np.int64)
        if self.seed is not None:
            order = np.random.default_rng((self.seed, epoch)).permutation(order)
        ends = np.cumsum(self.steps[order], dtype=np.int64)
        total, stretch = int(ends[-1]), self.windows * self.k1
        row_begins = np.arange(self.rows)[:, None] * stretch

        def window(number) -> dict:
            first = row_begins + number * self.k1  # int64[rows, 1], of the new steps
            places = first + np.arange(self.k1 - self.k2, self.k1)  # [rows, k2]
            places = np.clip(places, 0, total - 1)  # before the start of a stream, any place will do
            place = np.searchsorted(ends, places, side="right")
            text = order[place]
            begin = ends[place] - self.steps[text]
            inputs, targets, weights = {}, {}, np.zeros(0, np.float32)
            for direction in self.directions:
                inputs[direction], target, weights = self.lookup(text, places - begin, direction)
                targets[direction] = target[:, -self.k1 :]
            self.texts.release()
            mask = first + np.arange(self.k1) < total
            age = np.full(self.rows, number)
            if not self.carried:
                begin = begin[:, -self.k1 :]
                mask &= begin >= row_begins
                age = np.minimum(age, (first - begin[:, :1])[:, 0] // self.k1)
            weights = np.where(mask, weights[:, -self.k1 :], np.float32(0))
            return {"inputs": inputs, "targets": targets, "weights": weights, "age": age.astype(np.int32)}

        signature = {
            "inputs": dict.fromkeys(self.directions, tf.TensorSpec([self.rows, self.k2], tf.int32)),
            "targets": dict.fromkeys(self.directions, tf.TensorSpec([self.rows, self.k1], tf.int32)),
            "weights": tf.TensorSpec([self.rows, self.k1], tf.float32),
            "age": tf.TensorSpec([self.rows], tf.int32),
        }
        return computed(window, self.windows, signature)


class Lookup:
    """Looks up the input, target and weight of any time step of any text."""

    def __init__(self, texts: Texts, objective: str):
        self.ids, self.splits = texts.ids if len(texts.ids) else np.zeros(1, np.int32), texts.splits
        self.autoencoder = objective == "autoencoder"

    def __call__(self, text, step, direction: str):
        """int[...] numbers of texts, int64[...] their time steps -> inputs int32[...], targets int32[...], weights
        float32[...]. After the last time step there is PADDING with weight 0."""
        begin = self.splits[text]
        length = self.splits[text + 1] - begin

        def word(number):  # any one where the text has none
            place = number if direction == "forward" else length - 1 - number
            return self.ids[np.clip(begin + place, 0, len(self.ids) - 1)]

        target_step = step - length if self.autoencoder else step  # negative while the autoencoder reads the text
        inputs = np.where(target_step == 0, START, np.where(target_step <= length, word(target_step - 1), PADDING))
        if self.autoencoder:
            inputs = np.where(target_step < 0, word(step), inputs)
        mask = (target_step >= 0) & (target_step <= length)
        targets = np.where(target_step == length, END, word(target_step))
        return inputs, np.where(mask, targets, PADDING), mask.astype(np.float32)


def count_steps(lengths: np.ndarray, objective: str) -> np.ndarray:
    """Returns the time steps of texts of so many words, int[texts]."""
    return 2 * lengths + 1 if objective == "autoencoder" else lengths + 1

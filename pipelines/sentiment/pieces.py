"""Pieces of reviews: runs of whole sentences, and parts of a sentence, so that a classifier also reads short texts.

A piece need not say what the whole review says, the less so the shorter it is. Its target is therefore softer:

    target(piece) = c target(review) + (1 - c) belief,  c = n / (n + softness)

for a piece of n words. The belief is the same probability for every label, or that of teachers who have read the piece
(self_training.py). Pieces are drawn anew in each epoch, by the seed, the epoch and the number of the review alone.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from layers.text import Vocabulary
from pipelines.common.data import corpora
from pipelines.sentiment.word_ids import LabelledTexts, Texts

SENTENCE_ENDS = (".", "!", "?", "。", "！", "？")
PARTS = 0.25  # share of the pieces that are a part of a sentence; the others are whole sentences
TEXTS_AT_ONCE = 1 << 12
STREAM = 1  # of random numbers: word_ids.batches draws from (seed, epoch)


@dataclasses.dataclass(frozen=True)
class Spans:
    """Where the example of each review is.

    Attributes:
        begins, ends: int64[reviews], places in Texts.ids, the end exclusive.
        is_piece: bool[reviews], whether it is a piece. Otherwise it is the whole review.
    """

    begins: np.ndarray
    ends: np.ndarray
    is_piece: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """int64[reviews], words."""
        return self.ends - self.begins

    def rows(self, rows: np.ndarray | slice) -> "Spans":
        """Returns those of the reviews of these numbers, of a mask bool[reviews], or of a slice."""
        return Spans(self.begins[rows], self.ends[rows], self.is_piece[rows])


class Pieces:
    """Draws pieces of texts.

    Args:
        texts: the texts.
        vocabulary: that of the texts; its marks of punctuation end the sentences.
        seed: decides, with the epoch, which pieces are drawn.
    """

    def __init__(self, texts: Texts, vocabulary: Vocabulary, seed: int):
        self.splits, self.seed = texts.splits, seed
        marks = [number for number, word in enumerate(vocabulary.words) if word in SENTENCE_ENDS]
        found, place, after_end = [texts.splits[:-1][texts.lengths > 0], np.array([len(texts.ids)])], 0, False
        for part in corpora.slices(texts.ids):
            is_end = np.isin(part, marks)
            starts: np.ndarray = np.append(after_end, is_end[:-1]) & ~is_end  # "..." and "?!" end one sentence
            found.append(place + np.flatnonzero(starts))
            place, after_end = place + len(part), is_end[-1]
        self.starts = np.unique(np.concatenate(found))  # the next start is the end of a sentence
        self.first = np.searchsorted(self.starts, texts.splits)  # number of the first sentence of each text

    def draw(self, epoch: int, share: float = 1.0) -> Spans:
        """Draws a piece of about this share of the texts, and leaves the others whole.

        A piece is one to all but one of the sentences of its text, or one to all of the words of one of its sentences.
        Small numbers are more frequent: the logarithm of the number is uniform. A piece that happens to be the whole
        text counts as whole.
        """
        random = np.random.default_rng((self.seed, epoch, STREAM))
        draws = random.random((5, len(self.splits) - 1))
        begins, ends = self.splits[:-1].copy(), self.splits[1:].copy()
        whole = ends - begins
        rows = np.flatnonzero((draws[0] < share) & (whole > 1))
        choice, length, place, sentence = draws[1:, rows]
        first, sentences = self.first[rows], self.first[rows + 1] - self.first[rows]
        is_part = (choice < PARTS) | (sentences == 1)
        number = log_uniform(length, sentences - 1)
        start = first + (place * (sentences - number + 1)).astype(np.int64)
        begins[rows], ends[rows] = self.starts[start], self.starts[start + number]
        chosen = (first + (sentence * sentences).astype(np.int64))[is_part]
        words = self.starts[chosen + 1] - self.starts[chosen]
        number = log_uniform(length[is_part], words)
        parts = rows[is_part]
        begins[parts] = self.starts[chosen] + (place[is_part] * (words - number + 1)).astype(np.int64)
        ends[parts] = begins[parts] + number
        return Spans(begins, ends, ends - begins < whole)


def log_uniform(draws: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Returns int64 from 1 to `largest` (at least 1), for uniform numbers from 0 to 1."""
    largest = np.maximum(largest, 1)
    return np.minimum((largest + 1.0) ** draws, largest).astype(np.int64)


def certainty(lengths: np.ndarray, softness: float) -> np.ndarray:
    """Returns c, how much a piece of so many words says what the whole says: float64[pieces] for int[pieces]."""
    return lengths / np.maximum(lengths + softness, 1)


def take(texts: Texts, spans: Spans, change: Callable[[np.ndarray, Spans], np.ndarray] | None = None) -> Texts:
    """Returns the examples; in files without a name if the texts are in files.

    Args:
        change: change(ids, spans) returns other ids for some of the examples, one after the other. It is called for all
            of them, in their order.
    """

    def write(append: corpora.Append) -> dict:
        append("ids", np.zeros(0, np.int32))
        splits = corpora.Splits(append, "splits")
        for start in range(0, len(spans.begins), TEXTS_AT_ONCE):
            part = spans.rows(slice(start, start + TEXTS_AT_ONCE))
            lengths = part.lengths
            shifts = np.repeat(part.begins - np.cumsum(lengths) + lengths, lengths)
            ids = texts.ids[shifts + np.arange(len(shifts))]
            append("ids", ids if change is None else change(ids, part))
            splits.add(lengths)
            texts.release()
        return {"cut": 0}

    return Texts.of(corpora.in_temporary_files(texts.folder, write))


def soft_targets(texts: LabelledTexts, spans: Spans, softness: float, beliefs: np.ndarray | None = None) -> np.ndarray:
    """Returns the targets of the examples, float32[texts, classes].

    Args:
        spans: of all texts.
        softness: words.
        beliefs: float[texts, classes], used for pieces; None: the same probability for every label.
    """
    uniform = np.full_like(texts.targets, 1 / texts.targets.shape[1])
    c = np.where(spans.is_piece, certainty(spans.lengths, softness), 1.0)[:, None]
    targets = c * texts.targets + (1 - c) * (uniform if beliefs is None else beliefs)
    return targets.astype(np.float32)


def draw_all(texts: LabelledTexts, vocabulary: Vocabulary, seed: int, draws: int) -> LabelledTexts:
    """Returns as many pieces of each text of two words or more, with the target of the text."""
    pieces = Pieces(texts, vocabulary, seed)
    found = LabelledTexts(texts.ids[:0], texts.splits[:1], 0, texts.targets[:0])
    for number in range(draws):
        spans = pieces.draw(number)
        cut = take(texts, spans.rows(spans.is_piece))
        found += LabelledTexts(**vars(cut), targets=texts.targets[spans.is_piece])
    return found


def known_words(texts: Texts, unknown: int) -> np.ndarray:
    """Returns int64[texts], the number of words of each text that are known."""
    counted = np.concatenate([[0], np.cumsum(texts.ids != unknown)])
    return counted[texts.splits[1:]] - counted[texts.splits[:-1]]

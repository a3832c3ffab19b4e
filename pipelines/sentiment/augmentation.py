"""The training examples of each epoch: whole reviews and pieces of reviews, with strong words dropped.

A strong word predicts the label by its presence alone, as in naive Bayes. Where it is dropped, the classifier has to
read the rest of the review.
"""

import numpy as np

from layers.text import UNKNOWN, Vocabulary
from pipelines.sentiment.pieces import TEXTS_AT_ONCE, Pieces, Spans, soft_targets, take
from pipelines.sentiment.word_ids import LabelledTexts

STRONG = 0.5  # log-odds of a strong word: it is exp(0.5) = 1.6 times as frequent with a label as without it
ERRORS = 3  # standard errors that the log-odds are away from 0: most rare words are of one label by chance
STREAM = 2  # of random numbers: see pieces.STREAM


class Augmentation:
    """Makes the training examples of each epoch, which depend only on the seed and the epoch.

    Args:
        texts: the training texts.
        vocabulary: that of the texts.
        pieces: share of the texts that are replaced by a piece.
        piece_softness: words of a piece whose target is halfway between that of its text and the belief about it.
        strong_word_dropout: share of the strong words that are dropped.
        seed: of the changes.

    Attributes:
        beliefs: float32[epochs, texts, classes], probabilities of the labels of the pieces of each epoch. None: the
            same for every label.
    """

    def __init__(
        self,
        texts: LabelledTexts,
        vocabulary: Vocabulary,
        *,
        pieces: float,
        piece_softness: float,
        strong_word_dropout: float,
        seed: int,
    ):
        self.texts, self.share, self.softness, self.seed = texts, pieces, piece_softness, seed
        self.pieces = Pieces(texts, vocabulary, seed) if pieces else None
        self.dropout = strong_word_dropout
        self.strong = find_strong_words(texts, len(vocabulary)) if strong_word_dropout else None
        self.beliefs: np.ndarray | None = None

    def draw(self, epoch: int) -> Spans:
        """Draws the pieces of an epoch."""
        if self.pieces:
            return self.pieces.draw(epoch, self.share)
        begins, ends = self.texts.splits[:-1], self.texts.splits[1:]
        return Spans(begins, ends, np.zeros(len(begins), bool))

    def epoch(self, epoch: int) -> LabelledTexts:
        """Returns the examples of an epoch: one of each text, in their order."""
        strong = self.strong
        if not self.pieces and strong is None:
            return self.texts
        random = np.random.default_rng((self.seed, epoch, STREAM))

        def drop_strong_words(ids: np.ndarray, spans: Spans) -> np.ndarray:
            # Not in pieces, some of which would have no word left that says anything.
            dropped = random.random(len(ids), np.float32) < self.dropout
            assert strong is not None
            dropped &= strong[ids] & np.repeat(~spans.is_piece, spans.lengths)
            return np.where(dropped, np.int32(UNKNOWN), ids)

        spans, targets = self.draw(epoch), self.texts.targets
        found = take(self.texts, spans, None if strong is None else drop_strong_words)
        if self.pieces:
            beliefs = None if self.beliefs is None else self.beliefs[epoch]
            targets = soft_targets(self.texts, spans, self.softness, beliefs)
        return LabelledTexts(**vars(found), targets=targets)


def find_strong_words(texts: LabelledTexts, size: int) -> np.ndarray:
    """Returns bool[size], the words whose presence in a text changes the odds of a label by exp(STRONG) or more:

        d = log P(word | label) - log P(word | other labels),  |d| >= STRONG,  |d| >= ERRORS sqrt(1 / n + 1 / m)

    with the probabilities n / (texts of the label + 2) and m / (other texts + 2), n and m being the numbers of these
    texts that have the word, plus 1 (Laplace smoothing). Texts are counted by their targets.
    """
    totals = texts.targets.sum(axis=0, dtype=np.float64)[:, None]
    counts = np.zeros((len(totals), size))
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        splits = texts.splits[start : start + TEXTS_AT_ONCE + 1]
        rows = np.repeat(np.arange(start, start + len(splits) - 1), np.diff(splits))
        present = np.unique(rows * size + texts.ids[splits[0] : splits[-1]])
        rows, words = present // size, present % size
        for count, weights in zip(counts, texts.targets.T, strict=True):
            np.add.at(count, words, weights[rows])
        texts.release()
    n, m = counts + 1, counts.sum(axis=0) - counts + 1
    d = np.abs(np.log(n / (totals + 2)) - np.log(m / (totals.sum() - totals + 2)))
    return ((d >= STRONG) & (d >= ERRORS * np.sqrt(1 / n + 1 / m))).any(axis=0)

"""The training examples of each epoch: whole reviews and pieces of reviews, with strong words dropped.

A strong word predicts the label by its presence alone, as in naive Bayes. Where it is dropped, the classifier has to
read the rest of the review.
"""

import numpy as np

from layers.text import UNKNOWN, Vocabulary
from pipelines.sentiment.dataset import LabelledTexts
from pipelines.sentiment.pieces import Pieces, Spans, take_labelled

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
        self.pieces = Pieces(texts, vocabulary, seed)
        self.dropout = strong_word_dropout
        self.strong = find_strong_words(texts, len(vocabulary)) if strong_word_dropout else None
        self.beliefs: np.ndarray | None = None

    def draw(self, epoch: int) -> Spans:
        """Draws the pieces of an epoch."""
        return self.pieces.draw(epoch, self.share)

    def epoch(self, epoch: int) -> LabelledTexts:
        """Returns the examples of an epoch: one of each text, in their order."""
        texts, is_piece = self.texts, np.zeros(len(self.texts), bool)
        if self.share:
            spans = self.draw(epoch)
            beliefs = None if self.beliefs is None else self.beliefs[epoch]
            texts, is_piece = take_labelled(texts, spans, self.softness, beliefs), spans.is_piece
        if self.strong is not None:
            # Not in pieces, some of which would have no word left that says anything.
            random = np.random.default_rng((self.seed, epoch, STREAM))
            dropped = random.random(len(texts.ids), np.float32) < self.dropout
            dropped &= self.strong[texts.ids] & np.repeat(~is_piece, texts.lengths)
            ids = np.where(dropped, np.int32(UNKNOWN), texts.ids)
            texts = LabelledTexts(ids, texts.splits, texts.cut, texts.targets)
        return texts


def find_strong_words(texts: LabelledTexts, size: int) -> np.ndarray:
    """Returns bool[size], the words whose presence in a text changes the odds of a label by exp(STRONG) or more:

        d = log P(word | label) - log P(word | other labels),  |d| >= STRONG,  |d| >= ERRORS sqrt(1 / n + 1 / m)

    with the probabilities n / (texts of the label + 2) and m / (other texts + 2), n and m being the numbers of these
    texts that have the word, plus 1 (Laplace smoothing). Texts are counted by their targets.
    """
    rows = np.repeat(np.arange(len(texts)), texts.lengths)
    present = np.unique(rows * size + texts.ids)
    rows, words = present // size, present % size
    totals = texts.targets.sum(axis=0, dtype=np.float64)[:, None]
    counts = np.stack([np.bincount(words, weights[rows], size) for weights in texts.targets.T])
    n, m = counts + 1, counts.sum(axis=0) - counts + 1
    d = np.abs(np.log(n / (totals + 2)) - np.log(m / (totals.sum() - totals + 2)))
    return ((d >= STRONG) & (d >= ERRORS * np.sqrt(1 / n + 1 / m))).any(axis=0)

"""The training examples of each epoch: whole reviews and pieces of reviews, with strong words dropped.

A strong word predicts the label by its presence alone, as in naive Bayes. Where it is dropped, the classifier has to
read the rest of the review.
"""

import numpy as np

from layers.text import UNKNOWN, Vocabulary
from pipelines.sentiment.config import AugmentationConfig
from pipelines.sentiment.dataset import LabelledTexts
from pipelines.sentiment.pieces import Pieces, Spans, take_labelled

STRONG = 0.5  # log-odds of a strong word: it is exp(0.5) = 1.6 times as frequent with a label as without it
STREAM = 2  # of random numbers: see pieces.STREAM


class Augmentation:
    """Makes the training examples of each epoch, which depend only on the seed and the epoch.

    Args:
        texts: the training texts.
        vocabulary: that of the texts.
        options: what is changed.
        seed: of the changes.
    """

    def __init__(self, texts: LabelledTexts, vocabulary: Vocabulary, options: AugmentationConfig, seed: int):
        self.texts, self.options, self.seed = texts, options, seed
        self.pieces = Pieces(texts, vocabulary, seed) if options.pieces else None
        self.strong = find_strong_words(texts, len(vocabulary)) if options.strong_word_dropout else None
        self.beliefs: np.ndarray | None = None

    def draw(self, epoch: int) -> Spans:
        """Draws the pieces of an epoch. They do not depend on anything but the texts, --pieces and the seed."""
        assert self.pieces is not None
        return self.pieces.draw(epoch, self.options.pieces)

    def epoch(self, epoch: int) -> LabelledTexts:
        """Returns the examples of an epoch; those of row n are of text n.

        The beliefs about the pieces are `self.beliefs`, float32[epochs, texts, classes], if that is set.
        """
        texts, is_piece = self.texts, np.zeros(len(self.texts), bool)
        if self.pieces:
            spans = self.draw(epoch)
            beliefs = None if self.beliefs is None else self.beliefs[epoch]
            texts, is_piece = take_labelled(texts, spans, self.options.piece_softness, beliefs), spans.is_piece
        if self.strong is not None:
            # Not in pieces, some of which would have no word left that says anything.
            random = np.random.default_rng((self.seed, epoch, STREAM))
            dropped = random.random(len(texts.ids), np.float32) < self.options.strong_word_dropout
            dropped &= self.strong[texts.ids] & np.repeat(~is_piece, texts.lengths)
            ids = np.where(dropped, np.int32(UNKNOWN), texts.ids)
            texts = LabelledTexts(ids, texts.splits, texts.cut, texts.targets)
        return texts


def find_strong_words(texts: LabelledTexts, size: int) -> np.ndarray:
    """Returns bool[size], the words whose presence in a text changes the odds of a label by exp(STRONG) or more:

        |log P(word | label) - log P(word | other labels)| >= STRONG

    with the probabilities (texts with the word + 1) / (texts + 2), texts counted by their targets (Laplace smoothing).
    """
    rows = np.repeat(np.arange(len(texts)), texts.lengths)
    present = np.unique(rows * size + texts.ids)
    rows, words = present // size, present % size
    totals = texts.targets.sum(axis=0, dtype=np.float64)
    counts = np.stack([np.bincount(words, texts.targets[rows, k], size) for k in range(len(totals))])
    own = np.log((counts + 1) / (totals[:, None] + 2))
    others = np.log((counts.sum(axis=0) - counts + 1) / (totals.sum() - totals[:, None] + 2))
    return (np.abs(own - others) >= STRONG).any(axis=0)

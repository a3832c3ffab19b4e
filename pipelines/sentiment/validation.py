"""Validation of a classifier on whole reviews and on pieces of them, and its calibration."""

import keras
import numpy as np

from layers.text import UNKNOWN, Vocabulary
from pipelines.common import metrics
from pipelines.common.training import calibration
from pipelines.sentiment.config import Config
from pipelines.sentiment.evaluate import make_predictor, predict_logits
from pipelines.sentiment.length_calibration import knot_weights
from pipelines.sentiment.model import LENGTH_CALIBRATION
from pipelines.sentiment.pieces import certainty, draw_all, known_words
from pipelines.sentiment.word_ids import LabelledTexts

DRAWS = 4  # pieces of each review


class Validation:
    """Scores and calibrates a classifier.

    Args:
        model: the classifier.
        texts: the validation reviews, in the vocabulary and with the labels of the model.
        vocabulary: that of the model.
        config: of the run that is trained.
        with_pieces: also read pieces of the reviews, the same ones each time.
    """

    def __init__(
        self, model: keras.Model, texts: LabelledTexts, vocabulary: Vocabulary, config: Config, with_pieces: bool
    ):
        self.model, self.config = model, config
        self.predictor = make_predictor(model)
        self.reviews, self.texts = len(texts), texts
        if with_pieces:
            self.texts += draw_all(texts, vocabulary, config.training.seed, DRAWS)

    def predict(self) -> np.ndarray:
        """Returns the logits float32[reviews + pieces, classes]."""
        return predict_logits(self.predictor, self.texts, self.config.data)

    def scores(self) -> dict[str, float]:
        """Returns val_loss and val_accuracy of the whole reviews, and val_pieces_loss and val_pieces_accuracy: whether
        a piece says the label of its review."""
        logits, labels = self.predict(), self.texts.labels
        parts = {"": slice(self.reviews)}
        if len(labels) > self.reviews:
            parts["pieces_"] = slice(self.reviews, None)
        scores = {}
        for name, part in parts.items():
            scores[f"val_{name}loss"] = metrics.cross_entropy(logits[part], labels[part])
            scores[f"val_{name}accuracy"] = float((logits[part].argmax(axis=1) == labels[part]).mean())
        return scores

    def weights(self) -> np.ndarray:
        """Returns float[reviews + pieces]. With --class-weights all labels count the same, as in training: otherwise
        the biases would undo the class weights."""
        labels = self.texts.labels
        if not self.config.loss.class_weights:
            return np.ones(len(labels))
        return metrics.class_weights(labels[: self.reviews], self.texts.targets.shape[1])[labels]

    def calibrate(self) -> dict:
        """Fits a scale and biases to the reviews (--calibrate), and stores them in the head of the model."""
        part, head = slice(self.reviews), self.model.get_layer("head")
        scale, bias = calibration.fit(self.predict()[part], self.texts.labels[part], self.weights()[part])
        head.set_weights(calibration.fold(scale, bias, *head.get_weights()))
        return {"calibration": {"scale": scale, "bias": bias.tolist(), **self.scores()}}

    def calibrate_lengths(self) -> dict:
        """Fits scales and biases by length (--calibrate-lengths), and stores them in the model."""
        scales, biases = self.fit_lengths()
        self.model.get_layer(LENGTH_CALIBRATION).set_weights([scales, biases])
        return {"calibration": {"scale": scales.tolist(), "bias": biases.tolist(), **self.scores()}}

    def fit_lengths(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the scales float64[knots] and biases float64[knots, classes] of LengthCalibration.

        A piece of n words is assumed to say the opposite of its review with the probability --piece-noise (1 - c), with
        the c of pieces.py. Otherwise short texts would be under-confident: the label of a review is a worse label of a
        sentence than what a person says who reads the sentence alone.
        """
        c = certainty(self.texts.lengths, self.config.augmentation.piece_softness)
        noise = self.config.loss.piece_noise * (1 - c)
        noise[: self.reviews] = 0
        return calibration.fit_by(length_weights(self.texts), self.predict(), self.texts.labels, self.weights(), noise)


def length_weights(texts) -> np.ndarray:
    """Returns float32[texts, knots], the weights of the knots of LengthCalibration."""
    return np.asarray(knot_weights(known_words(texts, UNKNOWN)))

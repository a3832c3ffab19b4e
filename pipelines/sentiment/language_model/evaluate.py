"""The perplexity of a language model."""

import math

import numpy as np
import tensorflow as tf

from layers import losses
from pipelines.common.data.loading import FILLER, plan_batches
from pipelines.sentiment.language_model.config import Config
from pipelines.sentiment.language_model.dataset import Lookup, count_steps
from pipelines.sentiment.language_model.model import LanguageModel
from pipelines.sentiment.word_ids import Texts

MAX_STEPS = 16_000  # of a batch, padding included
MAX_TEXTS = 128  # of a batch


class Perplexity:
    """Measures the exact perplexity of held-out texts, each from the initial state: it does not depend on how training
    cuts its streams.

    A call returns `val_loss`, the mean of -log p of a word (the end of a text is one), and `val_perplexity`, its
    exponential, over all directions; with two directions also the perplexity of each.

    Args:
        model: the language model.
        texts: the held-out texts.
        objective: "next-word" or "autoencoder".
        max_words: number of words after which no more texts are used. 0: use all.
        seed: decides which texts are used, since a file may be sorted.
    """

    def __init__(self, model: LanguageModel, texts: Texts, *, objective: str, max_words: int, seed: int):
        self.model, self.objective = model, objective
        self.texts, self.lookup = texts, Lookup(texts, objective)
        lengths = texts.lengths
        self.chosen = np.random.default_rng(seed).permutation(len(texts))
        if max_words:
            within = np.cumsum(lengths[self.chosen] + 1) <= max_words
            self.chosen = self.chosen[: max(int(within.sum()), 1)].copy()
        self.steps = count_steps(lengths[self.chosen], objective)
        ids = dict.fromkeys(model.directions, tf.TensorSpec([None, None], tf.int32))
        signature = [ids, ids, tf.TensorSpec([None, None], tf.float32)]
        self.measure = tf.function(self.measure, input_signature=signature, autograph=False)

    def __call__(self) -> dict[str, float]:
        totals, words = dict.fromkeys(self.model.directions, 0.0), 0.0
        for rows, steps in plan_batches(self.steps, max_rows=MAX_TEXTS, max_steps=MAX_STEPS):
            texts = self.chosen[rows[rows != FILLER], None]
            inputs, targets, weights = {}, {}, np.zeros(0, np.float32)
            for direction in self.model.directions:
                inputs[direction], targets[direction], weights = self.lookup(texts, np.arange(steps), direction)
            self.texts.release()
            batch_totals, batch_words = self.measure(inputs, targets, weights)
            totals = {direction: totals[direction] + float(total) for direction, total in batch_totals.items()}
            words += float(batch_words)
        means = {direction: total / words for direction, total in totals.items()}
        mean = sum(means.values()) / len(means)
        scores = {"val_loss": mean, "val_perplexity": math.exp(mean)}
        if len(means) > 1:
            scores |= {f"val_perplexity_{direction}": math.exp(value) for direction, value in means.items()}
        return scores

    def measure(self, inputs, targets, weights):
        """direction -> int32[rows, time] inputs and targets, float32[rows, time] -> (direction -> sum of -log p, number
        of words)."""
        outputs, _ = self.model.outputs(inputs, self.model.initial_state(tf.shape(weights)[0]))
        places = tf.where(weights > 0)  # int64[words, 2]
        totals = {}
        for direction in self.model.directions:
            nll = losses.negative_log_likelihood(
                tf.gather_nd(outputs[direction], places),
                self.model.softmax.kernel,
                self.model.softmax.bias,
                tf.gather_nd(targets[direction], places),
            )
            totals[direction] = tf.reduce_sum(tf.cast(nll, tf.float64))
        return totals, tf.reduce_sum(weights)


def make_perplexity(model: LanguageModel, config: Config, texts: Texts) -> Perplexity:
    """Makes the perplexity of a configuration."""
    return Perplexity(
        model,
        texts,
        objective=config.windows.objective,
        max_words=config.loss.validation_words,
        seed=config.data.split_seed,
    )

"""Training of the language model, by truncated back-propagation through time, and its perplexity."""

import math

import numpy as np
import tensorflow as tf

from layers import losses
from layers.sampled_softmax import sampled_cross_entropy
from layers.text import GENERATION, Vocabulary
from pipelines.common.data.batching import FILLER, plan_batches
from pipelines.common.data.loading import text_batches
from pipelines.common.errors import UserError
from pipelines.common.files import atomic_write
from pipelines.common.runs import Run
from pipelines.common.training import strategies
from pipelines.common.training.loop import Trainer
from pipelines.common.training.tbptt import TruncatedBPTT
from pipelines.sentiment import corpus, dataset
from pipelines.sentiment.evaluate import report_cut
from pipelines.sentiment.language_model import LanguageModel, make_language_model
from pipelines.sentiment.model import VOCABULARY_FILE, load_vocabulary, make_preprocessing
from pipelines.sentiment.preprocessing import learn_vocabulary
from pipelines.sentiment.pretraining_config import LANGUAGE_MODEL, PretrainingConfig
from pipelines.sentiment.reviews import Reviews
from pipelines.sentiment.streams import Lookup, Streams, steps_of

STEPS_AT_ONCE = 16_000  # of a batch in which perplexity is measured, padding included
TEXTS_AT_ONCE = 128


def pretrain(config: PretrainingConfig, preset: str | None = None) -> dict:
    """Trains the run of a config, or goes on with it, or reports it when it is finished; gives its summary."""
    # A run that exists answers at once; a new one is made only when its data was found good.
    run = Run.start(config.run, LANGUAGE_MODEL, config, preset) if (config.run / "config.json").is_file() else None
    if run and run.finished:
        report(run)
        return run.summary
    parts = corpus.load(config)
    stored = run and (run.path / VOCABULARY_FILE).is_file()
    vocabulary = load_vocabulary(run) if stored else learn(config, parts["train"])
    preprocessing = make_preprocessing(config, vocabulary)
    encoded = {part: dataset.encode_texts(found, preprocessing) for part, found in parts.items()}
    for part, texts in encoded.items():
        if not len(texts.ids):
            raise UserError(f"--data {config.data} has no word in the part {part}")
        report_cut(texts, config)
    run = run or Run.start(config.run, LANGUAGE_MODEL, config, preset)
    with run:
        with atomic_write(run.path / VOCABULARY_FILE) as file:
            file.write(vocabulary.to_text())
        summary = fit(run, config, encoded, vocabulary)
    report(run)
    return summary


def learn(config: PretrainingConfig, reviews: Reviews) -> Vocabulary:
    """The vocabulary of the training texts, with the words that begin and end a text."""
    return learn_vocabulary(
        text_batches(reviews.texts),
        size=config.vocabulary_size,
        min_count=config.min_count,
        reserved=GENERATION,
        **config.limits,
    )


def fit(run: Run, config: PretrainingConfig, encoded: dict[str, dataset.Texts], vocabulary: Vocabulary) -> dict:
    """Builds the model and trains it."""
    model = build(config, vocabulary)
    model.softmax.begin_with(encoded["train"].ids, len(encoded["train"]))
    streams = make_streams(config, encoded["train"])
    perplexity = Perplexity(model, encoded["validation"], config)
    return Trainer(
        model,
        run=run,
        options=config.training,
        data=streams.epoch,
        loss=make_step(model, config),
        validate=perplexity,
        monitor="val_perplexity",
        mode="min",
    ).train()


def build(config: PretrainingConfig, vocabulary: Vocabulary) -> LanguageModel:
    """The model under the strategy and precision of the config, its random numbers from the config's seed."""
    return strategies.build(config.training, lambda: make_language_model(config, vocabulary))


def make_streams(config: PretrainingConfig, texts: dataset.Texts) -> Streams:
    return Streams(
        texts,
        k1=config.k1,
        k2=config.k2,
        rows=config.streams,
        objective=config.objective,
        directions=config.directions,
        carried=config.carried,
        seed=config.training.seed if config.shuffle else None,
    )


def make_step(model: LanguageModel, config: PretrainingConfig) -> TruncatedBPTT:
    """What the training loop calls with each window; it carries the state of every stream."""
    return TruncatedBPTT(
        model.read,
        model.initial_state,
        make_loss(model, config),
        k1=config.k1,
        k2=config.k2,
        batch_size=config.streams,
    )


def make_loss(model: LanguageModel, config: PretrainingConfig):
    """loss(outputs, targets, weights) -> name -> (total, weight): cross-entropy in nats for each word, over all
    directions, exact or estimated."""

    def loss(outputs, targets, weights):
        read = tf.concat([tf.reshape(outputs[d], [-1, model.readout_width]) for d in model.directions], axis=0)
        targets = tf.concat([tf.reshape(targets[d], [-1]) for d in model.directions], axis=0)
        weights = tf.tile(tf.reshape(weights, [-1]), [len(model.directions)])
        words = tf.reduce_sum(weights)
        softmax = (model.softmax.kernel, model.softmax.bias)
        if config.softmax == "full":
            total, _ = losses.cross_entropy(read, *softmax, targets, weights, xla=config.training.xla)
            return {"loss": (total, words)}
        if not config.carried and not config.training.xla:  # much of a window may be empty, or only read
            counts = tf.where(weights > 0)[:, 0]
            read, targets, weights = (tf.gather(values, counts) for values in (read, targets, weights))
        samples = min(config.softmax_samples, model.vocabulary_size)
        total = sampled_cross_entropy(read, *softmax, targets, weights, samples=samples, seed=model.random)
        return {"loss": (total, words)}

    return loss


class Perplexity:
    """Exact perplexity on held-out texts, each read by itself from the initial state: it does not depend on how
    training cuts its streams.

    Calling it gives `val_loss`, the mean of -log p of a word (the end of a text is one), and `val_perplexity`, its
    exponential, over all directions; with two directions those of each.
    """

    def __init__(self, model: LanguageModel, texts: dataset.Texts, config: PretrainingConfig):
        self.model, self.objective = model, config.objective
        self.lookup = Lookup(texts, config.objective)
        self.lengths = texts.lengths
        # The order of the texts says nothing, but a file may be sorted.
        self.chosen = np.random.default_rng(config.split_seed).permutation(len(texts))
        if config.validation_words:
            within = np.cumsum(self.lengths[self.chosen] + 1) <= config.validation_words
            self.chosen = self.chosen[: max(int(within.sum()), 1)]
        signature = [tf.TensorSpec([None], tf.int64), tf.TensorSpec([], tf.int64)]
        self.measure = tf.function(self.measure, input_signature=signature, autograph=False)

    def __call__(self) -> dict[str, float]:
        plan = plan_batches(
            steps_of(self.lengths[self.chosen], self.objective), max_rows=TEXTS_AT_ONCE, max_steps=STEPS_AT_ONCE
        )
        totals, words = dict.fromkeys(self.model.directions, 0.0), 0.0
        for rows, steps in plan:
            found, counted = self.measure(tf.constant(self.chosen[rows[rows != FILLER]]), steps)
            totals = {direction: totals[direction] + float(total) for direction, total in found.items()}
            words += float(counted)
        means = {direction: total / words for direction, total in totals.items()}
        mean = sum(means.values()) / len(means)
        scores = {"val_loss": mean, "val_perplexity": math.exp(mean)}
        if len(means) > 1:
            scores |= {f"val_perplexity_{direction}": math.exp(value) for direction, value in means.items()}
        return scores

    def measure(self, texts, steps):
        """int64[rows] numbers of texts, int64[] steps -> (direction -> summed -log p, number of words)."""
        places = tf.range(steps)
        inputs, targets, weights = {}, {}, None
        for direction in self.model.directions:
            inputs[direction], targets[direction], weights = self.lookup(texts[:, None], places, direction)
        read, _ = self.model.read(inputs, self.model.initial_state(tf.shape(texts)[0]))
        counts = tf.where(weights > 0)
        totals = {}
        for direction in self.model.directions:
            nll = losses.negative_log_likelihood(
                tf.gather_nd(read[direction], counts),
                self.model.softmax.kernel,
                self.model.softmax.bias,
                tf.gather_nd(targets[direction], counts),
            )
            totals[direction] = tf.reduce_sum(tf.cast(nll, tf.float64))
        return totals, tf.reduce_sum(weights)


def report(run: Run):
    """One line about a finished run."""
    summary = run.summary
    print(
        f"{run.path}: finished, validation perplexity {summary['best_score']:.2f} after epoch {summary['best_epoch']}"
        f" of {summary['epochs']}, {summary['seconds']:.0f} s"
    )

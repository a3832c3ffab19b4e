"""Training from a random start or from a language model, and fine-tuning from another run."""

import contextlib

import keras
import numpy as np
import tensorflow as tf

from layers.text import UNKNOWN, Vocabulary
from pipelines.common import metrics
from pipelines.common.data.loading import text_batches
from pipelines.common.errors import UserError
from pipelines.common.files import atomic_write, write_json
from pipelines.common.runs import Run
from pipelines.common.training import calibration, strategies
from pipelines.common.training.fine_tuning import refuse_changes
from pipelines.common.training.loop import Trainer
from pipelines.sentiment import dataset, self_training, warm_start
from pipelines.sentiment.config import Config
from pipelines.sentiment.evaluate import make_predictor, predict_logits, report_cut
from pipelines.sentiment.language_model import TrainedLanguageModel, load_language_model, open_language_model
from pipelines.sentiment.model import (
    LABELS_FILE,
    VOCABULARY_FILE,
    Trained,
    load_names,
    load_trained,
    load_vocabulary,
    make_model,
    make_preprocessing,
)
from pipelines.sentiment.preprocessing import learn_vocabulary
from pipelines.sentiment.reviews import Reviews, join

# What a run inherits from the one it is fine-tuned from: another value would not fit the weights.
INHERITED = ("cell", "units", "layers", "bidirectional", "pooling", "embedding_units", "lower_case")


def train(config: Config, preset: str | None = None) -> dict:
    """Trains the run of a config, or goes on with it, or reports it when it is finished; gives its summary."""
    # A run that exists answers at once; a new one is made only when its data was found good.
    run = Run.start(config.run, "sentiment", config, preset) if (config.run / "config.json").is_file() else None
    if run and run.finished:
        report(run)
        return run.summary
    base = load_trained(Run.open(config.base, "sentiment")) if config.base else None
    if base:
        refuse_changes(config, base.config, INHERITED)
    learned = load_language_model(open_language_model(config.init_from)) if config.init_from else None
    if learned:
        warm_start.refuse_other_network(config, learned.config)
    reviews = dataset.load(config)
    names = choose_names(config, reviews, base)
    teachers = []
    if config.teachers:
        teachers = self_training.load_teachers(config, names)
        reviews["unlabelled"] = self_training.load_unlabelled(config, reviews)
    run = run or Run.start(config.run, "sentiment", config, preset)
    with run:
        everything = join(reviews["train"], reviews["unlabelled"]) if config.teachers else reviews["train"]
        vocabulary, names = prepare(run, config, everything, names, base, learned)
        if teachers:
            self_training.pseudo_label(run, teachers, reviews["unlabelled"], names)
        summary = fit(run, config, reviews, vocabulary, names, base, learned)
    report(run)
    return summary


def choose_names(config: Config, reviews: dict[str, Reviews], base: Trained | None) -> tuple[str, ...]:
    """The labels' names; UserError when the data cannot train a classifier.

    Fine-tuning keeps the names of the run it starts from when they fit the new labels.
    """
    if "validation" not in reviews:
        raise UserError(f"--data {config.data} has no part validation: expected one, or a --validation-share above 0")
    everything = join(reviews["train"], reviews["validation"])
    names = dataset.name_labels(everything, config.label_names)
    # Names that the layout of the data gives are never taken for the base's by their place: ham is not negative.
    if base and not config.label_names and set(everything.names) <= set(base.names):
        with contextlib.suppress(UserError):
            dataset.label_ids(everything, base.names)
            names = base.names
    for part, found in reviews.items():
        if not len(found):
            raise UserError(f"--data {config.data} has no reviews in the part {part}")
    present = np.unique(dataset.label_ids(reviews["train"], names))
    if len(present) < 2:
        raise UserError(
            f"--data {config.data}: all {len(reviews['train']):,} training reviews have the label"
            f" {names[present[0]]}; expected at least two different labels"
        )
    lacking = set(present) - set(dataset.label_ids(reviews["validation"], names))
    if config.calibrate and lacking:
        raise UserError(
            f"--calibrate fits the answers to the validation reviews, but none of these {len(reviews['validation']):,}"
            f" has the label {names[min(lacking)]}: expected every label there, or --no-calibrate"
        )
    return names


def prepare(
    run: Run,
    config: Config,
    reviews: Reviews,
    names: tuple[str, ...],
    base: Trained | None,
    learned: TrainedLanguageModel | None,
) -> tuple[Vocabulary, tuple[str, ...]]:
    """The vocabulary and names of the run: made and stored, or as stored before."""
    if (run.path / LABELS_FILE).is_file():
        return load_vocabulary(run), load_names(run)
    vocabulary = learn_vocabulary(
        text_batches(reviews.texts), size=config.vocabulary_size, min_count=config.min_count, **config.limits
    )
    if base:
        vocabulary = base.preprocessing.vocabulary.extend(vocabulary)
    if learned:
        vocabulary = warm_start.carry_over(learned.preprocessing.vocabulary, vocabulary, config.vocabulary_size)
    with atomic_write(run.path / VOCABULARY_FILE) as file:
        file.write(vocabulary.to_text())
    write_json(run.path / LABELS_FILE, list(names))
    return vocabulary, names


def fit(
    run: Run,
    config: Config,
    reviews: dict[str, Reviews],
    vocabulary: Vocabulary,
    names: tuple[str, ...],
    base: Trained | None,
    learned: TrainedLanguageModel | None,
) -> dict:
    """Builds the model and trains it."""
    options = config.training
    preprocessing = make_preprocessing(config, vocabulary)
    encoded = {part: dataset.encode(reviews[part], preprocessing, names) for part in ("train", "validation")}
    if config.teachers:
        unlabelled = self_training.encode(run, reviews["unlabelled"], preprocessing, names)
        encoded["train"] = dataset.join_encoded(encoded["train"], unlabelled)
    for part in encoded.values():
        report_cut(part, config)
    model = build(config, vocabulary, names)
    if base:
        transplant(base, model, vocabulary, names)
    if learned:
        warm_start.transplant(learned, model, vocabulary)
    predictor = make_predictor(model)
    limits = {"batch_reviews": config.batch_reviews, "batch_words": config.batch_words, "xla": options.xla}

    def data(epoch: int) -> tf.data.Dataset:
        return dataset.batches(encoded["train"], seed=options.seed, epoch=epoch, **limits)

    classes, labels = len(names), encoded["validation"].labels
    weights = metrics.class_weights(encoded["train"].labels, classes) if config.class_weights else np.ones(classes)

    def validate() -> dict[str, float]:
        logits = predict_logits(predictor, encoded["validation"], config)
        return {
            "val_loss": metrics.cross_entropy(logits, labels),
            "val_accuracy": float((logits.argmax(axis=1) == labels).mean()),
        }

    def calibrate() -> dict:
        logits, head = predict_logits(predictor, encoded["validation"], config), model.get_layer("head")
        # With --class-weights all labels count the same here, too; else the biases would undo them.
        own = metrics.class_weights(labels, classes)[labels] if config.class_weights else None
        scale, bias = calibration.fit(logits, labels, own)
        head.set_weights(calibration.fold(scale, bias, *head.get_weights()))
        return {"calibration": {"scale": scale, "bias": bias.tolist(), **validate()}}

    return Trainer(
        model,
        run=run,
        options=options,
        data=data,
        loss=make_loss(model, weights, config.label_smoothing, config.adversarial),
        validate=validate,
        monitor="val_accuracy",
        mode="max",
        parameter_groups=warm_start.parameter_groups(config, model),
        at_end=calibrate if config.calibrate else None,
    ).train()


def build(config: Config, vocabulary: Vocabulary, names: tuple[str, ...]) -> keras.Model:
    """The model under the strategy and precision of the config, its random numbers from the config's seed."""
    return strategies.build(config.training, lambda: make_model(config, vocabulary, names))


def make_loss(model: keras.Model, weights: np.ndarray, label_smoothing: float, adversarial: float = 0.0):
    """loss(batch, training) -> name -> (total, weight): cross-entropy with the targets in nats, each review weighed by
    its label.

    Args:
        weights: float[classes].
        adversarial: with a value above zero the loss is the sum of that of the review, and that of the review with its
            word vectors moved against it:

                g = d loss / d vectors,  r = adversarial * rms(vectors) * g / |g|

            The review as a whole is moved by |r|: Miyato et al. 2017, "Adversarial training methods for
            semi-supervised text classification", equation 4. They give all word vectors mean 0 and variance 1; here the
            length is measured in root mean squares of the review's own vectors, which comes to the same.
    """
    weights = tf.constant(weights, tf.float32)
    classes = len(weights)
    if adversarial:  # the model in two parts, to move what lies between
        between = [model.get_layer("embedding_dropout").output, model.get_layer("kept").output]
        embed, classify = keras.Model(model.input, between), keras.Model(between, model.output)

    def loss(batch, training: bool):
        targets = batch["targets"] * (1 - label_smoothing) + label_smoothing / classes
        weight = batch["real"] * tf.gather(weights, batch["labels"])

        def cross_entropy(logits):
            return tf.reduce_sum(tf.nn.softmax_cross_entropy_with_logits(targets, logits) * weight)

        if not adversarial:
            logits = model(batch["ids"], training=training)
            total = cross_entropy(logits)
        else:
            vectors, kept = embed(batch["ids"], training=training)
            with tf.GradientTape() as tape:
                tape.watch(vectors)
                logits = classify([vectors, kept], training=training)
                total = cross_entropy(logits)
            change = worst_change(tape.gradient(total, vectors), vectors, kept)
            moved = vectors + tf.cast(adversarial, vectors.dtype) * tf.stop_gradient(change)
            total += cross_entropy(classify([moved, kept], training=training))
        hits = tf.cast(tf.argmax(logits, axis=1, output_type=tf.int32) == batch["labels"], tf.float32)
        return {
            "loss": (total, tf.reduce_sum(weight)),
            "accuracy": (tf.reduce_sum(hits * batch["real"]), tf.reduce_sum(batch["real"])),
        }

    return loss


def worst_change(gradient, vectors, kept):
    """rms(vectors) * gradient / |gradient| for each review: float[batch, time, units], bool[batch, time]."""
    kept = tf.cast(kept[:, :, None], vectors.dtype)
    gradient *= kept
    elements = tf.reduce_sum(kept, axis=[1, 2], keepdims=True) * vectors.shape[-1]
    mean_square = tf.reduce_sum(tf.square(vectors * kept), axis=[1, 2], keepdims=True) / tf.maximum(elements, 1)
    length = tf.sqrt(tf.reduce_sum(tf.square(gradient), axis=[1, 2], keepdims=True))
    return tf.sqrt(mean_square) * gradient / tf.maximum(length, 1e-12)


def transplant(base: Trained, model: keras.Model, vocabulary: Vocabulary, names: tuple[str, ...]):
    """Gives the model what the run it starts from has learned.

    Known words keep their vectors; a new word begins with the vector of the unknown word, as which it was read so far.
    The head keeps its columns when the labels are the same (in any order), otherwise it starts anew.
    """
    for layer in base.model.layers:
        if layer.name not in ("embedding", "head"):
            model.get_layer(layer.name).set_weights(layer.get_weights())
    (known,) = base.model.get_layer("embedding").get_weights()
    new = np.repeat(known[UNKNOWN : UNKNOWN + 1], len(vocabulary) - len(known), axis=0)
    model.get_layer("embedding").set_weights([np.concatenate([known, new])])
    if sorted(names) == sorted(base.names):
        columns = [base.names.index(name) for name in names]
        kernel, bias = base.model.get_layer("head").get_weights()
        model.get_layer("head").set_weights([kernel[:, columns], bias[columns]])


def report(run: Run):
    """One line about a finished run."""
    summary = run.summary
    print(
        f"{run.path}: finished, validation accuracy {summary['best_score']:.4f} after epoch {summary['best_epoch']} of"
        f" {summary['epochs']}, {summary['seconds']:.0f} s"
    )
    if "calibration" in summary:
        found, before = summary["calibration"], summary["scores"]
        biases = ", ".join(f"{bias:+.2f} {name}" for bias, name in zip(found["bias"], load_names(run), strict=True))
        print(
            f"calibrated: logits times {found['scale']:.2f}, {biases};"
            f" validation loss {before['val_loss']:.4f} -> {found['val_loss']:.4f}, accuracy"
            f" {before['val_accuracy']:.4f} -> {found['val_accuracy']:.4f}"
        )

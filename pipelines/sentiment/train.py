"""Trains a classifier from random weights, word vectors, a language model, or another run (fine-tuning).

A review on its way to the loss:

    dataset.load            finds the files of a part; reviews.py reads their rows into the cache beside the run
    make_vocabulary         learns the words of the training reviews
    word_ids.encode         text -> words (preprocessing.py) -> ids (layers/text.py), once, into the cache as well
    Augmentation.epoch      the ids of an epoch: of whole reviews, or of pieces, with strong words dropped
    word_ids.batches        int32[batch, time], reviews of similar length, padded
    make_loss               ids -> model -> logits -> cross-entropy
"""

import sys
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from layers.text import Vocabulary
from pipelines.common import metrics
from pipelines.common.data import corpora
from pipelines.common.data.loading import load_labels, load_vocabulary
from pipelines.common.data.word_vectors import WordVectors
from pipelines.common.files import atomic_write, write_json
from pipelines.common.runs import Run
from pipelines.common.training import strategies
from pipelines.common.training.fine_tuning import refuse_changes
from pipelines.common.training.loop import Trainer
from pipelines.common.training.prologue import train_run
from pipelines.sentiment import dataset, fine_tuning, self_training, warm_start, word_ids
from pipelines.sentiment.augmentation import Augmentation
from pipelines.sentiment.config import Config
from pipelines.sentiment.evaluate import report_cut
from pipelines.sentiment.labels import choose_names, label_targets
from pipelines.sentiment.language_model import model as language_model
from pipelines.sentiment.language_model.config import TASK as LANGUAGE_MODEL
from pipelines.sentiment.length_calibration import KNOTS
from pipelines.sentiment.model import LABELS_FILE, Trained, load_trained, make_model
from pipelines.sentiment.preprocessing import VOCABULARY_FILE, Preprocessing, learn_vocabulary
from pipelines.sentiment.reviews import Reviews, all_texts
from pipelines.sentiment.validation import Validation

# Of the loss whose gradient --adversarial uses. It cancels in gradient / |gradient|, and keeps small float16 gradients
# from becoming zero.
GRADIENT_SCALE = 1024.0


def train(config: Config, preset: str | None = None) -> dict:
    """Trains the run of a configuration, resumes it, or reports it if it is finished. Returns its summary."""
    return train_run("sentiment", config, preset, train_new, report)


def train_new(run: Run, config: Config) -> dict:
    """Trains a run, or resumes it. Its folder is created after the data was checked."""
    base = load_trained(Run.open(config.base, "sentiment")) if config.base else None
    if base:
        refuse_changes(config.model, base.config.model)
        refuse_changes(config.text, base.config.text, ("lower_case", "split_negation"))
    learned = None
    if config.transfer.init_from:
        learned = language_model.load_trained(Run.open(config.transfer.init_from, LANGUAGE_MODEL))
        warm_start.refuse_other_architecture(config, learned.config)
    reviews = dataset.load(config.data, config.run.parent / corpora.CACHE)
    names = choose_names(config, reviews, base)
    teachers = []
    if config.transfer.teachers:
        teachers = self_training.load_teachers(config, names)
        reviews["unlabelled"] = self_training.find_unlabelled(config, reviews)
    stored = (run.path / LABELS_FILE).is_file()  # written after the vocabulary
    if stored:
        vocabulary, names = load_vocabulary(run.path / VOCABULARY_FILE), load_labels(run.path / LABELS_FILE)
    else:
        vocabulary = make_vocabulary(config, reviews, base, learned)
    if base and config.transfer.mixture:
        reviews |= fine_tuning.draw_mixture(config, base, reviews)
    vectors = warm_start.read_vectors(config, vocabulary)
    with run.create():
        if not stored:
            with atomic_write(run.path / VOCABULARY_FILE) as file:
                file.write(vocabulary.to_text())
            write_json(run.path / LABELS_FILE, list(names))
        if teachers:
            self_training.pseudo_label(run, teachers, reviews["unlabelled"], names)
        preprocessing = Preprocessing(vocabulary, **vars(config.text))
        model = strategies.build(config.training, lambda: make_model(config, vocabulary, names))
        if base:
            fine_tuning.copy_weights(base, model, vocabulary, names)
        if learned:
            warm_start.copy_weights(learned, model, vocabulary)
        if vectors:
            model.get_layer("embedding").set_weights([vectors.embeddings(config.training.seed)])
        return fit(run, model, config, reviews, preprocessing, names, vectors, teachers)


def make_vocabulary(
    config: Config, reviews: dict[str, Reviews], base: Trained | None, learned: language_model.Trained | None
) -> Vocabulary:
    """Learns the vocabulary from the training reviews and the unlabelled ones. It extends that of the run that training
    starts from."""
    texts = all_texts(reviews[part] for part in ("train", "unlabelled") if part in reviews)
    vocabulary = learn_vocabulary(texts, **vars(config.vocabulary), **vars(config.text))
    if base:
        return base.preprocessing.vocabulary.extend(vocabulary)
    if learned:
        size = config.vocabulary.vocabulary_size
        return warm_start.extend_vocabulary(learned.preprocessing.vocabulary, vocabulary, size)
    return vocabulary


def fit(
    run: Run,
    model: keras.Model,
    config: Config,
    reviews: dict[str, Reviews],
    preprocessing: Preprocessing,
    names: tuple[str, ...],
    vectors: WordVectors | None,
    teachers: Sequence[Trained],
) -> dict:
    """Trains the model. Returns the summary of the run. The coverage of the word vectors is reported.

    Args:
        teachers: those of --label-pieces; not needed if the run has the labels of pieces already.
    """
    options = config.training
    at_start = model.get_weights() if config.transfer.base_share else None  # before a checkpoint is restored
    train = encode_training(run, config, reviews, preprocessing, names)
    validation = word_ids.encode_labelled(reviews["validation"], preprocessing, names)
    if (mixture := fine_tuning.MIXTURES["validation"]) in reviews:
        validation += word_ids.encode_labelled(reviews[mixture], preprocessing, names)
    if vectors:
        print(vectors.coverage(train.ids), file=sys.stderr)
    report_cut(train, config.text)
    report_cut(validation, config.text)
    augmentation = Augmentation(train, preprocessing.vocabulary, **vars(config.augmentation), seed=options.seed)
    if config.transfer.label_pieces:
        augmentation.beliefs = self_training.piece_beliefs(run, teachers, reviews, augmentation, config, names)
    with_pieces = config.augmentation.pieces > 0 or config.loss.calibrate_lengths
    held_out = Validation(model, validation, preprocessing.vocabulary, config, with_pieces)
    weights = metrics.class_weights(train.labels, len(names)) if config.loss.class_weights else np.ones(len(names))

    def at_end() -> dict:
        found = {}
        if at_start:
            fine_tuning.average_weights(model, at_start, config.transfer.base_share)
            found["average"] = held_out.scores()
        for field, calibrate in (("calibrate", held_out.calibrate), ("calibrate_lengths", held_out.calibrate_lengths)):
            if getattr(config.loss, field):
                found |= calibrate()
        return found

    def data(epoch: int) -> tf.data.Dataset:
        return word_ids.batches(
            augmentation.epoch(epoch),
            batch_reviews=config.data.batch_reviews,
            batch_words=config.data.batch_words,
            seed=options.seed,
            epoch=epoch,
            xla=options.xla,
        )

    return Trainer(
        model,
        run=run,
        options=options,
        data=data,
        loss=make_loss(model, weights, config.loss.label_smoothing, config.loss.adversarial),
        validate=held_out.scores,
        monitor="val_accuracy",
        mode="max",
        parameter_groups=warm_start.parameter_groups(config.transfer, options, model),
        at_end=at_end,
    ).train()


def encode_training(
    run: Run, config: Config, reviews: dict[str, Reviews], preprocessing: Preprocessing, names: tuple[str, ...]
) -> word_ids.LabelledTexts:
    """Encodes the training reviews, those mixed into them, and the unlabelled ones with their pseudo-labels, into the
    cache beside the run."""
    parts = ["train", fine_tuning.MIXTURES["train"], "unlabelled"]
    found = {part: reviews[part] for part in parts if part in reviews}
    targets = [
        self_training.pseudo_labels(run, each, names) if part == "unlabelled" else label_targets(each, names)
        for part, each in found.items()
    ]
    texts = word_ids.encode(list(found.values()), preprocessing, config.run.parent / corpora.CACHE)
    return word_ids.LabelledTexts(**vars(texts), targets=np.concatenate(targets))


def make_loss(model: keras.Model, weights: np.ndarray, label_smoothing: float, adversarial: float = 0.0):
    """Returns loss(batch, training) -> name -> (total, weight): the cross-entropy with the targets, in nats, each
    review weighted by its label.

    Args:
        weights: float[classes].
        adversarial: above zero, the loss of each review is the sum of its own loss, and of that with a perturbation r
            added to its embeddings:

                g = d loss / d embeddings,  r = adversarial * rms(embeddings) * g / |g|

            See Miyato et al. 2017, "Adversarial training methods for semi-supervised text classification", equation 4.
            They normalize the embeddings to mean 0 and variance 1; here the norm of r is relative to the root mean
            square of the review's embeddings instead.
    """
    weights = tf.constant(weights, tf.float32)
    classes = len(weights)
    if adversarial:  # the model in two parts, to perturb what is in between
        between = [model.get_layer("embedding_dropout").output, model.get_layer("padding_mask").output]
        embed, classify = keras.Model(model.input, between), keras.Model(between, model.get_layer("head").output)

    def loss(batch, training: bool):
        targets = batch["targets"] * (1 - label_smoothing) + label_smoothing / classes
        weight = batch["real"] * tf.gather(weights, batch["labels"])

        def cross_entropy(logits):
            return tf.reduce_sum(tf.nn.softmax_cross_entropy_with_logits(targets, logits) * weight)

        if not adversarial:
            logits = model(batch["ids"], training=training)
            total = cross_entropy(logits)
        else:
            embeddings, padding_mask = embed(batch["ids"], training=training)
            with tf.GradientTape() as tape:
                tape.watch(embeddings)
                logits = classify([embeddings, padding_mask], training=training)
                total = cross_entropy(logits)
                scaled = GRADIENT_SCALE * total
            direction = perturbation(tape.gradient(scaled, embeddings), embeddings, padding_mask)
            perturbed = embeddings + tf.cast(adversarial, embeddings.dtype) * tf.stop_gradient(direction)
            total += cross_entropy(classify([perturbed, padding_mask], training=training))
        hits = tf.cast(tf.argmax(logits, axis=1, output_type=tf.int32) == batch["labels"], tf.float32)
        return {
            "loss": (total, tf.reduce_sum(weight)),
            "accuracy": (tf.reduce_sum(hits * batch["real"]), tf.reduce_sum(batch["real"])),
        }

    return loss


def perturbation(gradient, embeddings, padding_mask):
    """Returns rms(embeddings) * gradient / |gradient| of each review, float[batch, time, units].

    Args:
        gradient, embeddings: float[batch, time, units].
        padding_mask: bool[batch, time], where a word is.
    """
    exact = tf.float64 if embeddings.dtype == tf.float64 else tf.float32  # sums of squares overflow float16
    mask = tf.cast(padding_mask[:, :, None], exact)
    gradient, x = tf.cast(gradient, exact) * mask, tf.cast(embeddings, exact) * mask
    elements = tf.reduce_sum(mask, axis=[1, 2], keepdims=True) * x.shape[-1]
    mean_square = tf.reduce_sum(tf.square(x), axis=[1, 2], keepdims=True) / tf.maximum(elements, 1)
    norm = tf.sqrt(tf.reduce_sum(tf.square(gradient), axis=[1, 2], keepdims=True))
    return tf.cast(tf.sqrt(mean_square) * gradient / tf.maximum(norm, 1e-12), embeddings.dtype)


def report(run: Run):
    """Prints the scores of a finished run."""
    summary = run.summary
    print(
        f"{run.path}: finished, validation accuracy {summary['best_score']:.4f} after epoch {summary['best_epoch']} of"
        f" {summary['epochs']}, {summary['seconds']:.0f} s"
    )
    if "average" in summary:
        found = summary["average"]
        print(f"averaged with the run before: loss {found['val_loss']:.4f}, accuracy {found['val_accuracy']:.4f}")
    if "calibration" in summary:
        found, before = summary["calibration"], summary.get("average", summary["scores"])
        names = load_labels(run.path / LABELS_FILE)
        by_length = isinstance(found["scale"], list)
        points = zip(found["scale"], found["bias"], strict=True) if by_length else [(found["scale"], found["bias"])]
        for number, (scale, bias) in enumerate(points):
            biases = ", ".join(f"{value:+.2f} {name}" for value, name in zip(bias, names, strict=True))
            where = f", at {KNOTS[number]} known words" if by_length else ""
            print(f"calibrated{where}: logits times {scale:.2f}, {biases}")
        print(
            f"validation loss {before['val_loss']:.4f} -> {found['val_loss']:.4f}, accuracy"
            f" {before['val_accuracy']:.4f} -> {found['val_accuracy']:.4f}"
        )

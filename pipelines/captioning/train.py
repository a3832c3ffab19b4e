"""Trains a run from scratch or from another run, and goes on with one that was stopped."""

import sys

import numpy as np
import tensorflow as tf

from layers import losses
from layers.teacher_forcing import teacher_forcing
from layers.text import END, START, Vocabulary
from pipelines.captioning import batches, dataset
from pipelines.captioning.captions import Captioned
from pipelines.captioning.config import Config
from pipelines.captioning.decoder import feature_decoder
from pipelines.captioning.evaluate import FeatureExtractor, Perplexity
from pipelines.captioning.model import (
    VOCABULARY_FILE,
    CaptioningModel,
    Trained,
    load_trained,
    make_model,
    make_preprocessing,
)
from pipelines.captioning.preprocessing import Preprocessing, learn_vocabulary
from pipelines.captioning.scores import all_scores
from pipelines.common.data.loading import load_vocabulary, text_batches
from pipelines.common.errors import UserError
from pipelines.common.files import atomic_write
from pipelines.common.runs import Run
from pipelines.common.training import strategies
from pipelines.common.training.fine_tuning import refuse_changes, take_over
from pipelines.common.training.loop import Trainer
from pipelines.common.training.optimizers import ParameterGroup
from pipelines.common.vision import encoders

# What a run inherits from the one it is fine-tuned from: another value would not fit its weights, or not be read.
INHERITED = (
    "encoder", "weights", "image_size", "fit", "image", "cell", "layers", "units", "embedding_units", "tied",
)  # fmt: skip
LEFT_OUT_FILE = "left_out.tsv"


def train(config: Config, preset: str | None = None) -> dict:
    """Trains the run of a config, or goes on with it, or reports it when it is finished; gives its summary."""
    # A run that exists answers at once; a new one is made only when its data was found good.
    run = Run.start(config.run, "captioning", config, preset) if (config.run / "config.json").is_file() else None
    if run and run.finished:
        report(run)
        return run.summary
    base = load_trained(Run.open(config.base, "captioning")) if config.base else None
    if base:
        refuse_changes(config, base.config, INHERITED)
    parts = dataset.load(config)
    if "validation" not in parts:
        raise UserError(f"--data {config.data} has no part validation: expected one, or a --validation-share above 0")
    dataset.report_without_captions(parts)
    stored = run and (run.path / VOCABULARY_FILE).is_file()
    vocabulary = load_vocabulary(run.path / VOCABULARY_FILE) if stored else learn(config, parts["train"], base)
    preprocessing = make_preprocessing(config, vocabulary)
    model = build(config, preprocessing, base)
    parts = {part: parts[part] for part in ("train", "validation")}
    images = {part: prepare_images(config, parts[part], model, preprocessing, part) for part in parts}
    captions = {part: encode(config, images[part], preprocessing, part) for part in parts}
    if not base:
        model.softmax.initialize_bias(captions["train"].ids.flat_values.numpy(), len(captions["train"]))
    run = run or Run.start(config.run, "captioning", config, preset)
    with run:
        with atomic_write(run.path / VOCABULARY_FILE) as file:
            file.write(vocabulary.to_text())
        dataset.write_left_out(run.path / LEFT_OUT_FILE, images)
        summary = Training(config, preprocessing, model, images, captions).fit(run)
    report(run)
    return summary


def learn(config: Config, captioned: Captioned, base: Trained | None) -> Vocabulary:
    """The vocabulary of the captions; in fine-tuning that of the run it starts from, with new words behind."""
    found = learn_vocabulary(
        text_batches(captioned.captions),
        size=config.vocabulary,
        min_count=config.min_count,
        max_characters=config.max_characters,
    )
    return base.preprocessing.tokenizer.vocabulary.extend(found) if base else found


def build(config: Config, preprocessing: Preprocessing, base: Trained | None) -> CaptioningModel:
    """The model under the strategy and precision of the config, its random numbers from the config's seed, with what
    the run it starts from has learned."""
    weights = "none" if base else config.weights
    model = strategies.build(config.training, lambda: make_model(config, preprocessing, encoder_weights=weights))
    if base:
        take_over(model, base.model)
    encoders.set_trainable(model.encoder, config.finetune_cnn_after is not None, config.finetune_cnn_from)
    return model


def reads_pixels(config: Config, epoch: int) -> bool:
    """Whether training reads pixels in an epoch: the CNN learns in it, or never does and what it sees changes."""
    after = config.finetune_cnn_after
    return bool(config.augment) if after is None else epoch >= after


def prepare_images(
    config: Config, captioned: Captioned, model: CaptioningModel, preprocessing: Preprocessing, part: str
) -> dataset.Images:
    """The images of a part that can be used, with their features where an epoch of training reads these."""
    # What the CNN says of validation images holds as long as it does not learn.
    fixed = config.finetune_cnn_after != 0 if part == "validation" else not reads_pixels(config, 0)
    if fixed:
        found = dataset.with_features(captioned, model.encoder, config)
    else:
        found = dataset.with_pixels(captioned, preprocessing, config)
    dataset.report_left_out(part, found)
    return found


def encode(config: Config, images: dataset.Images, preprocessing: Preprocessing, part: str) -> dataset.Captions:
    """The captions of the images as ids; says on standard error how many were left out, and why."""
    found = dataset.encode(images.captioned, preprocessing)
    total = len(images.captioned.captions)
    if found.dropped:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in found.dropped.items())
        print(f"{part}: left out {reasons}, of {total:,} captions", file=sys.stderr)
    if not len(found):
        raise UserError(f"--data {config.data} has no caption to use in the part {part}: none of {total:,} is whole")
    return found


class Training:
    """What the training loop is given: the data of every epoch, the loss, and the validation."""

    def __init__(
        self,
        config: Config,
        preprocessing: Preprocessing,
        model: CaptioningModel,
        images: dict[str, dataset.Images],
        captions: dict[str, dataset.Captions],
    ):
        self.config, self.preprocessing, self.model = config, preprocessing, model
        self.images, self.captions = images, captions
        # Made once: each traces a graph, which takes longer than a small validation.
        decoder = feature_decoder(Trained(config, preprocessing, model))
        self.greedy = decoder.batched(beam_size=1, length_penalty=0.0)
        self.features, self.perplexity = FeatureExtractor(model, preprocessing), Perplexity(model)
        self.epoch = 0  # the last that was begun

    def fit(self, run: Run) -> dict:
        config = self.config
        groups = []
        if config.finetune_cnn_after is not None:
            weights = self.model.encoder.trainable_variables
            groups = [ParameterGroup(weights, config.cnn_learning_rate, config.finetune_cnn_after)]
        return Trainer(
            self.model,
            run=run,
            options=config.training,
            data=self.data,
            loss=make_loss(self.model, config),
            validate=self.validate,
            monitor=f"val_{config.monitor}",
            mode="min" if config.monitor == "perplexity" else "max",
            parameter_groups=groups,
        ).train()

    def cnn_learns(self) -> bool:
        after = self.config.finetune_cnn_after
        return after is not None and self.epoch >= after

    def data(self, epoch: int) -> tf.data.Dataset:
        self.epoch = epoch
        config, images, captions = self.config, self.images["train"], self.captions["train"]
        options = {"seed": config.training.seed, "epoch": epoch, "xla": config.training.xla}
        if reads_pixels(config, epoch):
            options |= {"batch_images": config.batch_images, "augment": config.augment}
            return batches.image_batches(captions, images, self.preprocessing, **options)
        return batches.feature_batches(captions, images.features, batch_pairs=config.batch_pairs, **options)

    def validate(self) -> dict[str, float]:
        images = self.images["validation"]
        features = images.features
        if features is None or self.cnn_learns():
            features = self.features(images)
        loss = self.perplexity(self.captions["validation"], features, self.config)
        captions, _ = self.greedy(features)
        references = list(images.captioned.references.values())
        scores = all_scores(captions, references)
        shown = ("bleu4", "cider", "exact_match", "distinct_words")
        return {
            "val_loss": loss,
            "val_perplexity": float(np.exp(loss)),
            **{f"val_{name}": scores[name] for name in shown},
        }


def make_loss(model: CaptioningModel, config: Config):
    """loss(batch, training) -> name -> (total, weight): cross-entropy in nats, with label smoothing, for each word; and
    `nll`, without smoothing, whose exponential is the perplexity. A CNN that does not learn runs as in evaluation."""

    def loss(batch, training: bool):
        features, captions = batch["image"], tf.shape(batch["target"])[1]
        if len(features.shape) == 4:
            # Pixels come where the CNN learns, and where it never does and images are augmented: see reads_pixels.
            features = model.encode_images(features, training and config.finetune_cnn_after is not None)
        state = model.initial_state(features, training)
        state = tf.nest.map_structure(lambda rows: tf.repeat(rows, captions, axis=0), state)
        target = tf.reshape(batch["target"], [-1, tf.shape(batch["target"])[2]])  # [rows * captions, time]
        inputs, targets, weights = teacher_forcing(target, START, END)
        weights *= tf.reshape(batch["real"], [-1, 1])
        outputs = tf.reshape(model.decoder_outputs(inputs, state, training), [-1, model.readout_width])
        total, nll = losses.cross_entropy(
            outputs,
            model.softmax.kernel,
            model.softmax.bias,
            tf.reshape(targets, [-1]),
            tf.reshape(weights, [-1]),
            label_smoothing=config.label_smoothing,
            training=training,
            xla=config.training.xla,
        )
        words = tf.reduce_sum(weights)
        return {"loss": (total, words), "nll": (nll, words)}

    return loss


def report(run: Run):
    """One line about a finished run."""
    summary = run.summary
    scores = summary["scores"]
    print(
        f"{run.path}: finished, validation CIDEr {scores['val_cider']:.3f}, BLEU-4 {100 * scores['val_bleu4']:.1f},"
        f" exact match {scores['val_exact_match']:.1%} after epoch {summary['best_epoch']} of {summary['epochs']},"
        f" {summary['seconds']:.0f} s"
    )

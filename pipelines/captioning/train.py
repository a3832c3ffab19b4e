"""Training from random weights, and fine-tuning from another run."""

import sys

import numpy as np
import tensorflow as tf

from layers import losses
from layers.recurrent_decoder import repeat_rows
from layers.teacher_forcing import teacher_forcing
from layers.text import END, START, Vocabulary
from pipelines.captioning import batches, confidence, dataset, self_critical
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
from pipelines.common.data.loading import load_vocabulary, streamed
from pipelines.common.data.splits import HELD_OUT, require_part
from pipelines.common.errors import UserError
from pipelines.common.files import atomic_write
from pipelines.common.runs import Run
from pipelines.common.training import strategies, workers
from pipelines.common.training.fine_tuning import copy_weights, refuse_changes
from pipelines.common.training.loop import Trainer
from pipelines.common.training.optimizers import ParameterGroup
from pipelines.common.training.prologue import train_run
from pipelines.common.vision import encoders

LEFT_OUT_FILE = "left_out.tsv"


def train(config: Config, preset: str | None = None) -> dict:
    """Trains a run, or resumes it, or reports it if it is finished; returns its summary."""
    return train_run("captioning", config, preset, train_new, report)


def train_new(run: Run, config: Config) -> dict:
    """Trains a run, or resumes it. Its folder is created after the data was checked."""
    base = load_trained(Run.open(config.base, "captioning")) if config.base else None
    if base:
        refuse_changes(config.model, base.config.model)
        refuse_changes(config.images, base.config.images, ("image_size", "fit"))
    parts = dataset.load(config.data)
    require_part("validation", parts, config.data.location, HELD_OUT)
    dataset.report_without_captions(parts)
    stored = run.path / VOCABULARY_FILE
    vocabulary = load_vocabulary(stored) if stored.is_file() else learn(config, parts["train"], base)
    preprocessing = make_preprocessing(config, vocabulary)
    model = build(config, preprocessing, base)
    parts = {part: parts[part] for part in ("train", "validation")}
    images = {part: prepare_images(config, parts[part], model, preprocessing, part) for part in parts}
    captions = {part: encode(config, images[part], preprocessing, part) for part in parts}
    if not base:
        model.softmax.initialize_bias(captions["train"].ids.flat_values.numpy(), len(captions["train"]))
    with run.create():
        with atomic_write(run.path / VOCABULARY_FILE) as file:
            file.write(vocabulary.to_text())
        dataset.write_left_out(run.path / LEFT_OUT_FILE, images)
        return Training(config, preprocessing, model, images, captions).fit(run)


def learn(config: Config, captioned: Captioned, base: Trained | None) -> Vocabulary:
    """Returns the vocabulary of the captions; in fine-tuning that of the base run, extended by new words."""
    vocabulary = learn_vocabulary(
        streamed(captioned.captions),
        size=config.words.vocabulary,
        min_count=config.words.min_count,
        max_characters=config.text.max_characters,
    )
    return base.preprocessing.tokenizer.vocabulary.extend(vocabulary) if base else vocabulary


def build(config: Config, preprocessing: Preprocessing, base: Trained | None) -> CaptioningModel:
    """Returns the model, built with the strategy, precision and seed of the configuration; in fine-tuning with the
    weights of the base run."""
    changes = {"weights": "none"} if base else {}
    model = strategies.build(config.training, lambda: make_model(config, preprocessing, **changes))
    if base:
        copy_weights(model, base.model)
    encoders.set_trainable(model.encoder, config.cnn.is_trained, config.cnn.finetune_cnn_from)
    return model


def prepare_images(
    config: Config, captioned: Captioned, model: CaptioningModel, preprocessing: Preprocessing, part: str
) -> dataset.Images:
    """Returns the usable images of a part, with their features if the CNN is frozen in the first epoch."""
    # The features of validation images remain valid until the CNN is trained.
    pixels = config.cnn.is_trained_in(0) if part == "validation" else config.cnn.runs_in(0)
    if pixels:
        images = dataset.with_pixels(captioned, preprocessing, config)
    else:
        images = dataset.with_features(captioned, model.encoder, config)
    dataset.report_left_out(part, images)
    return images


def encode(config: Config, images: dataset.Images, preprocessing: Preprocessing, part: str) -> dataset.Captions:
    """Returns the captions of the images as ids; prints to standard error how many were left out, and why."""
    captions = dataset.encode(images.captioned, preprocessing)
    total = len(images.captioned.captions)
    if captions.left_out:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in captions.left_out.items())
        print(f"{part}: left out {reasons}, of {total:,} captions", file=sys.stderr)
    if not len(captions):
        raise UserError(f"--data {config.data.location} has no usable caption in the part {part}, of {total:,}")
    return captions


class Training:
    """The data of every epoch, the loss and the validation of the training loop."""

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
        # Created once: each traces a graph, which takes longer than a small validation.
        decoder = feature_decoder(Trained(config, preprocessing, model))
        self.greedy = decoder.batched(beam_size=1, length_penalty=0.0)
        self.features, self.perplexity = FeatureExtractor(model, preprocessing), Perplexity(model)
        self.epoch = 0  # of the last call of `data`, which Trainer makes again before it trains an epoch

    def fit(self, run: Run) -> dict:
        config = self.config
        groups, from_epoch = [], config.cnn.finetune_cnn_after
        if from_epoch is not None:
            weights = self.model.encoder.trainable_variables
            groups = [ParameterGroup(weights, config.cnn.cnn_learning_rate, from_epoch)]
        return Trainer(
            self.model,
            run=run,
            options=config.training,
            data=self.data,
            loss=self.loss(),
            validate=self.validate,
            monitor=f"val_{config.monitor}",
            mode="min" if config.monitor == "perplexity" else "max",
            parameter_groups=groups,
            at_end=lambda: self.learn_confidence(run),
        ).train()

    def learn_confidence(self, run: Run) -> dict:
        """Fits the confidence of captions to the validation images, and writes it into the run."""
        images, trained = self.images["validation"], Trained(self.config, self.preprocessing, self.model)
        features = images.features
        if not len(features) or self.config.cnn.is_trained:
            features = self.features(images)
        confidence.learn(trained, features, list(images.captioned.references.values())).save(run.path)
        return {}

    def loss(self):
        """Returns the function that an update minimizes."""
        model, config = self.model, self.config
        if config.loss.reward == "none":
            return make_loss(model, config)
        references = list(self.images["train"].captioned.references.values())
        return self_critical.make_loss(
            model,
            self_critical.Reward(references, self.preprocessing),
            samples=config.loss.reward_samples,
            max_length=config.text.max_tokens,
            encode=lambda images, training: features_of(model, config, images, training),
        )

    def data(self, epoch: int) -> tf.data.Dataset:
        """Returns the batches of an epoch."""
        self.epoch = epoch
        config, images, captions = self.config, self.images["train"], self.captions["train"]
        options: dict = {"seed": config.training.seed, "epoch": epoch, "xla": config.training.xla}
        if config.cnn.runs_in(epoch):
            cnn = config.cnn
            options |= {"augment": cnn.augment, "mirror": cnn.mirror, "distort": cnn.distort}
            options |= {"batch_images": config.data.batch_images, "part": workers.part()}
            return batches.image_batches(captions, images, self.preprocessing, **options)
        return batches.of_features(captions, images.features, config.data, **options)

    def validate(self) -> dict[str, float]:
        """Returns the validation scores."""
        images = self.images["validation"]
        features = images.features
        if not len(features) or self.config.cnn.is_trained_in(self.epoch):
            features = self.features(images)
        loss = self.perplexity(self.captions["validation"], features, self.config.data)
        captions, _ = self.greedy(features)
        references = list(images.captioned.references.values())
        scores = all_scores(captions, references)
        shown = ("bleu4", "cider", "exact_match", "distinct_words")
        return {
            "val_loss": loss,
            "val_perplexity": float(np.exp(loss)),
            **{f"val_{name}": scores[name] for name in shown},
        }


def features_of(model: CaptioningModel, config: Config, images, training: bool):
    """Returns the features of the images of a batch: these themselves, or those of pixels (see CNNConfig.runs_in). A
    CNN that is never trained runs in inference mode."""
    return model.encode_images(images, training and config.cnn.is_trained) if len(images.shape) == 4 else images


def make_loss(model: CaptioningModel, config: Config):
    """Returns a function loss(batch, training) -> name -> (total, weight).

    "loss" is the cross-entropy of words in nats, with label smoothing and the penalty of the attention; "nll" is
    without them, and its exponential is the perplexity.
    """

    def loss(batch, training: bool):
        features, captions = features_of(model, config, batch["image"], training), tf.shape(batch["target"])[1]
        state = repeat_rows(model.initial_state(features, training), captions)
        target = tf.reshape(batch["target"], [-1, tf.shape(batch["target"])[2]])  # [rows * captions, time]
        inputs, targets, weights = teacher_forcing(target, START, END)
        weights *= tf.reshape(batch["real"], [-1, 1])
        outputs, decoded = model.decode(inputs, state, training)
        outputs = tf.reshape(outputs, [-1, model.readout_width])
        total, nll = losses.cross_entropy(
            outputs,
            model.softmax.kernel,
            model.softmax.bias,
            tf.reshape(targets, [-1]),
            tf.reshape(weights, [-1]),
            label_smoothing=config.loss.label_smoothing,
            training=training,
            xla=config.training.xla,
        )
        if config.loss.attention_penalty:
            total += config.loss.attention_penalty * doubly_stochastic_penalty(decoded.alignment, weights)
        words = tf.reduce_sum(weights)
        return {"loss": (total, words), "nll": (nll, words)}

    return loss


def doubly_stochastic_penalty(alignment, weights):
    """Returns the regularization of Xu et al. 2015, equation 14, summed over captions, float32[]:

        sum over positions s of (1 - sum over words t of alpha(t, s))^2

    Args:
        alignment: float[captions, time, positions], the weights alpha of the attention.
        weights: float32[captions, time], 1 for a word or the end of a caption, 0 for padding.
    """
    attended = tf.einsum("nts,nt->ns", tf.cast(alignment, tf.float32), weights)
    is_real = tf.reduce_max(weights, axis=1)  # not a caption that only fills the batch
    return tf.reduce_sum(is_real[:, tf.newaxis] * tf.square(1 - attended))


def report(run: Run):
    """Prints one line about a finished run."""
    summary = run.summary
    scores = summary["scores"]
    print(
        f"{run.path}: finished, validation CIDEr-D {scores['val_cider']:.3f}, BLEU-4 {100 * scores['val_bleu4']:.1f},"
        f" exact match {scores['val_exact_match']:.1%} after epoch {summary['best_epoch']} of {summary['epochs']},"
        f" {summary['seconds']:.0f} s"
    )

"""Training from a random start, and fine-tuning from another run."""

import numpy as np
import tensorflow as tf

from pipelines.common import metrics
from pipelines.common.errors import UserError
from pipelines.common.files import write_json
from pipelines.common.runs import Run
from pipelines.common.training import strategies
from pipelines.common.training.fine_tuning import refuse_changes
from pipelines.common.training.loop import Trainer
from pipelines.common.training.tbptt import TruncatedBPTT
from pipelines.video import dataset, scores
from pipelines.video.annotations import Video
from pipelines.video.config import Config
from pipelines.video.dataset import Tracks
from pipelines.video.evaluate import Labeller
from pipelines.video.model import (
    LABELS_FILE,
    FrameClassifier,
    Trained,
    load_trained,
    make_model,
    make_preprocessing,
)

# What a run inherits from the one it is fine-tuned from: another value would not fit its weights, or not be read.
INHERITED = (
    "encoder", "encoder_weights", "image_size", "fit", "projection", "deltas", "cell", "units", "layers",
    "bidirectional",
)  # fmt: skip
LARGEST_CHANGE = 4.0  # of a log-probability from frame to frame that the smoothing term counts


def train(config: Config, preset: str | None = None) -> dict:
    """Trains the run of a config, or goes on with it, or reports it when it is finished; gives its summary."""
    run = Run.prepare(config.run, "video", config, preset)  # its folder is created after the data was checked
    if run.finished:
        report(run)
        return run.summary
    base = load_trained(Run.open(config.base, "video")) if config.base else None
    if base:
        refuse_changes(config, base.config, INHERITED)
    videos = dataset.load(config)
    names = choose_names(config, videos, base)
    model = build(config, names, base)
    tracks = read_tracks(config, videos, names, model)
    with run.create():
        write_json(run.path / LABELS_FILE, list(names))
        summary = fit(run, config, model, tracks, names)
    report(run)
    return summary


def choose_names(config: Config, videos: dict[str, list[Video]], base: Trained | None) -> tuple[str, ...]:
    """The labels' names; UserError when the data cannot train a classifier.

    Fine-tuning on the labels of the run it starts from keeps their order.
    """
    if "validation" not in videos:
        raise UserError(f"--data {config.data} has no part validation: expected one, or a --validation-share above 0")
    names = dataset.name_labels([*videos["train"], *videos["validation"]], config)
    if base and not config.label_names and set(names) <= set(base.names):
        names = base.names
    present = set().union(*(video.labels for video in videos["train"])) | {config.background} - {""}
    if len(present) < 2:
        raise UserError(
            f"--data {config.data}: all {len(videos['train'])} training videos have the label {next(iter(present))};"
            " expected at least two different labels"
        )
    return names


def build(config: Config, names: tuple[str, ...], base: Trained | None) -> FrameClassifier:
    """The model under the strategy and precision of the config, its random numbers from the config's seed; with what
    the run it starts from has learned."""
    model = strategies.build(config.training, lambda: make_model(config, names, with_weights=base is None))
    if base:
        transplant(base, model, names)
    return model


def read_tracks(
    config: Config, videos: dict[str, list[Video]], names: tuple[str, ...], model: FrameClassifier
) -> dict[str, Tracks]:
    """The training and the validation part: what the model is given of each clip, and a label for each frame."""
    parts = ("train", "validation")
    wanted = [video for part in parts for video in videos[part]]
    inputs = dataset.make_inputs(wanted, config, model, make_preprocessing(config))
    inputs.report(f"--data {config.data}")
    return {part: dataset.make_tracks(videos[part], inputs, names, config, part) for part in parts}


def fit(run: Run, config: Config, model: FrameClassifier, tracks: dict[str, Tracks], names: tuple[str, ...]) -> dict:
    """Trains the model."""
    options = config.training
    train, validation = tracks["train"], tracks["validation"]
    weights = metrics.class_weights(train.labels, len(names)) if config.class_weights else np.ones(len(names))
    limits = {"batch_videos": config.batch_videos, "batch_frames": config.batch_frames, "xla": options.xla}

    def whole_videos(epoch: int) -> tf.data.Dataset:
        return dataset.batches(train, seed=options.seed, epoch=epoch, **limits)

    k2 = config.k2 or config.k1

    def windows(epoch: int) -> tf.data.Dataset:
        return dataset.windows(
            train, k1=config.k1, k2=k2, batch_videos=config.batch_videos, seed=options.seed, epoch=epoch
        )

    labeller = Labeller(model)

    def validate() -> dict[str, float]:
        return validation_scores(labeller(validation, config), validation)

    if config.k1:
        data = windows
        loss = TruncatedBPTT(
            model.steps,
            model.initial_state,
            lambda logits, labels, kept: frame_loss(logits, labels, kept, weights, config.smoothing),
            k1=config.k1,
            k2=k2,
            batch_size=min(config.batch_videos, len(train)),
        )
    else:
        data, loss = whole_videos, make_loss(model, weights, config.smoothing)
    return Trainer(
        model,
        run=run,
        options=options,
        data=data,
        loss=loss,
        validate=validate,
        monitor="val_accuracy",
        mode="max",
    ).train()


def validation_scores(probabilities: list[np.ndarray], validation: Tracks) -> dict[str, float]:
    """What the best weights are chosen by, from float[frames, classes] of each video; every label counts."""
    labels = [track.labels for track in validation.tracks]
    found = scores.temporal(labels, [each.argmax(axis=1) for each in probabilities], background=None)
    return {
        "val_loss": scores.cross_entropy(probabilities, labels),
        "val_accuracy": found["accuracy"] / 100,
        "val_edit": found["edit"],
        "val_f1_50": found["f1@50"],
    }


def make_loss(model: FrameClassifier, weights: np.ndarray, smoothing: float):
    """loss(batch, training) -> name -> (total, weight) of whole videos; see frame_loss."""

    def loss(batch, training: bool):
        logits = model(batch["inputs"], kept=batch["weights"] > 0, training=training)
        return frame_loss(logits, batch["labels"], batch["weights"], weights, smoothing)

    return loss


def frame_loss(logits, labels, kept, weights: np.ndarray, smoothing: float) -> dict:
    """The loss of frames: cross-entropy in nats, each frame weighed by its label, and the smoothing term.

        L = sum over frames of w[y(t)] (-log p(t, y(t)))
          + smoothing * sum over frames t > 0 of the mean over labels c of min(|log p(t, c) - log p(t-1, c)|, 4)^2

    where no gradient goes through log p(t-1): Farha & Gall 2019, "MS-TCN: multi-stage temporal convolutional network
    for action segmentation", equations 8 to 11. The weight is the sum of all w[y(t)].

    Args:
        logits: float[batch, time, classes]. labels: int32[batch, time]. kept: float[batch, time], 0 past the end.
        weights: float[classes].
    """
    log_probability = tf.nn.log_softmax(tf.cast(logits, tf.float32))
    weight = kept * tf.gather(tf.constant(weights, tf.float32), labels)
    total = -tf.reduce_sum(tf.gather(log_probability, labels, batch_dims=2) * weight)
    if smoothing:
        change = tf.abs(log_probability[:, 1:] - tf.stop_gradient(log_probability[:, :-1]))
        each = tf.reduce_mean(tf.square(tf.minimum(change, LARGEST_CHANGE)), axis=2)
        total += smoothing * tf.reduce_sum(each * kept[:, 1:] * kept[:, :-1])
    hits = tf.cast(tf.argmax(logits, axis=2, output_type=tf.int32) == labels, tf.float32)
    return {
        "loss": (total, tf.reduce_sum(weight)),
        "accuracy": (tf.reduce_sum(hits * kept), tf.reduce_sum(kept)),
    }


def transplant(base: Trained, model: FrameClassifier, names: tuple[str, ...]):
    """Gives the model what the run it starts from has learned.

    What gives the logits (the head, or the output map of the last vanilla RNN) keeps its columns when the labels are
    the same, in any order, otherwise it starts anew.
    """
    columns = [base.names.index(name) for name in names] if sorted(names) == sorted(base.names) else None
    for weight, learned in zip(model.weights, base.model.weights, strict=True):
        value = learned.numpy()
        if "head/" in weight.path or weight.name in ("output_kernel", "output_bias"):
            if columns is None:
                continue
            value = value[..., columns]
        if weight.shape == value.shape:  # the states of dropout seeds are not learned, but fit
            weight.assign(value)


def report(run: Run):
    """One line about a finished run."""
    summary = run.summary
    found = summary["scores"]
    print(
        f"{run.path}: finished, validation frame accuracy {found['val_accuracy']:.4f}, F1@50 {found['val_f1_50']:.1f}"
        f" after epoch {summary['best_epoch']} of {summary['epochs']}, {summary['seconds']:.0f} s"
    )

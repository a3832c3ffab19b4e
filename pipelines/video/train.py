"""Training from a random start, and fine-tuning from another run."""

import numpy as np
import tensorflow as tf

from pipelines.common import metrics
from pipelines.common.data.splits import require_part
from pipelines.common.errors import UserError
from pipelines.common.files import write_json
from pipelines.common.runs import Run
from pipelines.common.training import strategies, workers
from pipelines.common.training.fine_tuning import refuse_changes
from pipelines.common.training.loop import Trainer
from pipelines.common.training.prologue import train_run
from pipelines.common.training.tbptt import TruncatedBPTT
from pipelines.video import confidence, dataset, scores
from pipelines.video.clips import Video
from pipelines.video.config import Config
from pipelines.video.evaluate import Labeller
from pipelines.video.model import FEATURES_FILE, LABELS_FILE, FrameClassifier, Trained, load_trained, make_model
from pipelines.video.preprocessing import Preprocessing
from pipelines.video.tracks import Tracks, make_tracks, moments

MAX_DIFFERENCE = 4.0  # of the log-probabilities of neighbouring frames in the smoothing term


def train(config: Config, preset: str | None = None) -> dict:
    """Trains a run, or resumes it, or reports it if it is finished; returns its summary."""
    return train_run("video", config, preset, train_new, report)


def train_new(run: Run, config: Config) -> dict:
    """Trains a run, or resumes it. Its folder is created after the data was checked."""
    base = load_trained(Run.open(config.base, "video")) if config.base else None
    if base:
        refuse_changes(config.model, base.config.model)
        refuse_changes(config.frames, base.config.frames)
    videos = dataset.load(config.data)
    names = choose_names(config, videos, base)
    size = dataset.feature_size(videos["train"], config)
    if base and size and size != base.model.feature_size:
        raise UserError(
            f"--data {config.data.location} has {size} features for each frame, but {config.base}"
            f" takes {base.model.feature_size}"
        )
    model = build(config, names, size, base)
    tracks = read_tracks(config, videos, names, model)
    if config.model.standardize == "data" and not base:
        model.set_standardization(*moments(tracks["train"]))
    with run.create():
        write_json(run.path / LABELS_FILE, list(names))
        if size:
            write_json(run.path / FEATURES_FILE, {"size": size})
        return fit(run, config, model, tracks, names)


def choose_names(config: Config, videos: dict[str, list[Video]], base: Trained | None) -> tuple[str, ...]:
    """Returns the names of the labels; fine-tuning on the labels of the base run keeps their order.

    Raises:
        UserError: The data has no validation part, or only one label.
    """
    if config.evaluation.monitor != "none":
        expected = "expected one, a --validation-share above 0, or --monitor none"
        require_part("validation", videos, config.data.location, expected)
    names = dataset.name_labels([*videos["train"], *videos.get("validation", [])], config.data)
    if base and not config.data.label_names and set(names) <= set(base.names):
        names = base.names
    present = set().union(*(video.labels for video in videos["train"])) | {config.data.background} - {""}
    if len(present) < 2:
        raise UserError(
            f"--data {config.data.location}: all {len(videos['train'])} training videos have the label"
            f" {next(iter(present))}; expected at least two different labels"
        )
    return names


def build(config: Config, names: tuple[str, ...], size: int, base: Trained | None) -> FrameClassifier:
    """Returns the model for features of a size (0: for frames), built with the strategy, precision and seed of the
    configuration; in fine-tuning with the weights of the base run."""
    changes = {"encoder_weights": "none"} if base else {}
    model = strategies.build(config.training, lambda: make_model(config, names, size, **changes))
    if base:
        copy_weights(base, model, names)
    return model


def read_tracks(
    config: Config, videos: dict[str, list[Video]], names: tuple[str, ...], model: FrameClassifier
) -> dict[str, Tracks]:
    """Returns the training and, if there is one, the validation part: the inputs of each clip, and a label for each
    frame."""
    parts = [part for part in ("train", "validation") if part in videos]
    both = [video for part in parts for video in videos[part]]
    inputs = dataset.make_inputs(both, config, model, Preprocessing(**vars(config.frames)))
    inputs.report(f"--data {config.data.location}")
    return {part: make_tracks(videos[part], inputs, names, config.data, part) for part in parts}


def fit(run: Run, config: Config, model: FrameClassifier, tracks: dict[str, Tracks], names: tuple[str, ...]) -> dict:
    """Trains the model."""
    options = config.training
    train, validation = tracks["train"], tracks.get("validation")
    weights = metrics.class_weights(train.labels, len(names)) if config.loss.class_weights else np.ones(len(names))
    batch_videos, batch_frames = config.data.batch_videos, config.data.batch_frames
    limits: dict = {"batch_videos": batch_videos, "batch_frames": batch_frames, "xla": options.xla}
    k1, k2 = config.tbptt.k1, config.tbptt.k2 or config.tbptt.k1

    def whole_videos(epoch: int) -> tf.data.Dataset:
        return dataset.batches(train, seed=options.seed, epoch=epoch, part=workers.part(), **limits)

    def windows(epoch: int) -> tf.data.Dataset:
        return dataset.windows(train, k1=k1, k2=k2, batch_videos=batch_videos, seed=options.seed, epoch=epoch)

    labeller = Labeller(model)

    def validate() -> dict[str, float]:
        if validation is None:
            return {}
        return validation_scores(labeller(validation, batch_videos, batch_frames), validation)

    def learn_confidence() -> dict:
        if validation is not None:
            found = labeller(validation, batch_videos, batch_frames)
            temperature = confidence.fit(found, [track.labels for track in validation.tracks])
            confidence.save(run.path, temperature, len(validation.labels))
        return {}

    if k1:
        data = windows
        loss = TruncatedBPTT(
            model.classify_window,
            model.initial_state,
            lambda logits, labels, mask: frame_loss(logits, labels, mask, weights, config.loss.smoothing),
            k1=k1,
            k2=k2,
            batch_size=min(batch_videos, len(train)),
        )
    else:
        data, loss = whole_videos, make_loss(model, weights, config.loss.smoothing)
    return Trainer(
        model,
        run=run,
        options=options,
        data=data,
        loss=loss,
        validate=validate,
        monitor="epoch" if config.evaluation.monitor == "none" else f"val_{config.evaluation.monitor}",
        mode="max",
        at_end=learn_confidence,
    ).train()


def validation_scores(probabilities: list[np.ndarray], validation: Tracks) -> dict[str, float]:
    """Returns the validation scores for the probabilities float[frames, classes] of each video; all labels count."""
    labels = [track.labels for track in validation.tracks]
    temporal = scores.temporal(labels, [each.argmax(axis=1) for each in probabilities], background=None)
    return {
        "val_loss": scores.cross_entropy(probabilities, labels),
        "val_accuracy": temporal["accuracy"] / 100,
        "val_balanced_accuracy": temporal["balanced_accuracy"] / 100,
        "val_edit": temporal["edit"],
        "val_f1_50": temporal["f1@50"],
    }


def make_loss(model: FrameClassifier, weights: np.ndarray, smoothing: float):
    """Returns a function loss(batch, training) -> name -> (total, weight) for whole videos; see frame_loss.

    The loss is the sum of those of all stages (Farha and Gall 2019, equation 12); the accuracy that of the last.
    """

    def loss(batch, training: bool):
        stages = model(batch["inputs"], padding_mask=batch["weights"] > 0, training=training, all_stages=True)
        found = [frame_loss(logits, batch["labels"], batch["weights"], weights, smoothing) for logits in stages]
        total, weight = sum(each["loss"][0] for each in found), found[-1]["loss"][1]
        return {**found[-1], "loss": (total, weight)}

    return loss


def frame_loss(logits, labels, mask, weights: np.ndarray, smoothing: float) -> dict:
    """Returns the loss of frames: cross-entropy in nats, weighted by label, and the smoothing term.

        L = sum over frames of w[y(t)] (-log p(t, y(t)))
          + smoothing * sum over frames t > 0 of the mean over labels c of min(|log p(t, c) - log p(t-1, c)|, 4)^2

    without a gradient through log p(t-1): Farha & Gall 2019, "MS-TCN: multi-stage temporal convolutional network for
    action segmentation", equations 8 to 11.

    Args:
        logits: float[batch, time, classes].
        labels: int32[batch, time].
        mask: float[batch, time], 0 past the end of a video.
        weights: float[classes], the weight of each label.

    Returns:
        "loss": (L, sum of all w[y(t)]), and "accuracy": (correct frames, all frames).
    """
    log_probability = tf.nn.log_softmax(tf.cast(logits, tf.float32))
    weight = mask * tf.gather(tf.constant(weights, tf.float32), labels)
    total = -tf.reduce_sum(tf.gather(log_probability, labels, batch_dims=2) * weight)
    if smoothing:
        difference = tf.abs(log_probability[:, 1:] - tf.stop_gradient(log_probability[:, :-1]))
        squares = tf.reduce_mean(tf.square(tf.minimum(difference, MAX_DIFFERENCE)), axis=2)
        total += smoothing * tf.reduce_sum(squares * mask[:, 1:] * mask[:, :-1])
    correct = tf.cast(tf.argmax(logits, axis=2, output_type=tf.int32) == labels, tf.float32)
    return {
        "loss": (total, tf.reduce_sum(weight)),
        "accuracy": (tf.reduce_sum(correct * mask), tf.reduce_sum(mask)),
    }


def copy_weights(base: Trained, model: FrameClassifier, names: tuple[str, ...]):
    """Copies the weights of the base run into the model.

    The output layer (the head, or the output map of the last vanilla RNN) keeps its columns if the labels are the same,
    in any order; otherwise it keeps its random initial weights.
    """
    columns = [base.names.index(name) for name in names] if sorted(names) == sorted(base.names) else None
    for weight, trained in zip(model.weights, base.model.weights, strict=True):
        value = trained.numpy()
        if "head/" in weight.path or weight.name in ("output_kernel", "output_bias"):
            if columns is None:
                continue
            value = value[..., columns]
        elif "refinement/" in weight.path and weight.name == "kernel":  # from the probabilities of the labels
            if columns is None:
                continue
            value = value[columns]
        if weight.shape == value.shape:  # also copies the states of dropout seeds, which does no harm
            weight.assign(value)


def report(run: Run):
    """Prints one line about a finished run."""
    summary = run.summary
    final = summary["scores"]
    scores = f"training frame accuracy {final['accuracy']:.4f}"  # without a validation part
    if "val_accuracy" in final:
        scores = f"validation frame accuracy {final['val_accuracy']:.4f}, F1@50 {final['val_f1_50']:.1f}"
    print(
        f"{run.path}: finished, {scores} after epoch {summary['best_epoch']} of {summary['epochs']},"
        f" {summary['seconds']:.0f} s"
    )

"""Callbacks of the training loop: a progress bar or plain lines, and logs for TensorBoard."""

import sys
import time

import keras
import tensorflow as tf

from pipelines.common import files


def display() -> list[keras.callbacks.Callback]:
    """Returns Keras's progress bar on a terminal, PlainLines otherwise."""
    return [keras.callbacks.ProgbarLogger()] if sys.stdout.isatty() else [PlainLines()]


class PlainLines(keras.callbacks.Callback):
    """Prints a line every half minute and at the end of every epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.last = epoch, time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        if time.monotonic() - self.last >= 30:
            self.last = time.monotonic()
            steps = self.params["steps"] or "?"
            print(
                f"epoch {self.epoch + 1}/{self.params['epochs']} batch {batch + 1}/{steps} {as_text(logs)}", flush=True
            )

    def on_epoch_end(self, epoch, logs=None):
        print(f"epoch {epoch + 1}/{self.params['epochs']} {as_text(logs)}", flush=True)


def as_text(logs) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in (logs or {}).items())


class TensorBoardLogs(keras.callbacks.Callback):
    """Writes scalars for TensorBoard, named as by Keras's own callback (`epoch_loss`), into train/ and validation/.

    Each epoch is a file, written atomically, and replaced when the epoch is trained again after a kill. (Keras's
    callback needs a compiled model, and appends: after a kill, TensorBoard would show an epoch twice.)
    """

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_epoch_end(self, epoch, logs=None):
        parts: dict[str, dict] = {"train": {}, "validation": {}}
        for name, value in (logs or {}).items():
            parts["validation" if name.startswith("val_") else "train"]["epoch_" + name.removeprefix("val_")] = value
        for part, scalars in parts.items():
            # TensorBoard reads the files of a folder in alphabetical order.
            with files.atomic_path(self.folder / part / f"events.out.tfevents.{epoch + 1:06d}") as path:
                write_events(path, epoch, scalars)


def write_events(path, step: int, scalars: dict[str, float]):
    """Writes a TensorBoard event file: TFRecords of Event messages, the first with the version of the format."""
    now = time.time()
    values = [tf.compat.v1.Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
    version = tf.compat.v1.Event(wall_time=now, file_version="brain.Event:2")
    event = tf.compat.v1.Event(wall_time=now, step=step, summary=tf.compat.v1.Summary(value=values))
    try:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for message in (version, event):
                writer.write(message.SerializeToString())
    except tf.errors.OpError as error:  # as other writers raise when the disk is full
        raise OSError(error.message) from error

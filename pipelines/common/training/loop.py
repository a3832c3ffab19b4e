"""The training loop of all pipelines. It supports tf.distribute, and can be interrupted at any time.

It is used in place of `model.fit`, which clips the gradients of each replica before they are summed, and which cannot
resume within an epoch. The models are plain Keras models: `fit` can train them as well.

A run that is interrupted and resumed ends with weights that are bitwise identical to those of an uninterrupted run (on
the same machine, with the same number of threads and the same --xla). One atomic checkpoint has everything that
training changes, and the order of the data depends only on the seed and the epoch. The other files (history.csv, logs,
the best weights) are written before the checkpoint. A run that is killed in between writes them again, with the same
content except for times.

With several workers (--strategy multi-worker), the chief validates, decides and writes the run. The other workers train
as it does, write nothing, and get its scores. All stop after the same step.
"""

import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import Literal

import keras
import tensorflow as tf

from pipelines.common import files
from pipelines.common.errors import UserError
from pipelines.common.runs import Run
from pipelines.common.training import strategies, workers
from pipelines.common.training.callbacks import TensorBoardLogs, display
from pipelines.common.training.checkpoints import KEEP, Checkpoints, NotFiniteError
from pipelines.common.training.interrupts import Interrupted, Signals
from pipelines.common.training.optimizers import ParameterGroup
from pipelines.common.training.options import TrainingOptions
from pipelines.common.training.progress import Progress, is_better, write_history
from pipelines.common.training.updates import Updates
from pipelines.common.weights import save_weights

METRICS_SECONDS = 0.5  # between two readings of the metrics, each of which waits for the device
CURVES_SECONDS = 30  # between two drawings of the curves, each of which takes most of a second


@dataclasses.dataclass
class Trainer:
    """Trains a built model, and writes everything into a run folder: `Trainer(model, run=run, …).train()`.

    Attributes:
        data: data(epoch) returns the tf.data.Dataset of an epoch, counted from 0. Its order depends only on the seed
            and the epoch. A batch is any structure of tensors whose first axis is the batch (except scalars), without
            strings if options.xla is set.
            The batches of epoch 0, and of each epoch at which a parameter group begins to train, are counted: schedules
            of the learning rate assume that each epoch after it has the same number of batches.
        loss: loss(batch, training) returns a dict name -> (total, weight) of scalars. An update minimizes
            sum(total) / sum(weight) of "loss" over all replicas and accumulated batches; the other names are metrics. A
            loss may carry a state from batch to batch (see tbptt.py) in `loss.variables`, which checkpoints contain.
        validate: validate() returns name -> float, at the end of every epoch.
        monitor: name of the metric, of validation or training, that selects the best weights and stops the training
            early. With "epoch", the number of the epoch, and "max", the weights of the last epoch are kept. Of two
            equal scores, the one with the lower val_loss is better.
        mode: whether the largest ("max") or the smallest ("min") value of `monitor` is the best.
        parameter_groups: weights with their own learning rate, optionally frozen until an epoch, at which the structure
            of the batches may change.
        callbacks: Keras callbacks, besides those for the progress bar and TensorBoard.
        at_end: at_end() is called with the best weights in the model, which it may change, and returns entries for the
            summary. If the run is killed before the summary is written, the resumed run calls it again.
    """

    model: keras.Model
    _: dataclasses.KW_ONLY
    run: Run
    options: TrainingOptions
    data: Callable[[int], tf.data.Dataset]
    loss: Callable[..., dict]
    validate: Callable[[], dict[str, float]]
    monitor: str
    mode: Literal["max", "min"]
    parameter_groups: Sequence[ParameterGroup] = ()
    callbacks: Sequence[keras.callbacks.Callback] = ()
    at_end: Callable[[], dict] | None = None

    def train(self) -> dict:
        """Trains from the last checkpoint, if there is one, to the end; returns the summary of the run.

        The best weights (with options.ema, the averaged ones), changed by at_end if it is given, are then in the model
        and in run.weights_file.

        Raises:
            UserError: The loss is not finite, there is no data, or a file cannot be written.
            KeyboardInterrupt: Ctrl-C or SIGTERM; a checkpoint was written before.
        """
        if self.run.finished:
            self.run.load_weights(self.model)
            return self.run.summary
        self._prepare()
        self._restore_checkpoint()
        if workers.several():
            workers.require_same(self.updates.checksum(), "the weights with which the training begins")
        try:
            with Signals() as self.signals:
                self.callback_list.on_train_begin()
                self.model.stop_training = False  # a callback may set it
                while not self._should_stop():
                    self._train_epoch()
                self.callback_list.on_train_end()
                return self._finish()
        except BaseException as error:
            if self.progress.rows and workers.is_chief():
                with contextlib.suppress(OSError, UserError):  # or they would hide `error`
                    self._draw_curves()
            if isinstance(error, NotFiniteError):
                last = self.checkpoints.files()[-1:]
                found = f"the last good checkpoint is {last[0]}" if last else "there is no checkpoint yet"
                advice = "Try a smaller --learning-rate or --clip-norm"
                raise UserError(f"training stopped: {error}; {found}. {advice}") from error
            raise

    def _prepare(self):
        if self.mode not in ("max", "min"):
            raise ValueError(f"mode is {self.mode!r}, expected 'max' or 'min'")
        options = self.options
        counted = {0, *(group.from_epoch for group in self.parameter_groups)}
        steps_per_epoch = {epoch: int(self.data(epoch).cardinality()) for epoch in counted}
        if tf.data.INFINITE_CARDINALITY in steps_per_epoch.values():
            raise ValueError("data(epoch) never ends: take() the batches of an epoch")
        if tf.data.UNKNOWN_CARDINALITY in steps_per_epoch.values():
            steps_per_epoch = {}
        if not steps_per_epoch and not float(options.epochs).is_integer():
            raise UserError(f"--epochs is {options.epochs}: a part of an epoch needs data whose length is known")
        self.updates = Updates(self.model, self.loss, options, self.parameter_groups, steps_per_epoch)
        self.checkpoints = Checkpoints(self.run.checkpoints)
        self.progress = Progress()
        shown = [*display(), *([TensorBoardLogs(self.run.logs)] if options.tensorboard else [])]
        self.callback_list = keras.callbacks.CallbackList(
            [*(shown if workers.is_chief() else []), *self.callbacks],
            model=self.model,
            epochs=math.ceil(options.epochs),
            steps=steps_per_epoch.get(0),
            verbose=1,
        )
        self.saved_at = self.drawn_at = time.monotonic()

    def _should_stop(self) -> bool:
        out_of_patience = self.options.patience and self.progress.waited >= self.options.patience
        stops = self.progress.epoch >= self.options.epochs or out_of_patience or self.model.stop_training
        return workers.from_chief(bool(stops))

    # One epoch --------------------------------------------------------------------------------------------------------

    def _train_epoch(self):
        """Trains on the batches of an epoch, validates, writes the results and a checkpoint.

        If the run was stopped within the epoch, the batches before the checkpoint are skipped.
        """
        progress, epoch = self.progress, self.progress.epoch
        self.clock = time.monotonic()
        self.metrics, self.metrics_at = {}, 0.0  # as last read
        dataset = self._batches(epoch)
        self.callback_list.on_epoch_begin(epoch)
        self.updates.prepare(dataset.element_spec, epoch)
        try:
            for batch in dataset.skip(progress.batch):
                self._train_on_batch(batch)
            if progress.batch == 0:
                raise UserError(f"the training data of {self.run.task} gave no batch at all")
            self.updates.apply_pending(progress.step)
            metrics = self.updates.metrics()
            with self.updates.averaged_weights():
                metrics |= self._by_chief(lambda: {name: float(value) for name, value in self.validate().items()})
                self._end_epoch(metrics)
        except Interrupted:
            self._save_checkpoint()
            raise
        self._save_checkpoint()
        self._stop_if_any(self.signals.received)
        if workers.is_chief() and time.monotonic() - self.drawn_at >= CURVES_SECONDS:
            self._draw_curves()

    def _by_chief(self, compute: Callable[[], dict]) -> dict:
        """Returns compute() of the chief at every worker. If a signal interrupts it, all workers raise Interrupted."""
        found = None
        if workers.is_chief():
            with contextlib.suppress(Interrupted), self.signals.interrupt_immediately():
                found = compute()
        found = workers.from_chief(found)
        if found is None:
            raise Interrupted
        return found

    def _stop_if_any(self, received: bool):
        """Raises Interrupted at every worker if one of them has received a signal."""
        if workers.any_worker(received):
            raise Interrupted

    def _batches(self, epoch: int) -> tf.data.Dataset:
        """Returns the batches of an epoch, which in the last epoch may be a part of data(epoch)."""
        dataset, epochs_left = self.data(epoch), self.options.epochs - epoch
        if epochs_left < 1:
            dataset = dataset.take(max(round(int(dataset.cardinality()) * epochs_left), 1))
        steps = int(dataset.cardinality())
        self.callback_list.set_params({**self.callback_list.params, "steps": steps if steps >= 0 else None})
        return dataset

    def _train_on_batch(self, batch):
        progress = self.progress
        self.callback_list.on_train_batch_begin(progress.batch)
        self.updates.stop = self.signals.received
        self.updates.train_on_batch(batch, progress.step + 1)
        progress.batch += 1
        progress.step += 1
        now = time.monotonic()
        if now - self.metrics_at >= METRICS_SECONDS:
            self.metrics, self.metrics_at = self.updates.metrics(), now
        self.callback_list.on_train_batch_end(progress.batch - 1, self.metrics)
        if not workers.several():
            self.signals.raise_if_received()
        elif len(self.updates.stopped) > 1 and float(self.updates.stopped[0]):  # after the step before this one
            raise Interrupted
        steps, minutes = self.options.checkpoint_steps, self.options.checkpoint_minutes
        if (steps and progress.step % steps == 0) or (minutes and now - self.saved_at >= 60 * minutes):
            self._save_checkpoint()

    def _end_epoch(self, metrics: dict[str, float]):
        """Writes the history, and the weights if they are the best; advances the progress to the next epoch."""
        progress = self.progress
        self._count_seconds()
        row = {
            "epoch": progress.epoch + 1,
            "step": progress.step,
            **metrics,
            "learning_rate": self.updates.learning_rate(),
            "seconds": round(progress.epoch_seconds, 3),
        }
        if self.monitor not in row:
            raise ValueError(f"monitor is {self.monitor!r}, expected one of {', '.join(row)}")
        progress.waited += 1
        if is_better(row, progress.best, self.monitor, self.mode):
            self._keep_best(row)
        progress.rows.append(row)
        if workers.is_chief():
            write_history(self.run.history_file, progress.rows)
        progress.epoch, progress.batch, progress.epoch_seconds = progress.epoch + 1, 0, 0.0
        self.updates.reset_metrics()
        self.callback_list.on_epoch_end(row["epoch"] - 1, {k: v for k, v in row.items() if k not in ("epoch", "step")})

    def _keep_best(self, row: dict):
        # The model has the averaged weights here, if there are any.
        # The file is named by its step and written before the checkpoint that refers to it, so that a checkpoint never
        # refers to a missing file, even after a kill.
        file = f"best-{row['step']:09d}.weights.h5"
        if workers.is_chief():
            save_weights(self.model, self.run.checkpoints / file)
            files.publish(self.run.checkpoints / file, self.run.weights_file)
        loss = row.get("val_loss", math.nan)
        self.progress.best = {"epoch": row["epoch"], "score": row[self.monitor], "loss": loss, "file": file}
        self.progress.waited = 0

    def _draw_curves(self):
        from pipelines.common.pictures import charts  # imports matplotlib, which is slow

        charts.draw_curves(self.run.history_file, self.run.curves_file)
        self.drawn_at = time.monotonic()

    def _count_seconds(self):
        """Adds the time since the last call to the seconds of the epoch and of the whole training."""
        now = time.monotonic()
        self.progress.seconds += now - self.clock
        self.progress.epoch_seconds += now - self.clock
        self.clock = now

    # Checkpoints ------------------------------------------------------------------------------------------------------

    def _save_checkpoint(self):
        self.updates.check_finite()
        if not workers.is_chief():
            return
        self._count_seconds()
        progress = self.progress
        progress.pending, progress.sums = self.updates.pending, tf.nest.map_structure(float, self.updates.sums)
        # The weights file that was the best at a checkpoint is kept as long as the checkpoint.
        progress.best_files[str(progress.step)] = progress.best["file"] if progress.best else None
        progress.best_files = dict(sorted(progress.best_files.items(), key=lambda item: int(item[0]))[-KEEP:])
        self.checkpoints.save(progress.step, dataclasses.asdict(progress), self.updates.variables())
        for file in self.run.checkpoints.glob("best-*.weights.h5"):
            if file.name not in progress.best_files.values():
                file.unlink(missing_ok=True)
        self.saved_at = time.monotonic()

    def _restore_checkpoint(self):
        stored = self.checkpoints.restore(self.updates.variables())
        if stored is None:
            return
        progress = self.progress = Progress(**stored)
        self.updates.pending = progress.pending
        self.updates.sums = tf.nest.map_structure(lambda value: tf.constant(value, tf.float64), progress.sums)
        if not workers.is_chief():  # its files are in a folder of its own, see prologue.py
            return
        if progress.best:
            files.publish(self.run.checkpoints / progress.best["file"], self.run.weights_file)
            write_history(self.run.history_file, progress.rows)
        print(f"{self.run.path}: going on after step {progress.step} (epoch {progress.epoch + 1})", file=sys.stderr)

    # The end ----------------------------------------------------------------------------------------------------------

    def _finish(self) -> dict:
        """Loads the best weights, calls at_end, and marks the run as finished with its summary."""
        return self._by_chief(self._finish_run)

    def _finish_run(self) -> dict:
        self.run.load_weights(self.model)
        self._draw_curves()
        summary = self.progress.summary(self.monitor) | {"machine": strategies.machine()}
        if self.at_end:
            # After a kill, the resumed run restores the best weights as they were, and calls at_end again.
            summary |= self.at_end()
            save_weights(self.model, self.run.weights_file)
        self.signals.raise_if_received()
        self.run.finish(summary)
        return summary

"""The training loop of all pipelines: epochs, validation, checkpoints, early stopping, on one worker or several.

It takes the place of `model.fit`, which clips the gradients of each replica before they are summed, and cannot resume
within an epoch. The models are plain Keras models, which `fit` can train as well.

A run that is interrupted or killed, and resumed, ends with weights that are bitwise identical to those of an
uninterrupted run (on the same machine, with the same number of threads and the same --xla). A checkpoint, which is
written atomically, has everything that training changes, and the order of the data depends only on the seed and the
epoch. The other files (history.csv, logs, the best weights) are written before the checkpoint. A run that is killed in
between writes them again when it is resumed, with the same content except for times.

With several workers (--strategy multi-worker), the chief validates, decides when to stop, and writes the run. The other
workers apply the same updates and receive its scores, but write nothing. All workers stop after the same step.
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

from pipelines.common.errors import UserError
from pipelines.common.runs import Run
from pipelines.common.training import moving_average, strategies, workers
from pipelines.common.training.best_weights import BestWeights
from pipelines.common.training.callbacks import TensorBoardLogs, display
from pipelines.common.training.checkpoints import Checkpoints, NotFiniteError
from pipelines.common.training.interrupts import Interrupted, Signals
from pipelines.common.training.optimizers import ParameterGroup
from pipelines.common.training.options import TrainingOptions
from pipelines.common.training.progress import Progress, write_history
from pipelines.common.training.updates import Updates
from pipelines.common.weights import save_weights

METRICS_SECONDS = 0.5  # between two readings of the metrics, each of which waits for the device
CURVES_SECONDS = 30  # between two drawings of the curves, each of which takes most of a second


@dataclasses.dataclass
class Trainer:
    """Trains a built model, and writes everything into a run folder: `Trainer(model, run=run, …).train()`.

    Attributes:
        data: data(epoch) returns the tf.data.Dataset of an epoch, counted from 0. Its order depends only on the seed
            and the epoch. A batch is any structure of tensors, each with the batch as its first axis or a scalar, and
            without strings if options.xla is set.
            Schedules of the learning rate need the number of batches: that of epoch 0, and of each epoch in which a
            parameter group begins to train, is read, and assumed for the epochs that follow.
        loss: loss(batch, training) returns name -> (total, weight), both scalars. An update minimizes
            sum(total) / sum(weight) of "loss" over all replicas and accumulated batches; the other names are metrics.
            If the loss carries a state from batch to batch (see tbptt.py), its variables are `loss.variables`.
        validate: validate() returns the metrics at the end of an epoch, name -> float, usually named "val_…".
        monitor: name of the metric, of validation or training, that selects the best weights and stops the training
            early. Of two epochs with the same score, the one with the lower val_loss is better. To keep the weights of
            the last epoch: "epoch", which is the number of the epoch, with mode "max".
        mode: whether the largest ("max") or the smallest ("min") value of `monitor` is the best.
        parameter_groups: weights with learning rates of their own, which may be frozen at first. Batches may have
            another structure from the epoch on in which a group begins to train.
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
        """Trains from the last checkpoint, or from the start if there is none, to the end; returns the run's summary.

        The model and run.weights_file then have the best weights (with options.ema, those of the moving average), as
        at_end left them.

        Raises:
            UserError: The loss is not finite, there is no data, or a file cannot be written.
            KeyboardInterrupt: Ctrl-C or SIGTERM, raised after a checkpoint was written, at a second signal at once.
        """
        if self.run.finished:
            self.run.load_weights(self.model)
            return self.run.summary
        self._prepare()
        self._restore_checkpoint()
        if workers.several():
            workers.require_same(self.updates.checksum(), "the weights at the start of the training")
        try:
            with Signals() as self.signals:
                self.callback_list.on_train_begin()
                self.model.stop_training = False  # a callback may set it
                while not self._should_stop():
                    self._train_epoch()
                self.callback_list.on_train_end()
                return self._computed_by_chief(self._finish)
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
        options = self.options
        self.best_weights = BestWeights(self.run, self.monitor, self.mode)
        epochs = {0, *(group.from_epoch for group in self.parameter_groups)}
        steps_per_epoch = {epoch: int(self.data(epoch).cardinality()) for epoch in epochs}
        if tf.data.INFINITE_CARDINALITY in steps_per_epoch.values():
            raise ValueError("data(epoch) never ends: take() the batches of an epoch")
        if tf.data.UNKNOWN_CARDINALITY in steps_per_epoch.values():
            steps_per_epoch = {}
        if not steps_per_epoch and not float(options.epochs).is_integer():
            raise UserError(f"--epochs is {options.epochs}: a part of an epoch needs data whose length is known")
        self.updates = Updates(self.model, self.loss, options, self.parameter_groups, steps_per_epoch)
        self.checkpoints = Checkpoints(self.run.checkpoints)
        self.progress = Progress()
        of_chief = [*display(), *([TensorBoardLogs(self.run.logs)] if options.tensorboard else [])]
        self.callback_list = keras.callbacks.CallbackList(
            [*(of_chief if workers.is_chief() else []), *self.callbacks],
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

        If the run resumes within the epoch, the batches that it has already trained on are skipped.
        """
        progress, epoch = self.progress, self.progress.epoch
        self.counted_at = time.monotonic()
        self.metrics, self.metrics_at = {}, 0.0  # the last ones that were read, and when
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
            with moving_average.in_place_of(self.updates.weights, self.updates.averages):
                metrics |= self._computed_by_chief(self._validated)
                self._end_epoch(metrics)
        except Interrupted:
            self._save_checkpoint()
            raise
        self._save_checkpoint()
        if workers.any_worker(self.signals.received):
            raise Interrupted
        if workers.is_chief() and time.monotonic() - self.drawn_at >= CURVES_SECONDS:
            self._draw_curves()

    def _validated(self) -> dict[str, float]:
        return {name: float(value) for name, value in self.validate().items()}

    def _computed_by_chief(self, compute: Callable[[], dict]) -> dict:
        """Returns what compute() returned to the chief, at every worker. If a signal interrupts it, all workers raise
        Interrupted."""
        found = None
        if workers.is_chief():
            with contextlib.suppress(Interrupted), self.signals.interrupt_immediately():
                found = compute()
        found = workers.from_chief(found)
        if found is None:
            raise Interrupted
        return found

    def _batches(self, epoch: int) -> tf.data.Dataset:
        """Returns data(epoch), or a part of it in the last epoch if options.epochs is not a whole number."""
        dataset, epochs_left = self.data(epoch), self.options.epochs - epoch
        if epochs_left < 1:
            dataset = dataset.take(max(round(int(dataset.cardinality()) * epochs_left), 1))
        steps = int(dataset.cardinality())
        self.callback_list.set_params({**self.callback_list.params, "steps": steps if steps >= 0 else None})
        return dataset

    def _train_on_batch(self, batch):
        progress = self.progress
        self.callback_list.on_train_batch_begin(progress.batch)
        self.updates.stop_requested = self.signals.received
        self.updates.train_on_batch(batch, progress.step + 1)
        progress.batch += 1
        progress.step += 1
        now = time.monotonic()
        if now - self.metrics_at >= METRICS_SECONDS:
            self.metrics, self.metrics_at = self.updates.metrics(), now
        self.callback_list.on_train_batch_end(progress.batch - 1, self.metrics)
        if not workers.several():
            self.signals.raise_if_received()
        elif self.updates.any_worker_stops():
            raise Interrupted
        steps, minutes = self.options.checkpoint_steps, self.options.checkpoint_minutes
        if (steps and progress.step % steps == 0) or (minutes and now - self.saved_at >= 60 * minutes):
            self._save_checkpoint()

    def _end_epoch(self, metrics: dict[str, float]):
        """Saves the weights if they are the best, writes the history, and advances the progress to the next epoch."""
        progress = self.progress
        self._count_seconds()
        row = {
            "epoch": progress.epoch + 1,
            "step": progress.step,
            **metrics,
            "learning_rate": self.updates.learning_rate(),
            "seconds": round(progress.epoch_seconds, 3),
        }
        self.best_weights.update(progress, row, self.model)
        progress.rows.append(row)
        if workers.is_chief():
            write_history(self.run.history_file, progress.rows)
        progress.epoch, progress.batch, progress.epoch_seconds = progress.epoch + 1, 0, 0.0
        self.updates.reset_metrics()
        self.callback_list.on_epoch_end(row["epoch"] - 1, {k: v for k, v in row.items() if k not in ("epoch", "step")})

    def _draw_curves(self):
        from pipelines.common.pictures import charts  # imports matplotlib, which is slow

        charts.draw_curves(self.run.history_file, self.run.curves_file)
        self.drawn_at = time.monotonic()

    def _count_seconds(self):
        """Adds the time since the last call to the seconds of the epoch and of the whole training."""
        now = time.monotonic()
        self.progress.seconds += now - self.counted_at
        self.progress.epoch_seconds += now - self.counted_at
        self.counted_at = now

    # Checkpoints ------------------------------------------------------------------------------------------------------

    def _save_checkpoint(self):
        self.updates.check_finite()
        if not workers.is_chief():
            return
        self._count_seconds()
        progress = self.progress
        progress.pending, progress.sums = self.updates.pending, tf.nest.map_structure(float, self.updates.sums)
        self.best_weights.before_checkpoint(progress)
        self.checkpoints.save(progress.step, dataclasses.asdict(progress), self.updates.variables())
        self.best_weights.after_checkpoint(progress)
        self.saved_at = time.monotonic()

    def _restore_checkpoint(self):
        stored = self.checkpoints.restore(self.updates.variables())
        if stored is None:
            return
        progress = self.progress = Progress(**stored)
        self.updates.pending = progress.pending
        self.updates.sums = tf.nest.map_structure(lambda value: tf.constant(value, tf.float64), progress.sums)
        if not workers.is_chief():  # its copy of the run lacks these files, see prologue.py
            return
        self.best_weights.restore(progress)
        if progress.rows:
            write_history(self.run.history_file, progress.rows)
        print(f"{self.run.path}: going on after step {progress.step} (epoch {progress.epoch + 1})", file=sys.stderr)

    # The end ----------------------------------------------------------------------------------------------------------

    def _finish(self) -> dict:
        """Loads the best weights, calls at_end, and marks the run as finished; returns the summary."""
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

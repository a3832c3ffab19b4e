"""The training loop of every pipeline, on a tf.distribute strategy, that can be killed at any moment.

Why not model.fit: it clips the gradients of each replica before they are summed, and cannot resume inside an epoch. The
models stay plain Keras models that fit can train, too.

A run that was killed and started again ends with the same bits as one that never was (same machine, number of threads
and --xla): everything the training changes is in one atomic checkpoint, the order of the data depends on the seed and
the epoch alone, and what lies outside of the checkpoint (history.csv, logs, the best weights) is written before it, and
written again, the same, when training is repeated from the checkpoint before.
"""

import contextlib
import math
import sys
import time
from collections.abc import Callable

import keras
import tensorflow as tf

from pipelines.common import files, runs
from pipelines.common.errors import UserError
from pipelines.common.runs import Run
from pipelines.common.training.checkpoints import KEEP, Checkpoints, NotFiniteError
from pipelines.common.training.history import improves, write_history
from pipelines.common.training.interrupts import Interrupted, Signals
from pipelines.common.training.optimizers import OwnRate, make_optimizer
from pipelines.common.training.options import TrainingOptions
from pipelines.common.training.progress import Logs, display
from pipelines.common.training.updates import NO_BAD_STEP, Updates

GLANCE_SECONDS = 0.5  # how often the loop reads the metrics and looks for a loss that is not finite
REDRAW_SECONDS = 30  # between two pictures of the curves, each of which takes most of a second


def train(
    model: keras.Model,
    *,
    run: Run,
    options: TrainingOptions,
    data,
    steps_per_epoch: int | None = None,
    loss=None,
    validate,
    monitor: str,
    mode: str,
    step=None,
    own_rate: OwnRate | None = None,
    callbacks=(),
    at_end: Callable[[], dict] | None = None,
) -> dict:
    """Trains a built model in a started run, or goes on where the run stopped; gives the summary.

    data(epoch) gives the tf.data.Dataset of the epoch's batches, in an order that depends on the seed and `epoch` (from
        0) alone; a batch is any structure of tensors whose first axis is the batch (scalars aside), without strings
        when options.xla is on.
    steps_per_epoch: batches of an epoch; None reads to the end.
    loss(batch, training) gives name -> (total float[], weight float[]). total / weight of "loss" is minimised, over the
        whole global batch; the other names are metrics of the training data.
    validate() gives name -> float; `monitor` names the one (or a training metric) that chooses the best weights and
        ends the training early, `mode` is "max" or "min". Of equal ones that with the lower val_loss is the better.
    step: instead of `loss`, an object that is called as `loss` is and carries tf.Variables of its own from batch to
        batch (`step.variables`, kept in the checkpoints), as in tbptt.py.
    own_rate: weights that learn at a rate of their own, maybe from a later epoch on; with that epoch data(epoch) may
        give batches of another structure.
    callbacks: more Keras callbacks; they are given plain floats.
    at_end() is called when the best weights are in the model; it may change them, and gives entries that are added to
        the summary, whose scores stay those from before. A run that is killed meanwhile calls it again.

    Afterwards the best (averaged, with options.ema) weights, as at_end left them, are in the model and in
    run.weights_file. Raises UserError when the loss is no longer finite, when there is no data, and when a file cannot
    be written; KeyboardInterrupt, after a checkpoint, on Ctrl-C and SIGTERM.
    """
    return _Training(
        model, run, options, data, steps_per_epoch, loss, validate, monitor, mode, step, own_rate, callbacks, at_end
    ).complete()


class _Training:
    """One call of train: the loop's state (`state`, JSON values alone) and what it needs."""

    def __init__(
        self,
        model,
        run,
        options,
        data,
        steps_per_epoch,
        loss,
        validate,
        monitor,
        mode,
        step,
        own_rate,
        callbacks,
        at_end,
    ):
        if mode not in ("max", "min"):
            raise ValueError(f"mode is {mode!r}, expected 'max' or 'min'")
        if (loss is None) == (step is None):
            raise ValueError("give either loss or step")
        self.model, self.run, self.options, self.data = model, run, options, data
        self.steps_per_epoch, self.validate, self.monitor, self.mode = steps_per_epoch, validate, monitor, mode
        place = tf.distribute.get_strategy()
        with contextlib.suppress(AttributeError, IndexError):
            place = model.trainable_variables[0].value.distribute_strategy
        self.strategy = place or tf.distribute.get_strategy()
        if step is not None and self.strategy.num_replicas_in_sync > 1:
            raise UserError("a state that is carried from batch to batch trains on one replica: use --strategy none")
        if not float(options.epochs).is_integer() and not steps_per_epoch:
            raise UserError(f"--epochs is {options.epochs}: a part of an epoch needs data whose length is known")
        self.own_rate, self.at_end = own_rate, at_end
        self.updates = self._make_updates(loss or step)
        self.carried = list(step.variables) if step is not None else []
        self.checkpoints = Checkpoints(run.checkpoints)
        self.callbacks = keras.callbacks.CallbackList(
            [*display(), *([Logs(run.logs)] if options.tensorboard else []), *callbacks],
            model=model,
            epochs=math.ceil(options.epochs),
            steps=steps_per_epoch,
            verbose=1,
        )
        # epoch and batch: where the data goes on; sums and pending: of the epoch begun; waited: epochs without a better
        # score; seconds: of all processes that trained this run.
        self.state = {
            "epoch": 0, "batch": 0, "step": 0, "pending": 0, "sums": {}, "rows": [], "best": None, "waited": 0,
            "best_files": {}, "seconds": 0.0, "epoch_seconds": 0.0,
        }  # fmt: skip

    def _make_updates(self, loss) -> Updates:
        model, options, steps, own = self.model, self.options, self.steps_per_epoch, self.own_rate
        with self.strategy.scope():
            if own is None:
                optimizer = make_optimizer(options, steps and math.ceil(steps / options.accumulate), model)
                return Updates(model, loss, optimizer, options, self.strategy)
            optimizer, own_optimizer = own.make_optimizers(options, steps, model)
            return Updates(model, loss, optimizer, options, self.strategy, own.weights, own_optimizer)

    def complete(self) -> dict:
        if self.run.finished:
            runs.load_weights(self.model, self.run.require_weights().weights_file)
            return self.run.summary
        self._resume()
        self.saved_at = self.drawn_at = time.monotonic()
        try:
            with Signals() as self.signals:
                self.callbacks.on_train_begin()
                self.model.stop_training = False  # a callback may set it
                while self.state["epoch"] < self.options.epochs and not self._out_of_patience():
                    if self.model.stop_training:
                        break
                    self._epoch()
                    if time.monotonic() - self.drawn_at >= REDRAW_SECONDS:
                        self._draw_curves()
                self.callbacks.on_train_end()
                return self._finish()
        except BaseException:
            if self.state["rows"]:
                with contextlib.suppress(OSError, UserError):  # what stopped it is what there is to say
                    self._draw_curves()
            raise

    # Epochs and steps -------------------------------------------------------------------------------------------------

    def _epoch(self):
        state, epoch = self.state, self.state["epoch"]
        self.clock = time.monotonic()
        self.callbacks.on_epoch_begin(epoch)
        try:
            self._steps(self.data(epoch))
            self.updates.flush(state["step"])
            self._stop_if_not_finite()
            metrics = self.updates.metrics()
            with self.updates.averaged_weights():
                with self.signals.immediate():
                    scores = {name: float(value) for name, value in self.validate().items()}
                self._end_epoch({**metrics, **scores})
        except Interrupted:
            self._tick()
            self._save()
            raise
        self._save()
        self.signals.check()

    def _steps(self, dataset):
        state, limit = self.state, self.steps_per_epoch
        with_own = self.own_rate is not None and state["epoch"] >= self.own_rate.from_epoch
        if with_own:
            limit = self.own_rate.steps_per_epoch or limit
        left = self.options.epochs - state["epoch"]
        if left < 1:
            limit = max(round(limit * left), 1)
        logs, looked = {}, 0.0
        self.updates.prepare(dataset.element_spec, with_own)
        dataset = dataset.take(-1 if limit is None else limit)
        for batch in dataset.skip(state["batch"]) if state["batch"] else dataset:
            self.callbacks.on_train_batch_begin(state["batch"])
            self.updates(batch, state["step"] + 1)
            state["batch"] += 1
            state["step"] += 1
            now = time.monotonic()
            if now - looked >= GLANCE_SECONDS:  # reading waits for the device, so not at every step
                self._stop_if_not_finite()
                logs, looked = self.updates.metrics(), now
            self.callbacks.on_train_batch_end(state["batch"] - 1, logs)
            self.signals.check()
            if self._checkpoint_due(now):
                self._tick()
                self._save()
        if state["batch"] == 0:
            raise UserError(f"the training data of {self.run.task} gave no batch at all")

    def _checkpoint_due(self, now: float) -> bool:
        options = self.options
        by_steps = options.checkpoint_steps and self.state["step"] % options.checkpoint_steps == 0
        return by_steps or (options.checkpoint_minutes and now - self.saved_at >= 60 * options.checkpoint_minutes)

    def _end_epoch(self, values: dict[str, float]):
        """Writes the best weights and the history, and moves the state to the next epoch."""
        state = self.state
        if self.monitor not in values:
            raise ValueError(f"monitor is {self.monitor!r}, expected one of {', '.join(values)}")
        self._tick()
        row = {
            "epoch": state["epoch"] + 1, "step": state["step"], **values,
            "learning_rate": self.updates.learning_rate(), "seconds": round(state["epoch_seconds"], 3),
        }  # fmt: skip
        self._judge(row)
        state["rows"].append(row)
        write_history(self.run.history_file, state["rows"])
        state.update(epoch=state["epoch"] + 1, batch=0, epoch_seconds=0.0)
        self.updates.sums = {}
        self.callbacks.on_epoch_end(row["epoch"] - 1, {k: v for k, v in row.items() if k not in ("epoch", "step")})

    def _judge(self, row):
        if not improves(row, self.state["best"], self.monitor, self.mode):
            self.state["waited"] += 1
            return
        # The file is written before the checkpoint that speaks of it, under the name of its step: whatever happens in
        # between, the file that a checkpoint speaks of is there.
        name = f"best-{row['step']:09d}.weights.h5"
        runs.save_weights(self.model, self.run.checkpoints / name)
        files.publish(self.run.checkpoints / name, self.run.weights_file)
        best = {"epoch": row["epoch"], "score": row[self.monitor], "loss": row.get("val_loss", math.nan), "file": name}
        self.state.update(best=best, waited=0)

    def _draw_curves(self):
        from pipelines.common.pictures import charts  # matplotlib is slow to import

        charts.draw_curves(self.run.history_file, self.run.curves_file)
        self.drawn_at = time.monotonic()

    def _out_of_patience(self) -> bool:
        return bool(self.options.patience) and self.state["waited"] >= self.options.patience

    # Checkpoints ------------------------------------------------------------------------------------------------------

    def _variables(self) -> dict[str, list]:
        return {**self.updates.variables(), "carried": self.carried}

    def _save(self):
        self._stop_if_not_finite()
        state = self.state
        sums = {name: [float(value) for value in pair] for name, pair in self.updates.sums.items()}
        # What the kept checkpoints call the best must stay on the disk as long as they do.
        state["best_files"][str(state["step"])] = state["best"] and state["best"]["file"]
        state["best_files"] = dict(sorted(state["best_files"].items(), key=lambda item: int(item[0]))[-KEEP:])
        state.update(sums=sums, pending=self.updates.pending)
        try:
            self.checkpoints.save(state["step"], state, self._variables())
        except NotFiniteError as error:
            self._stop(f"the variable {error} is not finite after step {state['step']}")
        for file in self.run.checkpoints.glob("best-*.weights.h5"):
            if file.name not in state["best_files"].values():
                file.unlink(missing_ok=True)
        self.saved_at = time.monotonic()

    def _resume(self):
        state = self.checkpoints.restore(self._variables())
        if state is None:
            return
        self.state = state
        self.updates.pending = state["pending"]
        self.updates.sums = {
            name: tuple(tf.constant(value, tf.float64) for value in pair) for name, pair in state["sums"].items()
        }
        if state["best"]:
            files.publish(self.run.checkpoints / state["best"]["file"], self.run.weights_file)
            write_history(self.run.history_file, state["rows"])
        print(f"{self.run.path}: going on after step {state['step']} (epoch {state['epoch'] + 1})", file=sys.stderr)

    def _stop_if_not_finite(self):
        bad = int(self.updates.bad_step.numpy())
        if bad != NO_BAD_STEP:
            self._stop(f"the loss or its gradient is not finite at step {bad}")

    def _stop(self, reason: str):
        files = self.checkpoints.files()
        kept = f"the last good checkpoint is {files[-1]}" if files else "there is no checkpoint yet"
        raise UserError(f"training stopped: {reason}; {kept}. Try a smaller --learning-rate or --clip-norm")

    # The end ----------------------------------------------------------------------------------------------------------

    def _tick(self):
        """Adds the time since the last tick to the state's clocks."""
        now = time.monotonic()
        self.state["seconds"] += now - self.clock
        self.state["epoch_seconds"] += now - self.clock
        self.clock = now

    def _finish(self) -> dict:
        state = self.state
        runs.load_weights(self.model, self.run.weights_file)
        self._draw_curves()
        best = state["best"]
        chosen = next(row for row in state["rows"] if row["epoch"] == best["epoch"])
        summary = {
            "best_epoch": best["epoch"],
            "monitor": self.monitor,
            "best_score": best["score"],
            "scores": {name: v for name, v in chosen.items() if name not in ("epoch", "step", "seconds")},
            "epochs": state["epoch"],
            "steps": state["step"],
            "seconds": round(state["seconds"], 3),
        }
        if self.at_end:
            # Killed from here on, the run publishes the best weights of the checkpoint again, and changes them anew.
            with self.signals.immediate():
                summary |= self.at_end()
            runs.save_weights(self.model, self.run.weights_file)
        self.signals.check()
        self.run.finish(summary)
        return summary

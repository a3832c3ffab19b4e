import csv
import json
import math
import os
import signal
import struct
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from layers.lstm import LSTM
from pipelines.common.errors import UserError
from pipelines.common.runs import Run
from pipelines.common.training import loop
from pipelines.common.training.loop import Trainer
from pipelines.common.training.optimizers import ParameterGroup, Schedule, make_optimizer
from pipelines.common.training.options import TrainingOptions
from pipelines.common.training.updates import Updates, untracked_variables
from pipelines.common.weights import load_weights
from tests import killing
from tests.pipelines.common.training import small_training
from tests.pipelines.common.training.small_training import classification, classifier, train_classifier

QUICK = {"tensorboard": False, "learning_rate": 0.02, "epochs": 2}


@pytest.fixture(autouse=True)
def policy():
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


def options(**changes) -> TrainingOptions:
    return TrainingOptions(**{**QUICK, **changes})


def train(folder, changes=None, **more):
    chosen = options(**(changes or {}))
    with Run.start(folder, "small", chosen) as run:
        return train_classifier(run, chosen, **more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Returns the folder of a run that was trained without a stop, the model, and the summary."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, *train(folder)


def rows(folder) -> list[dict]:
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


class Killed(Exception):
    """Raised by a test to end a training in the middle, without a checkpoint."""


class KillAt(keras.callbacks.Callback):
    def __init__(self, batch: int, epoch: int = 0, error=Killed):
        super().__init__()
        self.at, self.error = (epoch, batch), error

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise self.error


# Learning -------------------------------------------------------------------------------------------------------------


def test_it_learns_and_leaves_a_run_that_explains_itself(tmp_path):
    model, summary = train(tmp_path, {"epochs": 6, "tensorboard": True}, dropout=0.0)
    table = rows(tmp_path)
    assert list(table[0]) == ["epoch", "step", "loss", "accuracy", "val_loss", "learning_rate", "seconds"]
    assert [int(row["step"]) for row in table] == [14 * (i + 1) for i in range(6)]
    assert float(table[-1]["loss"]) < 0.5 * float(table[0]["loss"])
    best = min(range(6), key=lambda i: float(table[i]["val_loss"]))
    assert summary["best_epoch"] == best + 1 and summary["best_score"] == float(table[best]["val_loss"])
    assert summary["steps"] == 14 * 6 and summary["seconds"] > 0
    run = Run.open(tmp_path, "small")
    assert run.finished and run.summary == summary
    assert run.curves_file.read_bytes().startswith(b"\x89PNG")
    # The weights of the best epoch, not of the last, are in the model and in the file.
    assert small_training.validation(classification(model))()["val_loss"] == summary["best_score"]
    other = classifier()
    load_weights(other, run.weights_file)
    assert small_training.validation(classification(other))()["val_loss"] == summary["best_score"]


def test_tensorboard_opens_the_logs(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tmp_path, {"tensorboard": True})
    for part, tag, column in (("train", "epoch_loss", "loss"), ("validation", "epoch_loss", "val_loss")):
        events = EventAccumulator(str(tmp_path / "logs" / part)).Reload()
        scalars = events.Scalars(tag)
        assert [event.step for event in scalars] == [0, 1]
        expected = [struct.unpack("f", struct.pack("f", float(row[column])))[0] for row in rows(tmp_path)]
        assert [event.value for event in scalars] == expected
    assert "epoch_learning_rate" in EventAccumulator(str(tmp_path / "logs" / "train")).Reload().Tags()["scalars"]


def test_a_finished_run_is_not_trained_again(whole):
    folder, first, summary = whole

    def no_data(epoch):
        raise AssertionError("a finished run needs no data")

    second, again = train(folder, data=no_data)
    assert again == summary
    for one, two in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_early_stopping_counts_epochs_without_a_better_score(tmp_path):
    _, summary = train(tmp_path, {"epochs": 9, "patience": 2, "learning_rate": 1e-12, "clip_norm": 1e-6, "ema": 0.0})
    table = [float(row["val_loss"]) for row in rows(tmp_path)]
    assert len(table) == summary["best_epoch"] + 2 < 9
    assert min(table) == table[summary["best_epoch"] - 1]


def test_of_equal_scores_the_lower_loss_is_the_better(tmp_path):
    chosen, losses = options(epochs=5, patience=2), iter([0.3, 0.1, 0.2, 0.1, 0.0])
    model = classifier()
    with Run.start(tmp_path, "small", chosen) as run:
        summary = Trainer(
            model, run=run, options=chosen, data=small_training.batches, loss=classification(model),
            validate=lambda: {"val_accuracy": 1.0, "val_loss": next(losses)}, monitor="val_accuracy", mode="max",
        ).train()  # fmt: skip
    assert (summary["best_epoch"], summary["epochs"]) == (2, 4)


@pytest.mark.extra
def test_early_stopping_goes_on_counting_after_a_kill(tmp_path):
    changes = {"epochs": 9, "patience": 2, "learning_rate": 1e-12, "clip_norm": 1e-6, "ema": 0.0}
    train(tmp_path / "whole", changes)
    last = len(rows(tmp_path / "whole")) - 1
    with pytest.raises(Killed):
        train(tmp_path / "killed", changes, callbacks=[KillAt(3, epoch=last)])  # one epoch without a better score
    train(tmp_path / "killed", changes)
    killing.assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_a_callback_may_stop_the_training_and_sees_every_batch(tmp_path):
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(batch)

        def on_epoch_end(self, epoch, logs=None):
            assert {"loss", "accuracy", "val_loss", "learning_rate", "seconds"} <= logs.keys()
            self.model.stop_training = True

    _, summary = train(tmp_path, {"epochs": 5}, callbacks=[Watch()])
    assert seen == list(range(14)) and summary["epochs"] == 1


def test_an_epoch_may_take_a_part_of_endless_data(tmp_path):
    chosen = options(epochs=3)
    model = classifier()
    loss = classification(model)
    with Run.start(tmp_path, "small", chosen) as run:
        summary = Trainer(
            model,
            run=run,
            options=chosen,
            data=lambda epoch: small_training.batches(epoch).repeat().take(5),
            loss=loss,
            validate=lambda: {},
            monitor="accuracy",
            mode="max",
        ).train()
    assert summary["steps"] == 15


@pytest.mark.extra
def test_a_progress_bar_on_a_terminal(tmp_path):
    import pty

    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "tests.pipelines.common.training.small_training", tmp_path / "run", "--tbptt"]
    command += ["--options", json.dumps({"epochs": 1})]
    with subprocess.Popen(command, stdout=follower, stderr=subprocess.PIPE, cwd=killing.ROOT) as process:
        os.close(follower)
        printed = b""
        while True:
            try:
                piece = os.read(leader, 10000)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            printed += piece
        assert process.wait() == 0, process.stderr.read().decode()
    os.close(leader)
    assert b"25/25" in printed and b"loss" in printed and b"\x08" in printed


# The same bits after a stop -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{}, pytest.param({"precision": "mixed_float16", "accumulate": 1}, marks=pytest.mark.extra)]
)
def test_resumed_in_the_middle_of_an_epoch_and_of_an_accumulation(tmp_path, changes, capsys):
    changes = {"epochs": 3, "accumulate": 3, "ema": 0.9, "checkpoint_steps": 5, **changes}
    train(tmp_path / "whole", changes)
    for batch, epoch in ((7, 0), (2, 2)):
        with pytest.raises(Killed):
            train(tmp_path / "killed", changes, callbacks=[KillAt(batch, epoch)])
    train(tmp_path / "killed", changes)
    said = capsys.readouterr().err
    assert "going on after step 5 (epoch 1)" in said and "going on after step 30 (epoch 3)" in said
    killing.assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_resumed_when_the_kill_fell_into_validation_or_the_end(whole, tmp_path, monkeypatch):
    changes = {"checkpoint_steps": 14}
    original = Run.finish
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(loop, "write_history", kill)
        train(tmp_path / "killed", changes)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Run, "finish", kill)
        train(tmp_path / "killed", changes)
    assert Run.finish is original and not Run.open(tmp_path / "killed", "small").finished
    train(tmp_path / "killed", changes)
    killing.assert_same_run(whole[0], tmp_path / "killed")


def kill(*unused):
    raise Killed


def test_a_damaged_checkpoint_changes_nothing(whole, tmp_path, capsys):
    changes = {"checkpoint_steps": 5}
    with pytest.raises(Killed):
        train(tmp_path / "killed", changes, callbacks=[KillAt(8, 1)])
    newest = sorted((tmp_path / "killed" / "checkpoints").glob("step-*"))[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    train(tmp_path / "killed", changes)
    said = capsys.readouterr().err
    assert f"{newest} is damaged" in said and "going on after step 15" in said
    killing.assert_same_run(whole[0], tmp_path / "killed")


@pytest.mark.extra
def test_checkpoints_at_other_moments_change_nothing(tmp_path):
    train(tmp_path / "rare", {"accumulate": 2, "ema": 0.9})
    train(tmp_path / "often", {"accumulate": 2, "ema": 0.9, "checkpoint_minutes": 1e-9})
    killing.assert_same_run(tmp_path / "rare", tmp_path / "often")


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.extra)])
def test_a_signal_checkpoints_at_the_end_of_the_step(whole, tmp_path, number):
    class Send(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 3:
                os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", callbacks=[Send()])
    assert signal.getsignal(number) is before
    assert [f.name for f in (tmp_path / "stopped" / "checkpoints").glob("step-*")] == ["step-000000004.npz"]
    train(tmp_path / "stopped")
    killing.assert_same_run(whole[0], tmp_path / "stopped")


@pytest.mark.extra
def test_curves_are_drawn_now_and_then_and_when_a_run_is_stopped(tmp_path, monkeypatch):
    class Look(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.append((tmp_path / "curves.png").is_file())

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                os.kill(os.getpid(), signal.SIGINT)

    seen: list[bool] = []
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, {"epochs": 4}, callbacks=[Look(), Stop()])
    assert seen == [False, False, False]
    assert (tmp_path / "curves.png").stat().st_size > 1000
    (tmp_path / "curves.png").unlink()
    monkeypatch.setattr(loop, "CURVES_SECONDS", 0)
    train(tmp_path, {"epochs": 4}, callbacks=[Look()])
    assert seen[3:] == [False, True]


def test_a_signal_ends_a_validation_at_once(tmp_path):
    chosen = options(epochs=1)
    model = classifier()
    loss = classification(model)
    calls = []

    def validate():
        calls.append(1)
        if len(calls) == 1:
            timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
            timer.start()
            threading.Event().wait(60)
        return {"val_loss": 1.0}

    def go(run):
        return Trainer(
            model, run=run, options=chosen, data=small_training.batches, loss=loss, validate=validate,
            monitor="val_loss", mode="min",
        ).train()  # fmt: skip

    with pytest.raises(KeyboardInterrupt), Run.start(tmp_path, "small", chosen) as run:
        go(run)
    assert (tmp_path / "checkpoints" / "step-000000014.npz").exists()
    with Run.start(tmp_path, "small", chosen) as run:
        assert go(run)["steps"] == 14 and len(calls) == 2


# What can go wrong ----------------------------------------------------------------------------------------------------


def broken_from(step: int):
    """A callback that ruins a weight before the step-th step."""

    class Break(keras.callbacks.Callback):
        seen = 0

        def on_train_batch_begin(self, batch, logs=None):
            self.seen += 1
            if self.seen == step:
                kernel = self.model.layers[-1].kernel
                kernel.assign(kernel * np.nan)

    return Break()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_nan_stops_at_the_step_and_keeps_the_good_checkpoint(tmp_path, accumulate):
    with pytest.raises(UserError) as caught:
        train(tmp_path, {"checkpoint_steps": 3, "accumulate": accumulate}, callbacks=[broken_from(step=17)])
    message = str(caught.value)
    assert "not finite at step 17" in message and "smaller --learning-rate" in message
    assert "step-000000015.npz" in message
    from pipelines.common.training.checkpoints import read

    newest = sorted((tmp_path / "checkpoints").glob("step-*"))[-1]
    _, arrays = read(newest)
    assert newest.name == "step-000000015.npz" and all(np.isfinite(value).all() for value in arrays.values())
    load_weights(classifier(), tmp_path / "model.weights.h5")


@pytest.mark.extra
def test_disk_full_keeps_the_last_good_checkpoint(tmp_path):
    program = """
import resource, sys
import keras
from pipelines.common.errors import UserError
from tests.pipelines.common.training import small_training as small
class FillTheDisk(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 7:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))
options = small.TrainingOptions(epochs=2, checkpoint_steps=3, tensorboard=False)
full = [FillTheDisk()] if len(sys.argv) > 2 else []
try:
    with small.Run.start(sys.argv[1], "small", options) as run:
        small.train_classifier(run, options, callbacks=full)
except UserError as error:
    print(error)
"""
    full = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "run", "full"], capture_output=True, text=True, cwd=killing.ROOT
    )
    assert full.returncode == 0, full.stderr
    assert "the checkpoint of step 9 could not be saved" in full.stdout and "File too large" in full.stdout
    assert "the last good checkpoint is" in full.stdout and "step-000000006.npz" in full.stdout
    changes = {"checkpoint_steps": 3, "learning_rate": TrainingOptions.learning_rate}
    train(tmp_path / "run", changes)
    train(tmp_path / "whole", changes)
    killing.assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_no_data_and_wrong_names(tmp_path):
    with pytest.raises(UserError, match="gave no batch at all"):
        train(tmp_path / "empty", data=lambda epoch: small_training.batches(epoch).take(0))
    chosen = options()
    model = classifier()
    with pytest.raises(ValueError, match="expected one of"), Run.start(tmp_path / "name", "small", chosen) as run:
        Trainer(
            model, run=run, options=chosen, data=lambda epoch: small_training.batches(epoch).take(1),
            loss=classification(model), validate=lambda: {"val_loss": 1.0}, monitor="val_accuracy", mode="max",
        ).train()  # fmt: skip
    with pytest.raises(UserError, match="--schedule cosine needs --decay-steps"):
        train(tmp_path / "schedule", {"schedule": "cosine"})


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", 0), ("learning_rate", 0.0), ("learning_rate", math.nan), ("ema", 1.0), ("final_fraction", 2.0)],
)
def test_options_are_checked(field, value):
    with pytest.raises(UserError, match=f"--{field.replace('_', '-')} is"):
        TrainingOptions(**{field: value})


# Updates -----------------------------------------------------------------------------------------------------------


def optimizer_of(model, options, steps_per_epoch=None):
    return make_optimizer(options, ParameterGroup(model.trainable_variables, options.learning_rate), steps_per_epoch)


def updated(batches, model=None, **changes):
    """Returns the weights after training once on each batch, and the Updates."""
    keras.utils.set_random_seed(3)
    chosen = options(**changes)
    keras.config.set_dtype_policy(chosen.precision)
    model = model or classifier(dropout=0.0)
    updates = Updates(model, classification(model), chosen)
    spec = (tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32))
    updates.prepare(spec)
    for i, batch in enumerate(batches):
        updates.train_on_batch(tuple(map(tf.constant, batch)), i + 1)
    updates.apply_pending(len(batches))
    return model.get_weights(), updates


def parts(ids, labels, *sizes):
    ends = np.cumsum(sizes)
    return [(ids[end - size : end], labels[end - size : end]) for size, end in zip(sizes, ends, strict=True)]


IDS = np.random.RandomState(5).randint(1, 40, (12, 6)).astype("int32")
LABELS = (IDS.sum(axis=1) % 2).astype("int32")


@pytest.mark.parametrize("xla", [False, pytest.param(True, marks=pytest.mark.extra)])
def test_accumulation_is_the_big_batch(xla):
    """Also when the parts are unequal, and when the epoch ends in the middle of an accumulation."""
    changes = {"optimizer": "sgd", "momentum": 0.5, "clip_norm": 0.01, "learning_rate": 0.5}
    whole, one = updated(parts(IDS, LABELS, 7, 5), **changes)
    split, two = updated(parts(IDS, LABELS, 3, 3, 1, 5), **changes, accumulate=3, xla=xla)
    for a, b in zip(whole, split, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
    assert int(two.optimizers[0].iterations) == int(one.optimizers[0].iterations) == 2
    assert one.metrics().keys() == {"loss", "accuracy"}


def test_clipping_bounds_the_global_norm():
    before = updated([])[0]
    changes = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 1.0}
    free = updated(parts(IDS, LABELS, 12), clip_norm=0.0, **changes)[0]
    clipped = updated(parts(IDS, LABELS, 12), clip_norm=1e-3, **changes)[0]
    moves = [np.concatenate([(a - b).ravel() for a, b in zip(after, before, strict=True)]) for after in (free, clipped)]
    assert np.linalg.norm(moves[0]) > 0.01
    np.testing.assert_allclose(np.linalg.norm(moves[1]), 1e-3, rtol=1e-3)
    np.testing.assert_allclose(moves[1] / 1e-3, moves[0] / np.linalg.norm(moves[0]), atol=1e-3)


def test_the_norm_counts_a_repeated_word_as_one_row():
    """All words are the same: its row's gradient is a sum, whose norm differs from that of its terms."""
    ids, labels = np.full((4, 6), 7, np.int32), np.zeros(4, np.int32)
    before = updated([])[0][0]
    changes = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 1.0, "clip_norm": 1e-4}
    frozen = classifier(dropout=0.0)
    for layer in frozen.layers:
        layer.trainable = isinstance(layer, keras.layers.Embedding)
    frozen.layers[0].set_weights([before])
    after = updated([(ids, labels)], model=frozen, **changes)[0][0]
    np.testing.assert_allclose(np.linalg.norm(after - before), 1e-4, rtol=1e-2)


def test_frozen_weights_stay():
    model = classifier(dropout=0.0)
    model.layers[0].trainable = False
    before = model.get_weights()
    after, updates = updated(parts(IDS, LABELS, 12), model=model, ema=0.9)
    np.testing.assert_array_equal(before[0], after[0])
    assert np.abs(before[1] - after[1]).max() > 0
    assert len(updates.averages) == len(before) - 1


def test_ema_against_numpy():
    averaged = [w.astype("float64") for w in updated([])[0]]
    batches = parts(IDS, LABELS, 3, 3, 3, 3)
    for t in range(1, 5):
        weights, updates = updated(batches[:t], ema=0.3)
        keep = min(0.3, (1 + t) / (10 + t))
        averaged = [keep * a + (1 - keep) * w for a, w in zip(averaged, weights, strict=True)]
    for average, expected in zip(updates.averages, averaged, strict=True):
        np.testing.assert_allclose(average.numpy(), expected, atol=1e-6)


def test_ema_is_what_is_validated_and_kept(tmp_path):
    seen = {}

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen["weights"] = self.model.get_weights()

        def on_epoch_end(self, epoch, logs=None):
            seen["averages"] = self.model.get_weights()

        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                for now, then in zip(self.model.get_weights(), seen["weights"], strict=True):
                    np.testing.assert_array_equal(now, then)
                seen["back"] = True

    model, summary = train(tmp_path, {"ema": 0.99}, dropout=0.0, callbacks=[Look()])
    assert seen["back"]
    assert any(np.abs(a - b).max() > 1e-4 for a, b in zip(seen["weights"], seen["averages"], strict=True))
    assert small_training.validation(classification(model))()["val_loss"] == summary["best_score"]


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_is_close_to_float32(precision):
    batches = parts(IDS, LABELS, 12) * 12
    _, one = updated(batches, optimizer="adamw", weight_decay=0.01)
    mixed, two = updated(batches, optimizer="adamw", weight_decay=0.01, precision=precision)
    assert all(weight.dtype == np.float32 for weight in mixed)
    assert abs(one.metrics()["loss"] - two.metrics()["loss"]) < 0.05
    if precision == "mixed_float16":
        assert isinstance(two.optimizers[0], keras.optimizers.LossScaleOptimizer)
        assert 0 < int(two.optimizers[0].iterations) <= 12


def test_float16_skips_an_overflow_and_goes_on():
    """The first loss scale is too large for a summed loss of this size: the step is skipped, the scale halved."""
    batch = [(np.tile(IDS, (400, 1)), np.tile(LABELS, 400))]
    before = updated([], precision="mixed_float16")[0]
    once, updates = updated(batch, precision="mixed_float16")
    assert float(updates.optimizers[0].dynamic_scale) == 2.0**14
    assert updates.nonfinite_step.numpy() == -1
    for a, b in zip(before, once, strict=True):
        np.testing.assert_array_equal(a, b)
    many, updates = updated(batch * 16, precision="mixed_float16")
    assert np.abs(many[0] - before[0]).max() > 0 and all(np.isfinite(w).all() for w in many)


@pytest.mark.parametrize("optimizer", ["adam", "lazy-adam", "adamw", "sgd", "rmsprop", "lion"])
def test_every_optimizer_builds_and_spares_biases_from_decay(optimizer):
    model = classifier(recurrent=True)
    built = optimizer_of(model, options(optimizer=optimizer, weight_decay=0.1))
    decayed = [v.name for v in model.trainable_variables if built._use_weight_decay(v)]
    assert sorted(set(decayed)) == ["embeddings", "kernel", "recurrent_kernel"]


def test_schedules():
    def rates(kind, **more):
        schedule = Schedule(kind, 2.0, warmup=4, end=14, **more)
        return [float(schedule(t)) for t in (0, 1, 3, 4, 9, 14, 50)]

    up = [0.5, 1.0, 2.0]
    np.testing.assert_allclose(rates("constant"), [*up, 2, 2, 2, 2])
    np.testing.assert_allclose(rates("linear", final=0.1), [*up, 2, 1.1, 0.2, 0.2], rtol=1e-6)
    np.testing.assert_allclose(rates("cosine", final=0.1), [*up, 2, 1.1, 0.2, 0.2], rtol=1e-6)
    np.testing.assert_allclose(rates("exponential", final=0.01), [*up, 2, 0.2, 0.02, 0.02], rtol=1e-5)
    np.testing.assert_allclose(
        rates("inverse-sqrt"), [*up, 2, 2 * (4 / 9) ** 0.5, 2 * (4 / 14) ** 0.5, 2 * (4 / 50) ** 0.5], rtol=1e-6
    )
    # halved after update 6, then every 3 updates, as "after five epochs every half epoch" of Sutskever et al. 2014
    halving = Schedule("halving", 2.0, first=6, every=3)
    assert [float(halving(t)) for t in (0, 5, 6, 8, 9, 12)] == [2, 2, 1, 1, 0.5, 0.25]
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(Schedule("linear", 1.0, 2, 5)))
    assert float(again(3)) == float(Schedule("linear", 1.0, 2, 5)(3))


def test_halving_counts_in_epochs():
    chosen = options(schedule="halving", halving_from=5.0, halving_every=0.5, learning_rate=0.7)
    built = optimizer_of(classifier(), chosen, {0: 100})
    for updates, rate in ((0, 0.7), (499, 0.7), (500, 0.35), (549, 0.35), (550, 0.175), (749, 0.7 / 32)):
        built.iterations.assign(updates)
        assert float(built.learning_rate) == pytest.approx(rate), updates
    with pytest.raises(UserError, match="counts in epochs"):
        optimizer_of(classifier(), chosen)


@pytest.mark.extra
def test_a_part_of_an_epoch(tmp_path):
    """2.5 epochs of 14 batches: the last one trains on 7, and a run killed in it goes on to the same weights."""

    def counted(epoch: int) -> tf.data.Dataset:
        return small_training.batches(epoch).apply(tf.data.experimental.assert_cardinality(14))

    def run(name, **more):
        chosen = options(epochs=2.5, schedule="linear", checkpoint_steps=3)
        model = classifier()
        loss = classification(model)
        keras.utils.set_random_seed(1)
        with Run.start(tmp_path / name, "small", chosen) as opened:
            return Trainer(
                model, run=opened, options=chosen, data=counted, loss=loss,
                validate=small_training.validation(loss), monitor="val_loss", mode="min", **more,
            ).train()  # fmt: skip

    keras.utils.set_random_seed(1)
    assert run("whole")["steps"] == 14 + 14 + 7
    assert [int(row["step"]) for row in rows(tmp_path / "whole")] == [14, 28, 35]
    assert float(rows(tmp_path / "whole")[-1]["learning_rate"]) == pytest.approx(QUICK["learning_rate"] * 0.01)
    keras.utils.set_random_seed(1)
    with pytest.raises(Killed):
        run("killed", callbacks=[KillAt(4, epoch=2)])
    keras.utils.set_random_seed(1)
    run("killed")
    killing.assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_a_part_of_an_epoch_of_unknown_length(tmp_path):
    with pytest.raises(UserError, match="a part of an epoch needs data whose length is known"):
        train(tmp_path, {"epochs": 1.5})


def test_one_graph_for_batches_of_every_length():
    _, updates = updated([(IDS[:n, :t], LABELS[:n]) for n in (3, 4, 5) for t in (2, 4, 6)])
    assert updates._differentiate.experimental_get_tracing_count() == 1


def test_strings_are_kept_out_of_xla():
    model = classifier()
    chosen = options(xla=True)
    updates = Updates(model, None, chosen)
    with pytest.raises(ValueError, match="XLA cannot compile strings"):
        updates.prepare({"text": tf.TensorSpec([None], tf.string)})


@pytest.mark.extra
@pytest.mark.parametrize(
    ("recurrent", "cases"),
    [
        (False, [{"accumulate": 2}]),
        pytest.param(True, [{}, {"accumulate": 2}, {"xla": True}], marks=pytest.mark.slow),
    ],
)
def test_two_replicas_are_one(tmp_path, recurrent, cases):
    """Weights after batches that split evenly, unevenly, and not at all (one row for two replicas), with clipping,
    accumulation and averages; with gradients that are summed by rows, and rounded; and a whole training with dropout,
    killed and resumed, on two replicas."""
    program = """
import json, sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras, numpy as np
from pipelines.common.training import strategies
from pipelines.common.training.updates import Updates
from tests import killing
from tests.pipelines.common.training import small_training as small, test_loop as tests

def weights(strategy, **changes):
    options = tests.options(strategy=strategy, clip_norm=0.05, learning_rate=0.5, optimizer="sgd", ema=0.5, **changes)
    keras.utils.set_random_seed(1)
    with strategies.choose(options).scope():
        model = small.classifier(dropout=0.0, recurrent=recurrent)
    updates = Updates(model, small.classification(model), options)
    updates.prepare((tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)))
    for i, batch in enumerate(tests.parts(tests.IDS, tests.LABELS, 6, 5, 1)):
        updates.train_on_batch(tuple(map(tf.constant, batch)), i + 1)
    updates.apply_pending(3)
    return [*model.get_weights(), *(v.numpy() for v in updates.averages)], updates.metrics(), updates.replicas

recurrent = json.loads(sys.argv[3])
for changes in json.loads(sys.argv[1]):
    one, sums, single = weights("none", accumulate=changes.get("accumulate", 1))
    two, others, double = weights("mirrored", **changes)
    assert (single, double) == (1, 2)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
    assert abs(sums["loss"] - others["loss"]) < 1e-6 and sums["accuracy"] == others["accuracy"]

from pipelines.common.training import replicas
dense, sums, _ = weights("mirrored")
replicas.SPARSE_FROM = small.WORDS
sparse, others, _ = weights("mirrored")
rounded, _, _ = weights("mirrored", compress="float16")
assert sums == others
for a, b, c in zip(dense, sparse, rounded, strict=True):
    np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(a, c, rtol=0, atol=1e-4)
assert any((a != c).any() for a, c in zip(dense, rounded))

from pathlib import Path
folder = Path(sys.argv[2])
changes = {"strategy": "mirrored", "checkpoint_steps": 4, "epochs": 1, "ema": 0.9, "accumulate": 2}
tests.train(folder / "whole", changes)
try:
    tests.train(folder / "killed", changes, callbacks=[tests.KillAt(8)])
except tests.Killed:
    pass
tests.train(folder / "killed", changes)
killing.assert_same_run(folder / "whole", folder / "killed")
print("all the same")
"""
    command = [sys.executable, "-c", program, json.dumps(cases), tmp_path, json.dumps(recurrent)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=killing.ROOT)
    assert done.stdout.strip().endswith("all the same"), done.stderr[-5000:]


def test_the_state_that_a_layer_carries_is_in_the_checkpoints():
    inputs = keras.Input((None, 2))
    model = keras.Model(inputs, keras.layers.Bidirectional(LSTM(3, stateful=True))(inputs))
    model(np.ones((4, 5, 2), np.float32))
    found = untracked_variables(model)
    assert [tuple(variable.numpy().shape) for variable in found] == [(4, 3)] * 4

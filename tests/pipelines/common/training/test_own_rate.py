"""Weights that learn at a rate of their own, from an epoch on: against Keras's optimizers driven by hand."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.runs import Run
from pipelines.common.training import loop
from pipelines.common.training.optimizers import OwnRate
from pipelines.common.training.options import TrainingOptions

X = np.random.RandomState(0).normal(size=(8, 3)).astype("float32")
Y = (X[:, :1] > 0).astype("float32")


def make() -> keras.Model:
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4, activation="tanh", name="own"), keras.layers.Dense(1, name="head")]
    )


def error_of(model, batch):
    x, y = batch
    return tf.reduce_sum(tf.square(model(x) - y))


def train(folder, own: dict | None, callbacks=(), **changes):
    """Two batches in an epoch; with the own weights, four."""
    model = make()
    options = TrainingOptions(**{"epochs": 4, "learning_rate": 0.05, "clip_norm": 0.0, "tensorboard": False, **changes})
    own_rate = None
    if own is not None:
        own_rate = OwnRate(model.get_layer("own").trainable_variables, **own)
    else:
        model.get_layer("own").trainable = False

    def data(epoch: int):
        joined = own is not None and epoch >= own["from_epoch"]
        return tf.data.Dataset.from_tensor_slices((X, Y)).batch(2 if joined else 4)

    with Run.start(folder, "small", options) as run:
        summary = loop.train(
            model,
            run=run,
            options=options,
            data=data,
            steps_per_epoch=2,
            loss=lambda batch, training: {"loss": (error_of(model, batch), tf.cast(tf.shape(batch[0])[0], tf.float32))},
            validate=lambda: {"val_epoch": 1.0},
            monitor="loss",
            mode="min",
            own_rate=own_rate,
            callbacks=callbacks,
        )
    return model, summary


class Last(keras.callbacks.Callback):
    """The weights after every epoch."""

    def on_train_begin(self, logs=None):
        self.weights = []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(self.model.get_weights())


@pytest.mark.parametrize("changes", [{}, {"accumulate": 2}, {"xla": True}, {"ema": 0.5}])
def test_two_optimizers_by_hand(tmp_path, changes):
    last = Last()
    own = {"learning_rate": 0.01, "from_epoch": 2, "steps_per_epoch": 4}
    _, summary = train(tmp_path / "run", own, [last], **changes)
    assert summary["steps"] == 2 * 2 + 2 * 4
    model, head, later = make(), keras.optimizers.Adam(0.05), keras.optimizers.Adam(0.01)
    every = changes.get("accumulate", 1)
    found = []
    for epoch in range(4):
        joined = epoch >= 2
        rows = (2 if joined else 4) * every
        for start in range(0, 8, rows):
            variables = model.get_layer("head").trainable_variables
            others = model.get_layer("own").trainable_variables if joined else []
            with tf.GradientTape() as tape:
                loss = error_of(model, (X[start : start + rows], Y[start : start + rows])) / rows
            gradients = tape.gradient(loss, [*variables, *others])
            head.apply(gradients[:2], variables)
            later.apply(gradients[2:], others)
        found.append(model.get_weights())
    if "ema" in changes:
        return  # what is validated are averages; that it runs with both groups is what is seen here
    for mine, expected in zip(last.weights, found, strict=True):
        for a, b in zip(mine, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
    for a, b in zip(make().get_weights()[:2], last.weights[1][:2], strict=True):
        np.testing.assert_array_equal(a, b)  # at rest to the last bit


def test_the_schedule_of_the_others_ends_with_the_run_and_theirs_with_it():
    model = make()
    own = OwnRate(model.get_layer("own").trainable_variables, 0.1, from_epoch=2, steps_per_epoch=6)
    options = TrainingOptions(epochs=4, learning_rate=1.0, schedule="linear", final_fraction=0.5)
    others, theirs = own.make_optimizers(options, 3, model)
    assert others._learning_rate.end == 2 * 3 + 2 * 6 and theirs._learning_rate.end == 2 * 6
    assert (others._learning_rate.peak, theirs._learning_rate.peak) == (1.0, 0.1)
    others, theirs = OwnRate(own.weights, 0.1).make_optimizers(options, 3, model)
    assert others._learning_rate.end == theirs._learning_rate.end == 12


def test_what_makes_no_sense(tmp_path):
    with pytest.raises(ValueError, match="from_epoch is 4, expected below the 4 epochs"):
        train(tmp_path / "late", {"learning_rate": 0.01, "from_epoch": 4})
    with pytest.raises(UserError, match="need float32 or mixed_bfloat16"):
        train(tmp_path / "half", {"learning_rate": 0.01, "from_epoch": 0}, precision="mixed_float16")


PROGRAM = """
import importlib.util, json, os, sys
import keras
spec = importlib.util.spec_from_file_location("test_own_rate", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)

class Die(keras.callbacks.Callback):
    def __init__(self, after):
        super().__init__()
        self.left = after

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            os._exit(9)

own = {"learning_rate": 0.01, "from_epoch": 2, "steps_per_epoch": 4}
for folder, batches in json.loads(sys.argv[2]):
    model, _ = module.train(folder, own, [Die(batches)], checkpoint_steps=1)
    print(json.dumps([weight.tolist() for weight in model.get_weights()]), flush=True)
"""


def test_a_run_killed_before_and_after_they_join_goes_on_to_the_same_bits(tmp_path):
    def run(**dies_after):
        """One process that trains one run after the other, and dies in the last; 0: not at all."""
        runs = json.dumps([(str(tmp_path / name), batches) for name, batches in dies_after.items()])
        command = [sys.executable, "-c", PROGRAM, __file__, runs]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    whole = run(whole=0, killed=3)
    assert whole.returncode == 9, whole.stderr
    assert run(killed=5).returncode == 9
    resumed = run(killed=0)
    assert "going on after step" in resumed.stderr, resumed.stderr
    one, other = ([line for line in ran.stdout.splitlines() if line.startswith("[[")] for ran in (whole, resumed))
    assert len(one) == len(other) == 1 and json.loads(one[0]) == json.loads(other[0])

"""Groups of weights with learning rates of their own, against one Keras optimizer for each, called by hand."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.runs import Run
from pipelines.common.training.loop import Trainer
from pipelines.common.training.optimizers import ParameterGroup, make_schedule
from pipelines.common.training.options import TrainingOptions
from tests import killing

X = np.random.RandomState(0).normal(size=(8, 3)).astype("float32")
Y = (X[:, :1] > 0).astype("float32")
NAMES = ("deep", "middle", "head")
ONE = {"middle": (0.01, 2)}  # name of a layer -> learning rate, from_epoch
TWO = {"middle": (0.02, 1), "deep": (0.008, 2)}


def make() -> keras.Model:
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Dense(4, activation="tanh", name=name) for name in NAMES[:2]]
    return keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1, name=NAMES[2])])


def error_of(model, batch):
    x, y = batch
    return tf.reduce_sum(tf.square(model(x) - y))


def rows_of_a_batch(groups: dict, epoch: int) -> int:
    """Two batches in an epoch; four from the first epoch of the last group on."""
    return 2 if epoch >= max(start for _, start in groups.values()) else 4


def train(folder, groups: dict, callbacks=(), **changes):
    model = make()
    options = TrainingOptions(**{"epochs": 4, "learning_rate": 0.05, "clip_norm": 0.0, "tensorboard": False, **changes})
    with Run.start(folder, "small", options) as run:
        summary = Trainer(
            model,
            run=run,
            options=options,
            data=lambda epoch: tf.data.Dataset.from_tensor_slices((X, Y)).batch(rows_of_a_batch(groups, epoch)),
            loss=lambda batch, training: {"loss": (error_of(model, batch), tf.cast(tf.shape(batch[0])[0], tf.float32))},
            validate=lambda: {},
            monitor="loss",
            mode="min",
            parameter_groups=[
                ParameterGroup(model.get_layer(name).trainable_weights, *groups[name]) for name in groups
            ],
            callbacks=callbacks,
        ).train()
    return model, summary


class Weights(keras.callbacks.Callback):
    """The weights after every epoch."""

    def on_train_begin(self, logs=None):
        self.after = []

    def on_epoch_end(self, epoch, logs=None):
        self.after.append(self.model.get_weights())


def by_hand(groups: dict, accumulate: int = 1) -> list:
    """Returns the weights after every epoch: Adam for each group, from the group's first epoch on."""
    model, found = make(), []
    others = {name: (0.05, 0) for name in NAMES if name not in groups}
    optimizers = {name: (keras.optimizers.Adam(rate), start) for name, (rate, start) in (others | groups).items()}
    for epoch in range(4):
        rows = rows_of_a_batch(groups, epoch) * accumulate
        for first in range(0, 8, rows):
            with tf.GradientTape(persistent=True) as tape:
                loss = error_of(model, (X[first : first + rows], Y[first : first + rows])) / rows
            gradients = {name: tape.gradient(loss, model.get_layer(name).trainable_weights) for name in NAMES}
            for name, (optimizer, start) in optimizers.items():
                if epoch >= start:
                    optimizer.apply(gradients[name], model.get_layer(name).trainable_weights)
        found.append(model.get_weights())
    return found


@pytest.mark.parametrize(
    ("groups", "changes"),
    [
        (ONE, {}),
        (TWO, {}),
        (TWO, {"accumulate": 2}),
        pytest.param(TWO, {"xla": True}, marks=pytest.mark.extra),
        (TWO, {"ema": 0.5}),
    ],
)
def test_optimizers_by_hand(tmp_path, groups, changes):
    weights = Weights()
    _, summary = train(tmp_path / "run", groups, [weights], **changes)
    assert summary["steps"] == 2 * 2 + 2 * 4
    if "ema" in changes:
        return  # the weights at the end of an epoch are then the averages; this only checks that they are computed
    for ours, expected in zip(weights.after, by_hand(groups, changes.get("accumulate", 1)), strict=True):
        for a, b in zip(ours, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=2e-6)
    start = make().get_weights()
    for name, (_, begin) in groups.items():
        kernel = 2 * NAMES.index(name)
        np.testing.assert_array_equal(weights.after[begin - 1][kernel], start[kernel])  # frozen to the last bit
        assert (weights.after[begin][kernel] != start[kernel]).any()


def test_every_schedule_ends_with_the_run():
    options = TrainingOptions(epochs=4, learning_rate=1.0, schedule="linear", final_fraction=0.5)
    others, group = ParameterGroup([], 1.0), ParameterGroup([], 0.1, from_epoch=2)
    schedules = [make_schedule(options, each, {0: 3, 2: 6}) for each in (others, group)]
    assert [(each.peak, each.end) for each in schedules] == [(1.0, 2 * 3 + 2 * 6), (0.1, 2 * 6)]
    assert [make_schedule(options, each, {0: 3, 2: 3}).end for each in (others, group)] == [12, 6]


def test_the_order_of_the_groups_does_not_matter(tmp_path):
    one, _ = train(tmp_path / "one", TWO)
    other, _ = train(tmp_path / "other", dict(reversed(TWO.items())))
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_invalid_groups(tmp_path):
    with pytest.raises(ValueError, match="from_epoch is 4, expected below the 4 epochs"):
        train(tmp_path / "late", {"middle": (0.01, 4)})
    with pytest.raises(UserError, match="need float32 or mixed_bfloat16"):
        train(tmp_path / "half", {"middle": (0.01, 0)}, precision="mixed_float16")


PROGRAM = """
import json, os, sys
import keras
from tests.pipelines.common.training import test_parameter_groups as tests

class Die(keras.callbacks.Callback):
    def __init__(self, after):
        super().__init__()
        self.left = after

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            os._exit(9)

for folder, batches in json.loads(sys.argv[1]):
    model, _ = tests.train(folder, tests.TWO, [Die(batches)], checkpoint_steps=1)
    print(json.dumps([weight.tolist() for weight in model.get_weights()]), flush=True)
"""


@pytest.mark.extra
def test_a_run_killed_before_and_after_groups_begin_ends_with_the_same_bits(tmp_path):
    def run(**batches_until_death):
        """One process that trains one run after the other, and dies in the last; 0: not at all."""
        runs = json.dumps([(str(tmp_path / name), batches) for name, batches in batches_until_death.items()])
        command = [sys.executable, "-c", PROGRAM, runs]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=killing.ROOT)

    whole = run(whole=0, killed=3)
    assert whole.returncode == 9, whole.stderr
    assert run(killed=5).returncode == 9
    resumed = run(killed=0)
    assert "going on after step" in resumed.stderr, resumed.stderr
    one, other = ([line for line in ran.stdout.splitlines() if line.startswith("[[")] for ran in (whole, resumed))
    assert len(one) == len(other) == 1 and json.loads(one[0]) == json.loads(other[0])

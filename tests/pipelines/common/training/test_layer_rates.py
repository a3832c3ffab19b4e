"""Groups of weights with rates of their own, one after the other: against one Keras optimizer for each, by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.runs import Run
from pipelines.common.training import loop
from pipelines.common.training.layer_rates import LayerRates, Resting
from pipelines.common.training.optimizers import OwnRate, Schedule
from pipelines.common.training.options import TrainingOptions

X = np.random.RandomState(0).normal(size=(8, 3)).astype("float32")
Y = (X[:, :1] > 0).astype("float32")


def make() -> keras.Model:
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Dense(4, activation="tanh", name=name) for name in ("deep", "middle")]
    return keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1, name="head")])


def error_of(model, batch):
    return tf.reduce_sum(tf.square(model(batch[0]) - batch[1]))


class Last(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.weights = []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(self.model.get_weights())


def train(folder, epochs=4, **changes):
    model, last = make(), Last()
    options = TrainingOptions(epochs=epochs, learning_rate=0.05, clip_norm=0.0, tensorboard=False, **changes)
    middle, deep = (model.get_layer(name).trainable_weights for name in ("middle", "deep"))
    with Run.start(folder, "small", options) as run:
        loop.train(
            model,
            run=run,
            options=options,
            data=lambda epoch: tf.data.Dataset.from_tensor_slices((X, Y)).batch(4),
            steps_per_epoch=2,
            loss=lambda batch, training: {"loss": (error_of(model, batch), tf.cast(tf.shape(batch[0])[0], tf.float32))},
            validate=lambda: {},
            monitor="loss",
            mode="min",
            own_rate=LayerRates([OwnRate(middle, 0.02, 1), OwnRate(deep, 0.008, 2)]),
            callbacks=[last],
        )
    return last.weights


def by_hand(epochs=4):
    """Adam for each group, from the first group's epoch on; the deep one's moments follow before it moves."""
    model = make()
    groups = {name: model.get_layer(name).trainable_weights for name in ("head", "middle", "deep")}
    rates, begins = {"head": 0.05, "middle": 0.02, "deep": 0.008}, {"head": 0, "middle": 1, "deep": 2}
    optimizers = {name: keras.optimizers.Adam(0.0) for name in groups}
    found = []
    for epoch in range(epochs):
        for start in (0, 4):
            with tf.GradientTape() as tape:
                total = error_of(model, (X[start : start + 4], Y[start : start + 4])) / 4
            gradients = iter(tape.gradient(total, [w.value for group in groups.values() for w in group]))
            for name, group in groups.items():
                own = [next(gradients) for _ in group]
                if name == "head" or epoch >= 1:
                    optimizers[name].learning_rate = rates[name] if epoch >= begins[name] else 0.0
                    optimizers[name].apply(own, group)
        found.append(model.get_weights())
    return found


@pytest.mark.parametrize("changes", [{}, {"xla": True}])
def test_optimizers_by_hand(tmp_path, changes):
    found, expected = train(tmp_path / "run", **changes), by_hand()
    start = make().get_weights()
    for epoch, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6, err_msg=f"epoch {epoch}, weight {number}")
    assert (found[1][0] == start[0]).all() and (found[2][0] != start[0]).any()
    assert (found[0][2] == start[2]).all() and (found[1][2] != start[2]).any()


def test_a_schedule_that_rests_begins_at_its_beginning():
    rate = Resting(Schedule("linear", 1.0, warmup=0, end=10, final=0.5), 4)
    assert [float(rate(step)) for step in (0, 3, 4, 9, 14, 99)] == pytest.approx([0, 0, 1, 0.75, 0.5, 0.5])


def test_groups_begin_in_their_order():
    with pytest.raises(ValueError, match="begin in the epochs"):
        LayerRates([OwnRate([], 1.0, 2), OwnRate([], 1.0, 1)])
    with pytest.raises(ValueError, match="begin in the epochs"):
        LayerRates([])
    model = make()
    groups = LayerRates([OwnRate(model.get_layer("deep").trainable_weights, 0.1)])
    with pytest.raises(UserError, match="data whose length is known"):
        groups.make_optimizers(TrainingOptions(), None, model)
    late = LayerRates([OwnRate(model.get_layer("deep").trainable_weights, 0.1, 3)])
    with pytest.raises(ValueError, match="from_epoch is 3"):
        late.make_optimizers(TrainingOptions(epochs=3), 5, model)

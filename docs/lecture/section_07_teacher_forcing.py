"""7. Teacher forcing: a network that was trained on true inputs, and is then left alone; scheduled sampling.

The sequences are sums of two sines with random phases, rounded to LEVELS levels, so that each step is a token, as in a
decoder of words.
"""

import keras
import lecture
import numpy as np
import tensorflow as tf

from layers.lstm import LSTM
from layers.teacher_forcing import scheduled_inputs, teacher_probability
from pipelines.common.pictures.drawing import FAINT
from pipelines.common.pictures.panels import draw_line, panels

FIGURES = ("07_teacher_forcing.png",)
QUOTES = (
    "| always the true one | {always_next:.1f} % | {always_10:.2f} | {always_100:.2f} |",
    "| the true one less and less often | {less_next:.1f} % | {less_10:.2f} | {less_100:.2f} |",
    "| never the true one | {never_next:.1f} % | {never_10:.2f} | {never_100:.2f} |",
)
LEVELS, PERIODS = 24, (11.0, 29.0)  # steps
GIVEN, OWN = 20, 40  # steps in training: true ones at the start, and those after them
ALONE = 100  # steps of its own in the test
BATCH, UNITS, UPDATES = 64, 64, 500
WAYS = {"always": "teacher forcing", "less": "scheduled sampling", "never": "free running"}


def sequences(random, rows: int, steps: int) -> np.ndarray:
    """Returns int32[rows, steps], levels from 0 to LEVELS - 1."""
    phases = random.uniform(0, 2 * np.pi, (len(PERIODS), rows, 1))
    t = np.arange(steps)
    signal = sum(np.sin(2 * np.pi * t / period + phase) for period, phase in zip(PERIODS, phases, strict=True))
    return np.floor((signal / len(PERIODS) + 1) / 2 * LEVELS * 0.999).astype("int32")


class NextLevel(keras.layers.Layer):
    """An LSTM that predicts the next level. `call` reads whole sequences, `step` one level, with the same cell."""

    def __init__(self):
        super().__init__()
        self.recurrent = LSTM(UNITS, return_sequences=True, return_state=True)
        self.answer = keras.layers.Dense(LEVELS)

    def call(self, levels, state=None, training=False):
        """int32[batch, time] -> (logits float[batch, time, LEVELS], state)."""
        h, *state = self.recurrent(tf.one_hot(levels, LEVELS), initial_state=state, training=training)
        return self.answer(h), state

    def step(self, levels, state):
        """int32[batch], state -> (logits float[batch, LEVELS], state)."""
        h, state = self.recurrent.cell(tf.one_hot(levels, LEVELS), state)
        return self.answer(h), state


def trained(way: str, updates: int = UPDATES) -> NextLevel:
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    network = NextLevel()
    network(tf.zeros([1, 1], tf.int32))  # creates the weights
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(network.trainable_variables)

    def update(levels, probability, seed):
        inputs, targets = levels[:, :-1], levels[:, 1:]
        if way != "always":
            _, state = network(inputs[:, :GIVEN])
            own = scheduled_inputs(network.step, state, inputs[:, GIVEN:], probability, seed)
            inputs = tf.concat([inputs[:, :GIVEN], own], axis=1)
        with tf.GradientTape() as tape:
            logits, _ = network(inputs, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets[:, GIVEN - 1 :], logits[:, GIVEN - 1 :])
            loss = tf.reduce_mean(losses)
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, network.trainable_variables), 1.0)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))

    update = tf.function(update, autograph=False, jit_compile=True)
    for number in range(updates):
        levels = sequences(random, BATCH, GIVEN + OWN + 1)
        # From 1 to 0 in the first 80 % of the updates.
        probability = teacher_probability("linear", number, k=1.0, c=1 / (0.8 * updates)) if way == "less" else 0.0
        update(tf.constant(levels), tf.cast(probability, tf.float32), tf.constant([0, number]))
    return network


def left_alone(network: NextLevel, levels: np.ndarray):
    """Returns (share of next levels that are right after true ones, its own levels int32[rows, ALONE])."""
    logits, _ = network(levels[:, :-1])
    right = (logits.numpy().argmax(axis=-1) == levels[:, 1:])[:, GIVEN - 1 :].mean()
    logits, state = network(levels[:, :GIVEN])
    step = tf.function(network.step, autograph=False)
    own = [tf.argmax(logits[:, -1], axis=-1, output_type=tf.int32)]
    for _ in range(ALONE - 1):
        logits, state = step(own[-1], state)
        own.append(tf.argmax(logits, axis=-1, output_type=tf.int32))
    return right, np.stack(own, axis=1)


def run(folder, short=False) -> dict:
    test = sequences(np.random.default_rng(1), 200, GIVEN + ALONE)
    truth, numbers, errors, examples = test[:, GIVEN:], {}, {}, {}
    for way in ["always"] if short else WAYS:
        right, own = left_alone(trained(way), test)
        errors[way], examples[way] = np.abs(own - truth).mean(axis=0), own[0]
        numbers[f"{way}_next"] = 100 * right
        numbers |= {f"{way}_{steps}": errors[way][:steps].mean() for steps in (10, ALONE)}
    draw(errors, examples, truth[0], folder / FIGURES[0])
    return numbers


def draw(errors, examples, truth, png):
    steps = np.arange(1, ALONE + 1)
    with panels(png, ["mean error of 200 sequences", "one sequence"], width=5.6, height=3.1) as (left, right):
        right.plot(steps, truth, color=FAINT, linewidth=6, label="truth")
        for number, (way, name) in enumerate(WAYS.items()):
            if way in errors:
                draw_line(left, steps, errors[way], number, name)
                draw_line(right, steps, examples[way], number, linewidth=1.1)
        left.set(xlabel="steps of its own", ylabel=f"error (levels, of {LEVELS})", ylim=(0, None))
        right.set(xlabel="steps of its own", ylabel="level", xlim=(ALONE // 2, ALONE + 1))
        for panel in (left, right):
            panel.legend(frameon=False, fontsize=8.5)


if __name__ == "__main__":
    lecture.main(__file__)

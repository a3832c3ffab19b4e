"""6. Truncated back-propagation through time: an echo that comes LAG steps after the bit it repeats.

After every k1 steps the errors of the newest k1 steps are propagated back over k2 steps
(pipelines/common/training/tbptt.py). The stream never ends; the state is carried from window to window.
"""

import time

import keras
import lecture
import numpy as np
import tensorflow as tf

from layers.rnn import VanillaRNN
from pipelines.common.pictures.drawing import INK
from pipelines.common.pictures.panels import draw_grid, draw_line, panels
from pipelines.common.training.tbptt import TruncatedBPTT, windows

FIGURES = ("06_grid.png", "06_state.png")
LAG = 10
K1, K2 = (2, 5, 10, 20), (5, 10, 11, 15, 20, 40)
QUOTES = (
    "with k2 = 5 the loss stays at {loss_5_5:.2f}",
    "with k1 = 5 and k2 = 20 it is {loss_5_20:.3f}",
    "with k2 = 40 {loss_5_40:.3f}",
    "{ms_10_10:.1f} ms of CPU for k2 = 10 and {ms_10_40:.1f} ms for k2 = 40",
    "{kib_5_5:.0f} KiB for k2 = 5, {kib_5_20:.0f} KiB for k2 = 20 and {kib_5_40:.0f} KiB for k2 = 40",
    "carried, the loss is {carried_first:.3f} in the first half of a window and {carried_second:.3f} in the second",
    "reset, it is {reset_first:.2f} and {reset_second:.2f}",
)
BATCH, UNITS, UPDATES = 32, 32, 300


def echo(steps: int) -> list[tuple]:
    """Returns BATCH streams: inputs -1 or 1, float32[steps, 1], targets float32[steps] and weights float32[steps]."""
    bits = np.random.default_rng(0).integers(0, 2, (BATCH, steps)).astype("float32")
    targets = np.concatenate([np.zeros((BATCH, LAG), "float32"), bits[:, :-LAG]], axis=1)
    weights = (np.arange(steps) >= LAG).astype("float32")  # before, there is nothing to repeat
    return [(2 * row[:, np.newaxis] - 1, echoed, weights) for row, echoed in zip(bits, targets, strict=True)]


class Echo(keras.layers.Layer):
    """A vanilla RNN with one output, as TruncatedBPTT takes it.

    Its W_hh starts with a spectral radius of 0.5. With a radius of 1 its random weights alone would remember some of
    the last bits, and the output layer could read them without any gradient through time.
    """

    def __init__(self, carried: bool):
        super().__init__()
        self.carried = carried
        start = keras.initializers.Orthogonal(0.5)
        self.recurrent = VanillaRNN(UNITS, return_sequences=True, return_state=True, recurrent_initializer=start)
        self.answer = keras.layers.Dense(1)

    def outputs(self, inputs, state, training):
        """float[batch, time, 1] and [float[batch, UNITS]] -> (logits float[batch, time], state)."""
        h, *state = self.recurrent(inputs, initial_state=state if self.carried else None, training=training)
        return self.answer(h)[..., 0], state


def cross_entropy(logits, bits, weights):
    losses = weights * tf.nn.sigmoid_cross_entropy_with_logits(bits, logits)
    return {"loss": (tf.reduce_sum(losses), tf.reduce_sum(weights)), "of_steps": (tf.reduce_mean(losses, axis=0), 1)}


def trained(k1: int, k2: int, updates: int = UPDATES, carried: bool = True) -> dict:
    """Trains on an echo. Returns the losses float[updates], those of each step float[updates, k1], seconds of CPU for
    an update, and the bytes that an update allocates."""
    keras.utils.set_random_seed(0)
    network = Echo(carried)
    network.outputs(tf.zeros([1, 1, 1]), [tf.zeros([1, UNITS])], training=False)  # creates the weights

    def initial_state(rows):
        return [tf.zeros([rows, UNITS])]

    tbptt = TruncatedBPTT(network.outputs, initial_state, cross_entropy, k1=k1, k2=k2, batch_size=BATCH)
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(network.trainable_variables)

    def update(batch):
        with tf.GradientTape() as tape:
            found = tbptt(batch, training=True)
            total, weight = found["loss"]
            loss = total / tf.maximum(weight, 1)
        gradients = tape.gradient(loss, network.trainable_variables)
        gradients, _ = tf.clip_by_global_norm(gradients, 1.0)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        return loss, found["of_steps"][0]

    update = tf.function(update, autograph=False)
    losses, of_steps, seconds = [], [], []
    for number, batch in enumerate(windows(echo(updates * k1), k1=k1, k2=k2, batch_size=BATCH)):
        batch = {name: tf.constant(value) for name, value in batch.items()}
        if number == 1:  # the first call makes the graph
            tf.config.experimental.reset_memory_stats("CPU:0")
            before = tf.config.experimental.get_memory_info("CPU:0")["current"]
        start = time.process_time()
        loss, steps = update(batch)
        losses.append(float(loss))
        seconds.append(time.process_time() - start)
        of_steps.append(steps.numpy())
    peak = tf.config.experimental.get_memory_info("CPU:0")["peak"] - before
    return {"losses": losses, "of_steps": np.array(of_steps), "seconds": np.median(seconds[1:]), "bytes": peak}


def run(folder, short=False) -> dict:
    grid = [(k1, k2) for k1 in K1 for k2 in K2 if k2 >= k1]
    found = {(k1, k2): trained(k1, k2) for k1, k2 in ([(5, 5), (5, 20)] if short else grid)}
    numbers = {}
    for (k1, k2), of_cell in found.items():
        numbers[f"loss_{k1}_{k2}"] = float(np.mean(of_cell["losses"][-50:]))
        numbers[f"ms_{k1}_{k2}"] = 1e3 * of_cell["seconds"]
        numbers[f"kib_{k1}_{k2}"] = of_cell["bytes"] / 1024
    draw_cells(found, folder / FIGURES[0])

    halves = {"carried": trained(2 * LAG, 2 * LAG), "reset": trained(2 * LAG, 2 * LAG, carried=False)}
    of_steps = {name: value["of_steps"][-50:].mean(axis=0) for name, value in halves.items()}
    for name, losses in of_steps.items():
        numbers[f"{name}_first"], numbers[f"{name}_second"] = losses[:LAG].mean(), losses[LAG:].mean()
    with panels(folder / FIGURES[1], [f"k1 = k2 = {2 * LAG}, lag {LAG}"], width=5.6, height=3.0) as (axes,):
        for number, (name, losses) in enumerate(of_steps.items()):
            draw_line(axes, np.arange(1, 2 * LAG + 1), losses, number, f"state {name}")
        axes.axhline(np.log(2), color=INK, linewidth=0.8)
        axes.text(2 * LAG, np.log(2), "guessing", ha="right", va="bottom", fontsize=8.5)
        axes.set(xlabel="step of the window", ylabel="cross-entropy (nats per bit)", xticks=range(2, 2 * LAG + 1, 2))
        axes.legend(frameon=False, fontsize=8.5, loc="center right")
    return numbers


def draw_cells(found, png):
    titles = ["loss (nats per bit)", "CPU of an update (ms)", "memory of an update (KiB)"]
    pick = [
        lambda cell: np.mean(cell["losses"][-50:]),
        lambda cell: 1e3 * cell["seconds"],
        lambda cell: cell["bytes"] / 1024,
    ]
    write = ["{:.3f}".format, "{:.1f}".format, "{:.0f}".format]
    with panels(png, titles, width=4.0, height=2.6) as axes:
        for panel, value, form in zip(axes, pick, write, strict=True):
            values = [[value(found[k1, k2]) if (k1, k2) in found else np.nan for k2 in K2] for k1 in K1]
            draw_grid(panel, values, K1, K2, form, ("k1: steps between updates", "k2: steps of the gradient"))


if __name__ == "__main__":
    lecture.main(__file__)

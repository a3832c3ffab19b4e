"""5. Memory: the adding problem (Hochreiter and Schmidhuber 1997, "Long short-term memory", section 5.4).

A sequence has two numbers at every step: a random one from 0 to 1, and a mark that is 1 at one step of each half and 0
elsewhere. After the last step the network answers with the sum of the two marked numbers. Without memory the best
answer is always 1, with a squared error of 1/6 on average.
"""

import keras
import lecture
import numpy as np
import tensorflow as tf

from layers.lstm import LSTM
from layers.rnn import VanillaRNN
from pipelines.common.pictures.drawing import INK
from pipelines.common.pictures.panels import draw_line, logarithmic, panels

FIGURES = ("05_memory.png",)
TIMES = (50, 100, 200, 400)
QUOTES = (
    *(f"| {time} | {{rnn_{time}:.3f}} | {{lstm_{time}:.3f}} | {{lstm_{time}_learned:.0f}} |" for time in TIMES),
    "over 50 steps it ends at {rnn_50_slow:.3f} and {rnn_50_fast:.3f}",
    "It can add: over 10 steps it ends at {rnn_10:.3f}",
    "then it comes to {rnn_50_longer:.2f} over 50 steps",
    "it learns 50 steps ({default_50:.3f}) but not 100 ({default_100:.2f})",
)
BATCH, UNITS, UPDATES, LONGER = 64, 32, 320, 2400
LEARNED = 0.02  # squared error
NAMES = {"rnn": "vanilla RNN", "lstm": "LSTM", "default": "LSTM, forget bias 1"}


def adding_problem(random, time: int):
    """Returns inputs float32[batch, time, 2] and targets float32[batch, 1]."""
    values, marks, rows = random.random((BATCH, time)), np.zeros((BATCH, time)), np.arange(BATCH)
    marks[rows, random.integers(0, time // 2, BATCH)] = 1
    marks[rows, random.integers(time // 2, time, BATCH)] = 1
    sums = (values * marks).sum(axis=1, keepdims=True)
    return np.stack([values, marks], axis=-1).astype("float32"), sums.astype("float32")


def recurrent_layer(name: str, time: int):
    """Returns the layer of a network, with its initial weights."""
    if name == "rnn":
        return VanillaRNN(UNITS)
    layer = LSTM(UNITS)
    layer.build((None, time, 2))
    if name == "lstm":
        # The forget gate starts at time / (time + 1) and the input gate at 1 / (time + 1): the cell begins as one that
        # keeps for as many steps as the sequence has (Tallec and Ollivier 2018, "Can recurrent neural networks warp
        # time?"). In 1997 there was no forget gate, which is f = 1.
        kernel, recurrent_kernel, bias = layer.get_weights()
        bias[:UNITS], bias[UNITS : 2 * UNITS] = -np.log(time), np.log(time)  # b = [b_i b_f b_g b_o]
        layer.set_weights([kernel, recurrent_kernel, bias])
    return layer


def trained(name: str, time: int, updates: int = UPDATES, learning_rate: float | None = None):
    """Returns the squared error before each update, float[updates]; every batch is new."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    model = keras.Sequential([keras.Input((time, 2)), recurrent_layer(name, time), keras.layers.Dense(1)])
    optimizer = keras.optimizers.Adam(learning_rate or (0.003 if name == "rnn" else 0.02))
    batches = (adding_problem(random, time) for _ in range(updates))
    errors, _ = lecture.train(model, lambda sums, found: tf.reduce_mean((sums - found) ** 2), batches, optimizer)
    return errors


def run(folder, short=False) -> dict:
    wanted = [(name, time) for time in TIMES for name in ("rnn", "lstm")] + [("rnn", 10), ("default", 50)]
    wanted.append(("default", 100))
    if short:
        wanted = [("rnn", 50), ("lstm", 50)]
    errors = {(name, time): trained(name, time) for name, time in wanted}
    if not short:
        errors["rnn", "50_slow"] = trained("rnn", 50, learning_rate=0.001)
        errors["rnn", "50_fast"] = trained("rnn", 50, learning_rate=0.01)
        errors["rnn", "50_longer"] = trained("rnn", 50, LONGER, 0.001)
    numbers = {}
    for (name, time), found in errors.items():
        key = f"{name}_{time}"
        numbers[key] = found[-40:].mean()
        if name == "lstm":
            updates, smoothed = lecture.smooth(found, 10)
            numbers[f"{key}_learned"] = float(min(updates[smoothed < LEARNED], default=np.inf))
    draw(errors, folder / FIGURES[0])
    return numbers


def draw(errors, png):
    with panels(png, [f"{time} steps" for time in TIMES], across=4, width=3.3, height=2.9) as axes:
        for panel, time in zip(axes, TIMES, strict=True):
            for number, name in enumerate(NAMES):
                if (name, time) in errors:
                    draw_line(panel, *lecture.smooth(errors[name, time], 10), number, NAMES[name])
            panel.axhline(1 / 6, color=INK, linewidth=0.8)
            panel.text(UPDATES, 0.155, "always 1", ha="right", va="top", fontsize=8.5)
            logarithmic(panel.yaxis)
            panel.set(xlabel="update", ylabel="squared error", xlim=(0, UPDATES), ylim=(5e-4, 0.6))
        axes[0].legend(frameon=False, fontsize=8.5, loc="lower left")


if __name__ == "__main__":
    lecture.main(__file__)

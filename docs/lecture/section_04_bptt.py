"""4. Back-propagation through time: gradients that vanish and explode, and what clipping does."""

import keras
import lecture
import numpy as np
import tensorflow as tf

from layers import lstm, rnn
from layers.lstm import LSTM
from layers.rnn import VanillaRNN
from pipelines.common.pictures.drawing import INK
from pipelines.common.pictures.panels import draw_line, logarithmic, panels

FIGURES = ("04_gradients.png", "04_clipping.png")
RADII = (0.8, 1.0, 1.2)  # spectral radius of W_hh, and of each of the four blocks of W_h
SIZES = {"tiny": 1e-6, "usual": 1.0}  # standard deviation of W_x x + b
CELLS = {"rnn": None, "lstm_1": 1.0, "lstm_5": 5.0}  # the bias of the forget gate
NAMES = {"rnn": "vanilla RNN", "lstm_1": "LSTM, forget bias 1", "lstm_5": "LSTM, forget bias 5"}
TIME, BATCH, UNITS = 50, 16, 32
ROWS = {(cell, size): f"| {NAMES[cell]} | {'10⁻⁶' if size == 'tiny' else '1'} " for cell in CELLS for size in SIZES}
QUOTES = (
    *(
        f"{start}| {{{cell}_{size}_0.8:.1e}} | {{{cell}_{size}_1.0:.1e}} | {{{cell}_{size}_1.2:.1e}} |"
        for (cell, size), start in ROWS.items()
    ),
    "0.8⁵⁰ = {power_0.8:.1e}, 1⁵⁰ = {power_1.0:.0f} and 1.2⁵⁰ = {power_1.2:.1e}",
    "loss of {loss_unclipped_0.4:.3f} and {loss_clipped_0.4:.3f} nats per bit at a learning rate of 0.4",
    "The clipped one ends at {loss_clipped_1.6:.3f}",
)

# The norm of dL(T)/dh(t) ----------------------------------------------------------------------------------------------


def back_through_time(module, a, W_h, states: int):
    """Computes dL/dh(t) for t = 0 … T, by the functions of layers/rnn.py or layers/lstm.py and by TensorFlow.

    L = v h(T) with a random v of norm 1 for each row, so that the norm of dL/dh(T) is 1.

    Args:
        a: float[time, batch, columns], W_x x + b.
        states: 1 for h, 2 for h and c.

    Returns:
        (by our functions, by TensorFlow), each float[time + 1, batch, units].
    """
    time, batch, units = len(a), a.shape[1], W_h.shape[0]
    v = np.random.default_rng(1).normal(size=(batch, units))
    v = tf.constant(v / np.linalg.norm(v, axis=1, keepdims=True))
    with tf.GradientTape() as tape:
        state = tuple(tf.zeros([batch, units], tf.float64) for _ in range(states))
        tape.watch(state)
        every_state, every_gate = [state], []
        for t in range(time):
            state, gates = module.step(a[t], state, W_h)
            every_state.append(state)
            every_gate.append(gates)
        loss = tf.reduce_sum(v * state[0])
    automatic = tape.gradient(loss, [state[0] for state in every_state])

    def stacked(rows):  # list of tuples of float[batch, units] -> tuple of float[time, batch, units]
        return [tf.stack(column) for column in zip(*rows, strict=True)]

    local = module.local_gradients(stacked(every_gate), stacked(every_state[1:]), stacked(every_state[:-1]))
    d_state = (v, *(tf.zeros_like(v) for _ in range(states - 1)))
    ours = [d_state[0]]
    for t in reversed(range(time)):
        d_state, _ = module.backward_step(d_state, [factor[t] for factor in local], tf.transpose(W_h))
        ours.append(d_state[0])
    return np.array(ours[::-1]), np.array(automatic)


def gradients_of(cell: str, size: str, radius: float):
    """Returns what `back_through_time` returns for random inputs and a random W_h of a spectral radius."""
    random = np.random.default_rng(0)
    blocks = 1 if cell == "rnn" else 4
    # All eigenvalues of an orthogonal matrix have the absolute value 1.
    W_h = [radius * np.linalg.qr(random.normal(size=(UNITS, UNITS)))[0] for _ in range(blocks)]
    a = SIZES[size] * random.normal(size=(TIME, BATCH, blocks * UNITS))
    if cell != "rnn":
        a[:, :, UNITS : 2 * UNITS] += CELLS[cell]  # z = [z_i z_f z_g z_o]
    module = rnn if cell == "rnn" else lstm
    return back_through_time(
        module, tf.constant(a), tf.constant(np.concatenate(W_h, axis=1)), 1 if cell == "rnn" else 2
    )


def weight_gradients_differ(layer) -> float:
    """Returns the largest difference between the gradient of layers/bptt.py and the automatic one, as a share."""
    x = tf.constant(np.random.default_rng(0).normal(size=(BATCH, TIME, 3)))
    found = []
    for training in (True, False):  # the layers use their own gradient in training only
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x, training=training) ** 2)
        found.append(tape.gradient(loss, layer.trainable_variables))
    return max(float(tf.reduce_max(abs(a - b)) / tf.reduce_max(abs(b))) for a, b in zip(*found, strict=True))


# Clipping -------------------------------------------------------------------------------------------------------------

LAG, CLIP = 10, 0.3
UPDATES, SHOWN = 250, 1.6  # the learning rate whose training is drawn
LEARNING_RATES = (0.1, 0.2, 0.4, 0.8, 1.6)


def trained_on_echo(learning_rate: float, clip: float | None):
    """Returns losses and norms of the gradient of a vanilla RNN that learns to repeat bits LAG steps later."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    network = VanillaRNN(
        UNITS, output_units=1, return_sequences=True, recurrent_initializer=keras.initializers.Orthogonal(1.2)
    )
    model = keras.Sequential([keras.Input((TIME, 1)), network])

    def batches():
        for _ in range(UPDATES):
            bits = random.integers(0, 2, (UNITS, TIME, 1)).astype("float32")
            yield 2 * bits - 1, bits[:, :-LAG]

    def loss(bits, logits):
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(bits, logits[:, LAG:]))

    return lecture.train(model, loss, batches(), keras.optimizers.SGD(learning_rate), clip)


def run(folder, short=False) -> dict:
    numbers, norms, error = {f"power_{radius}": radius**TIME for radius in RADII}, {}, 0.0
    for cell in CELLS:
        for size in SIZES:
            for radius in RADII:
                ours, automatic = gradients_of(cell, size, radius)
                error = max(error, np.max(abs(ours - automatic) / abs(automatic).max(axis=(1, 2), keepdims=True)))
                norms[cell, size, radius] = np.linalg.norm(ours, axis=2).mean(axis=1)
                numbers[f"{cell}_{size}_{radius}"] = norms[cell, size, radius][0]
    numbers["state_gradients_differ"] = float(error)
    keras.utils.set_random_seed(0)
    layers = VanillaRNN(UNITS, dtype="float64"), LSTM(UNITS, dtype="float64")
    numbers["weight_gradients_differ"] = max(weight_gradients_differ(layer) for layer in layers)
    draw_gradients(norms, folder / FIGURES[0])

    trained = {}
    for learning_rate in LEARNING_RATES[-1:] if short else LEARNING_RATES:
        for way, clip in (("unclipped", None), ("clipped", CLIP)):
            losses, norm = trained[way, learning_rate] = trained_on_echo(learning_rate, clip)
            numbers[f"loss_{way}_{learning_rate}"] = losses[-50:].mean()
            numbers[f"norm_{way}_{learning_rate}"] = norm.max()
    draw_clipping(trained, folder / FIGURES[1])
    return numbers


def draw_gradients(norms, png):
    order = [(size, cell) for size in SIZES for cell in CELLS]
    titles = [f"{NAMES[cell]}, {size} inputs" for size, cell in order]
    with panels(png, titles, across=3, width=3.7, height=2.7) as axes:
        for panel, (size, cell) in zip(axes, order, strict=True):
            for number, radius in enumerate(RADII):
                draw_line(panel, np.arange(TIME + 1), norms[cell, size, radius], number, f"radius {radius:g}")
            panel.axhline(1, color=INK, linewidth=0.6)
            logarithmic(panel.yaxis)
            panel.set(ylim=(1e-15, 1e6), xlabel=f"step t (the loss is at T = {TIME})", ylabel="norm of dL(T)/dh(t)")
        axes[0].legend(frameon=False, fontsize=8.5, loc="lower left")


def draw_clipping(trained, png):
    names = {"unclipped": "without clipping", "clipped": f"clipped to norm {CLIP}"}
    titles = [f"gradient, learning rate {SHOWN}", f"loss, learning rate {SHOWN}", "loss after training"]
    updates = np.arange(1, UPDATES + 1)
    with panels(png, titles, width=3.7, height=2.9) as (left, middle, right):
        for number, (way, name) in enumerate(names.items()):
            losses, norm = trained[way, SHOWN]
            draw_line(left, updates, norm, number, name, linewidth=1.1)
            draw_line(middle, updates, losses, number, name, linewidth=1.1)
            rates = [rate for rate in LEARNING_RATES if (way, rate) in trained]
            draw_line(right, rates, [trained[way, rate][0][-50:].mean() for rate in rates], number, name)
        left.axhline(CLIP, color=INK, linewidth=0.8)
        left.text(UPDATES, CLIP, "clipped above", ha="right", va="bottom", fontsize=8.5)
        left.set(xlabel="update", ylabel="norm of the gradient")
        middle.set(xlabel="update", ylabel="nats per bit")
        right.set(xlabel="learning rate", ylabel="nats per bit, last 50 updates")
        logarithmic(left.yaxis, middle.yaxis, right.yaxis, right.xaxis)
        right.set_xticks(rates, [f"{rate:g}" for rate in rates])
        right.minorticks_off()
        for panel, x, side in ((middle, UPDATES, "right"), (right, rates[0], "left")):
            panel.axhline(np.log(2), color=INK, linewidth=0.8)
            panel.text(x, np.log(2), "guessing", ha=side, va="bottom", fontsize=8.5)
        right.legend(frameon=False, fontsize=8.5)


if __name__ == "__main__":
    lecture.main(__file__)

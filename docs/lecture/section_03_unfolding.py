"""3. Unfolding: the network of "hello" unfolded in time, and the same numbers computed in five ways."""

import lecture
import numpy as np
import tensorflow as tf
from section_02_vanilla_rnn import LETTERS, UNITS, WORD, letters, softmax, trained_on_hello

from layers import rnn
from layers.rnn import VanillaRNN
from layers.unfold import unfold
from pipelines.common.pictures.unfolded_network import draw_unfolded_network

FIGURES = ("03_unfolding.png",)
QUOTES = (
    "{weights:.0f} weights make h(t), whether the sequence has {steps:.0f} steps or {many_steps:,.0f}",
    "differ by at most {millionths:.1f} millionths",
)
MANY_STEPS = 1000


def five_ways(x, W_ih, W_hh, b) -> dict[str, np.ndarray]:
    """Returns h(1) ... h(4), float[time, units], for x float32[4, features], by the name of the way."""

    # By hand: the network unfolded, four layers that share their weights.
    h1 = np.tanh(x[0] @ W_ih + b)  # h(0) is zero
    h2 = np.tanh(x[1] @ W_ih + h1 @ W_hh + b)
    h3 = np.tanh(x[2] @ W_ih + h2 @ W_hh + b)
    h4 = np.tanh(x[3] @ W_ih + h3 @ W_hh + b)

    # By a loop: the network folded.
    h, by_loop = np.zeros(UNITS, "float32"), []
    for x_t in x:
        h = np.tanh(x_t @ W_ih + h @ W_hh + b)
        by_loop.append(h)

    # By layers/unfold.py: the same loop inside a TensorFlow graph, and one copy of the step for every time step.
    def step(state, inputs):
        state, _ = rnn.step(inputs[0] @ W_ih + b, state, W_hh)
        return state, state

    sequences, start = (tf.constant(x[:, np.newaxis]),), (tf.zeros([1, UNITS]),)  # [time, batch, ...]
    (by_unfold,), _ = unfold(step, sequences, start, (UNITS,))
    (by_copies,), _ = unfold(step, sequences, start, (UNITS,), unroll=True)

    # By the layer.
    layer = VanillaRNN(UNITS, return_sequences=True)
    layer.build((1, None, x.shape[1]))
    layer.set_weights([W_ih, W_hh, b])
    return {
        "by hand": np.array([h1, h2, h3, h4]),
        "by a loop": np.array(by_loop),
        "unfold": by_unfold.numpy()[:, 0],
        "unfold, unrolled": by_copies.numpy()[:, 0],
        "VanillaRNN": layer(x[np.newaxis]).numpy()[0],
    }


def run(folder, short=False) -> dict:
    W_ih, W_hh, b, W_ho, b_o = trained_on_hello()
    x = letters(WORD[:-1])
    found = five_ways(x, W_ih, W_hh, b)
    by_hand = found["by hand"]
    outputs = np.array([softmax(h @ W_ho + b_o) for h in by_hand])
    png, names = folder / FIGURES[0], list(LETTERS)
    draw_unfolded_network(x, by_hand, outputs, list(WORD[:-1]), png, targets=list(WORD[1:]), names=names)
    return {
        "steps": len(x),
        "many_steps": MANY_STEPS,
        "weights": W_ih.size + W_hh.size + b.size,
        "millionths": 1e6 * max(np.abs(by_hand - other).max() for other in found.values()),
    }


if __name__ == "__main__":
    lecture.main(__file__)

"""2. The vanilla RNN: a network that reads "hell" and predicts "ello", and its hidden state over time.

The letter "l" is followed once by "l" and once by "o", so the right answer needs the memory h(t), not x(t) alone.
"""

import keras
import lecture
import numpy as np

from layers.rnn import VanillaRNN
from pipelines.common.pictures.drawing import DIVERGING, INK
from pipelines.common.pictures.panels import draw_grid, panels

FIGURES = ("02_vanilla_rnn.png",)
QUOTES = (
    'after {updates:.0f} updates, the network predicts "l" after "hel" with a probability of {l_after_hel:.2f} and "o"'
    ' after "hell" with {o_after_hell:.2f}',
    "are {apart:.1f} apart",
)
WORD, LETTERS = "hello", "helo"
UNITS, UPDATES = 9, 35


def letters(text: str) -> np.ndarray:
    """Returns a text as one-hot rows, float32[time, letters]."""
    return np.eye(len(LETTERS), dtype="float32")[[LETTERS.index(letter) for letter in text]]


def trained_on_hello() -> list[np.ndarray]:
    """Returns the weights W_ih, W_hh, b, W_ho, b_o of a network that was trained to spell "hello"."""
    keras.utils.set_random_seed(1)
    network = VanillaRNN(UNITS, output_units=len(LETTERS), output_activation="softmax", return_sequences=True)
    model = keras.Sequential([keras.Input((None, len(LETTERS))), network])
    loss = keras.losses.CategoricalCrossentropy()
    batch = letters(WORD[:-1])[np.newaxis], letters(WORD[1:])[np.newaxis]  # x(t) and what y(t) should be
    lecture.train(model, loss, [batch] * UPDATES, keras.optimizers.Adam(0.02))
    return network.get_weights()


def softmax(z):
    return np.exp(z) / np.exp(z).sum()


def run(folder, short=False) -> dict:
    W_ih, W_hh, b, W_ho, b_o = trained_on_hello()
    h, states, outputs = np.zeros(UNITS), [], []
    for x in letters(WORD[:-1]):
        h = np.tanh(x @ W_ih + h @ W_hh + b)
        y = softmax(h @ W_ho + b_o)
        states.append(h)
        outputs.append(y)
    states, outputs = np.array(states), np.array(outputs)
    draw(states, outputs, folder / FIGURES[0])
    return {
        "updates": UPDATES,
        "l_after_hel": outputs[2, LETTERS.index("l")],
        "o_after_hell": outputs[3, LETTERS.index("o")],
        "apart": np.linalg.norm(states[2] - states[3]),
        "largest": np.abs(states).max(),
    }


def draw(states, outputs, png):
    """Draws h(t) float[time, units] and y(t) float[time, letters] as two grids."""
    steps = [f"{t}: “{letter}”" for t, letter in enumerate(WORD[:-1], 1)]
    with panels(png, ["hidden state h(t)", "output y(t): probability of the next letter"], height=3.4) as (left, right):
        left.grid(False)
        left.imshow(states.T, cmap=DIVERGING, vmin=-1, vmax=1, aspect="auto")
        for (t, unit), value in np.ndenumerate(states):
            ink = "white" if abs(value) > 0.7 else INK
            left.text(t, unit, f"{value:+.2f}", ha="center", va="center", fontsize=8, color=ink)
        left.set_xticks(range(len(steps)), steps)
        left.set_yticks(range(UNITS), range(1, UNITS + 1))
        left.set(xlabel="step t: letter x(t)", ylabel="unit")
        left.tick_params(length=0)
        left.spines[:].set_visible(False)
        names = "letter", "step t: letter x(t)"
        draw_grid(right, outputs.T, [f"“{letter}”" for letter in LETTERS], steps, "{:.2f}".format, names)


if __name__ == "__main__":
    lecture.main(__file__)

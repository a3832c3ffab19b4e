"""Draws docs/unfolded.png: a vanilla RNN unfolded in time, with the activations of a network that was trained.

    python docs/unfolded.py [PNG]

The lecture's example: a network that reads a word letter by letter and predicts the next letter. In "hello" the letter
"l" is followed once by "l" and once by "o", so the right answer needs the memory h(t), not x(t) alone.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # runs from a checkout, installed or not

import keras  # noqa: E402
import numpy as np  # noqa: E402

from layers.rnn import VanillaRNN  # noqa: E402
from pipelines.common.pictures.unfolded_network import draw_unfolded_network  # noqa: E402

WORD, LETTERS = "hello", "helo"
UNITS, STEPS = 9, 35


def main(png: str):
    keras.utils.set_random_seed(1)
    ids = np.array([[LETTERS.index(letter) for letter in WORD]])  # int[1, time + 1]
    inputs, targets = np.eye(len(LETTERS), dtype="float32")[ids[:, :-1]], ids[:, 1:]
    network = VanillaRNN(UNITS, output_units=len(LETTERS), output_activation="softmax", return_sequences=True)
    model = keras.Sequential([keras.Input((None, len(LETTERS))), network])
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(inputs, targets, epochs=STEPS, verbose=0).history

    states = VanillaRNN(UNITS, return_sequences=True)
    states.build(inputs.shape)
    states.set_weights(network.get_weights()[: len(states.weights)])  # W_ih, W_hh, b; W_ho belongs to the output
    hidden, outputs = np.array(states(inputs))[0], model.predict(inputs, verbose=0)[0]
    draw_unfolded_network(inputs[0], hidden, outputs, list(WORD[:-1]), png, targets=list(WORD[1:]), names=list(LETTERS))
    answer = "".join(LETTERS[index] for index in outputs.argmax(axis=-1))
    print(f"after {STEPS} steps: {WORD[:-1]} -> {answer}, loss {history['loss'][-1]:.3f}; drawn to {png}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(Path(__file__).with_suffix(".png")))

"""9. LSTM: a network of two units that counts, drawn with its gates.

The language a^n b^n (Gers and Schmidhuber 2001, "LSTM recurrent networks learn simple context-free and
context-sensitive languages"): after n letters a come as many b, then the end. While it reads a, the network cannot know
which letter is next; from the first b on it can, if it has counted.
"""

import keras
import lecture
import numpy as np
import tensorflow as tf

from layers.lstm import LSTM
from pipelines.common.pictures.drawing import BLUE, INK
from pipelines.common.pictures.panels import SUPERSCRIPTS, draw_line, panels

FIGURES = ("09_lstm.png",)
SEEDS = (0, 1, 2, 3, 4)
QUOTES = (
    "rises by {up:.3f} with every a and falls by {down:.3f} with every b",
    "the network is right up to n = {reaches_0:.0f}",
    "other four seeds reach " + ", ".join(f"{{reaches_{seed}:.0f}}" for seed in SEEDS[1:-1]) + " and {reaches_4:.0f}",
)
END, A, B = 0, 1, 2  # the symbols; END is also the start
LONGEST, TESTED, DRAWN = 10, 120, 20  # n in training, in the test, in the figure
BATCH, UNITS, UPDATES = 32, 2, 1500


def strings(lengths):
    """Returns inputs float32[batch, time, 3], targets int[batch, time] and weights float32[batch, time] for each n.

    inputs   END a a b b      targets   a a b b END
    """
    steps = 2 * max(lengths) + 1
    inputs = np.full((len(lengths), steps + 1), END)
    for row, n in enumerate(lengths):
        inputs[row, 1 : n + 1], inputs[row, n + 1 : 2 * n + 1] = A, B
    weights = (np.arange(steps) <= 2 * np.array(lengths)[:, np.newaxis]).astype("float32")
    return np.eye(3, dtype="float32")[inputs[:, :-1]], inputs[:, 1:], weights


def trained(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    random = np.random.default_rng(seed)
    model = keras.Sequential([keras.Input((None, 3)), LSTM(UNITS, return_sequences=True), keras.layers.Dense(3)])

    def batches():
        for _ in range(UPDATES):
            inputs, targets, weights = strings([LONGEST, *random.integers(1, LONGEST + 1, BATCH - 1)])
            yield inputs, (targets, weights)

    def loss(targets, logits):
        targets, weights = targets
        losses = weights * tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        return tf.reduce_sum(losses) / tf.reduce_sum(weights)

    lecture.train(model, loss, batches(), keras.optimizers.Adam(0.03))
    return model


def right(model) -> np.ndarray:
    """Returns for n = 1 … TESTED whether every symbol after the first b is predicted: the other b and the end."""
    lengths = np.arange(1, TESTED + 1)
    inputs, targets, weights = strings(lengths)
    predicted = model.predict(inputs, batch_size=len(lengths), verbose=0).argmax(axis=-1)
    from_first_b = weights * (np.arange(inputs.shape[1]) > lengths[:, np.newaxis])
    return ((predicted == targets) | (from_first_b == 0)).all(axis=1)


def reach(values: np.ndarray) -> int:
    """Returns the largest n up to which all are right."""
    return TESTED if values.all() else int(np.argmin(values))


def with_gates(model, n: int):
    """Returns h float[time, units] and the gates i, f, g, o and the cell c, over a^n b^n."""
    layer = LSTM(UNITS, return_sequences=True, return_gates=True)
    inputs, _, _ = strings([n])
    layer.build(inputs.shape)
    layer.set_weights(model.layers[0].get_weights())
    h, gates = layer(inputs)
    return {"h": h.numpy()[0], **{name: gate.numpy()[0] for name, gate in gates.items()}}


def run(folder, short=False) -> dict:
    numbers, found = {}, {}
    for seed in SEEDS[:1] if short else SEEDS:
        model = trained(seed)
        found[seed] = right(model)
        numbers[f"reaches_{seed}"] = reach(found[seed])
        if seed == 0:
            gates = with_gates(model, DRAWN)
            probabilities = tf.nn.softmax(model(strings([DRAWN])[0]))[0].numpy()
    counter = int(np.abs(np.diff(gates["c"], axis=0)).mean(axis=0).argmax())  # the unit whose cell moves most
    steps = np.diff(gates["c"][:, counter])
    numbers["up"], numbers["down"] = np.abs(np.median(steps[2:DRAWN])), np.abs(np.median(steps[DRAWN + 2 :]))
    draw(gates, counter, probabilities, found, folder / FIGURES[0])
    return numbers


def draw(gates, counter, probabilities, found, png):
    read, power = np.arange(2 * DRAWN + 1), str(DRAWN).translate(SUPERSCRIPTS)
    titles = [
        f"cells over a{power} b{power}",
        f"gates of unit {counter + 1}",
        "probability of the next symbol",
        "largest n that is right",
    ]
    with panels(png, titles, across=2, width=5.2, height=2.9) as (cells, units, symbols, lengths):
        for unit in range(UNITS):
            draw_line(cells, read, gates["c"][:, unit], unit, f"c of unit {unit + 1}")
        for number, name in enumerate(("input", "forget", "output", "candidate")):
            letter = "g" if name == "candidate" else name[0]
            draw_line(units, read, gates[letter][:, counter], number, f"{letter}, {name}")
        for symbol, name in ((A, "a"), (B, "b"), (END, "end")):
            draw_line(symbols, read, probabilities[:, symbol], symbol, name)
        for panel, name in ((cells, "cell state"), (units, "activation"), (symbols, "probability")):
            panel.axvline(DRAWN + 0.5, color=INK, linewidth=0.8)
            panel.set(xlabel="symbols read: a up to the line, then b", ylabel=name)
            panel.legend(frameon=False, fontsize=8.5)
        places, reached = np.arange(len(found)), [reach(values) for values in found.values()]
        lengths.bar(places, reached, color=BLUE, width=0.6)
        for place, value in zip(places, reached, strict=True):
            lengths.text(place, value, str(value), ha="center", va="bottom")
        lengths.axhline(LONGEST, color=INK, linestyle="--", linewidth=1, label="longest in training")
        lengths.set_xticks(places, [f"seed {seed}" for seed in found])
        lengths.set(ylabel="n", ylim=(0, 1.15 * max(reached)))
        lengths.legend(frameon=False, fontsize=8.5, loc="upper center")


if __name__ == "__main__":
    lecture.main(__file__)

"""8. Warm start: signals and reviews that a network continues after 1, 10, 50 and 200 true steps."""

import dataclasses
import tempfile
from pathlib import Path

import keras
import lecture
import numpy as np
import tensorflow as tf

from layers.lstm import LSTM
from layers.text import START
from layers.unfold import unfold
from pipelines.common.data.loading import streamed
from pipelines.common.pictures.drawing import FAINT
from pipelines.common.pictures.panels import draw_line, logarithmic, panels
from pipelines.common.runs import Run
from pipelines.common.serving import exports
from pipelines.common.serving.decoding_options import DecodingOptions
from pipelines.sentiment import dataset
from pipelines.sentiment.language_model import export as language_model_export
from pipelines.sentiment.language_model import train as language_model_train
from pipelines.sentiment.language_model.config import TASK
from pipelines.sentiment.language_model.model import load_trained
from pipelines.sentiment.language_model.presets import PRESETS
from pipelines.sentiment.presets import PRESETS as CLASSIFIER

FIGURES = ("08_warm_start.png",)
GIVEN = (1, 10, 50, 200)  # true steps
GIVEN_WORDS = (1, 2, 4, 8)
QUOTES = (
    *(f"| after {given} | {{sines_{given}_10:.3f}} | {{sines_{given}_100:.3f}} | {{chaos_{given}_10:.3f}} |"
      f" {{chaos_{given}_100:.3f}} |" for given in GIVEN),
    "Without the noise it is {without_noise:.2f}",
    "from {words_1:.0f} after one word to {words_8:.1f} after eight",
)  # fmt: skip
BATCH, UNITS, UPDATES = 32, 64, 500
STEPS, OWN, TESTS = 200, 100, 64
NOISE = 0.05  # standard deviation, in training


# Signals --------------------------------------------------------------------------------------------------------------


def sines(random, rows: int, steps: int) -> np.ndarray:
    """Returns sums of three sines with random phases, float[rows, steps]."""
    phases = random.uniform(0, 2 * np.pi, (3, rows, 1))
    periods = (9.0, 23.0, 61.0)  # steps
    waves = [
        np.sin(2 * np.pi * np.arange(steps) / period + phase) for period, phase in zip(periods, phases, strict=True)
    ]
    return sum(waves) / 3


def mackey_glass(random, rows: int, steps: int) -> np.ndarray:
    """Returns solutions of dx/dt = 0.2 x(t - 17) / (1 + x(t - 17)^10) - 0.1 x(t) from random starts, every third unit
    of time, shifted to a mean of about 0: float[rows, steps] (Mackey and Glass 1977; chaotic with this delay)."""
    delay, substeps, skipped = 17, 10, 100
    past = np.repeat(random.uniform(0.5, 1.3, (rows, 1)), delay * substeps + 1, axis=1)
    past = list((past + random.normal(0, 0.1, (rows, 1)) * np.linspace(-1, 1, past.shape[1])).T)
    for _ in range(3 * substeps * (skipped + steps)):
        late = past[-1 - delay * substeps]
        past.append(past[-1] + (0.2 * late / (1 + late**10) - 0.1 * past[-1]) / substeps)
    return np.array(past[:: -3 * substeps][:steps][::-1]).T - 0.9


SIGNALS = {"sines": sines, "chaos": mackey_glass}
NAMES = {"sines": "sum of three sines", "chaos": "Mackey-Glass"}


class NextValue(keras.layers.Layer):
    """An LSTM that predicts the next value: whole true sequences in training, its own values when it goes on alone."""

    def __init__(self):
        super().__init__()
        self.recurrent = LSTM(UNITS, return_sequences=True, return_state=True)
        self.answer = keras.layers.Dense(1)

    def call(self, values, training=False):
        """float[batch, time] -> (predictions float[batch, time], state)."""
        h, *state = self.recurrent(values[..., tf.newaxis], training=training)
        return self.answer(h)[..., 0], state

    def go_on(self, values, steps: int):
        """Returns `steps` values after float[batch, time], float[batch, steps]: each is the input of the next step."""
        predictions, state = self(values)

        def step(state, _):
            value, *of_layer = state
            h, of_layer = self.recurrent.cell(value, of_layer)
            value = self.answer(h)
            return (value, *of_layer), (value,)

        first = predictions[:, -1:]
        ticks = tf.zeros([steps - 1, values.shape[0], 1])  # the step needs no input
        (own,), _ = unfold(step, (ticks,), (first, *state), (1,))
        return tf.concat([first, tf.transpose(own[..., 0])], axis=1)


def trained(signal, noise: float = NOISE, updates: int = UPDATES) -> NextValue:
    keras.utils.set_random_seed(0)
    network = NextValue()
    network(tf.zeros([1, 2]))  # creates the weights
    rows = signal(np.random.default_rng(0), 512, STEPS + 1).astype("float32")
    order = np.random.default_rng(0).integers(0, len(rows), (updates, BATCH))
    # Without noise in the inputs, the last few values are enough to predict the next one, but not to go on alone.
    noises = np.random.default_rng(1).normal(0, noise, (64, BATCH, STEPS)).astype("float32")
    batches = ((rows[row, :-1] + noises[n % 64], rows[row, 1:]) for n, row in enumerate(order))
    rate = keras.optimizers.schedules.CosineDecay(0.01, updates)

    def loss(targets, outputs):
        return tf.reduce_mean((outputs[0] - targets) ** 2)

    lecture.train(network, loss, batches, keras.optimizers.Adam(rate))
    return network


def continued(network: NextValue, truth: np.ndarray) -> dict[int, np.ndarray]:
    """Returns the OWN values after each number of given steps, float[rows, OWN]; all begin at the same step."""
    go_on = tf.function(network.go_on, autograph=False, reduce_retracing=True)
    last = truth.shape[1] - OWN
    return {given: go_on(tf.constant(truth[:, last - given : last]), OWN).numpy() for given in GIVEN}


def rms(errors: np.ndarray) -> np.ndarray:
    """Returns the root mean square over the rows: float[rows, steps] -> float[steps]."""
    return np.sqrt(np.mean(errors**2, axis=0))


# Words ----------------------------------------------------------------------------------------------------------------


def language_model(folder: Path):
    """Trains and exports `pretrain sample`, as the command does. Returns the run."""
    config = dataclasses.replace(PRESETS["sample"][1], run=folder / "language-model")
    language_model_train.train(config)
    language_model_export.export(config.run)
    return Run.open(config.run, TASK)


def perplexities(run: Run) -> dict[int, float]:
    """Returns the perplexity of the ninth word of test reviews, if the model reads the last 1, 2, 4, 8 words before
    it, by the number of words."""
    trained = load_trained(run)
    reviews = list(dataset.load(CLASSIFIER["sample"][1].data)["test"].texts)
    ids = tf.concat([trained.preprocessing(batch)[0] for batch in streamed(reviews)], axis=0)
    longest = max(GIVEN_WORDS)
    ids = tf.ragged.boolean_mask(ids, ids.row_lengths() > longest)[:, : longest + 1].to_tensor()
    found = {}
    for given in GIVEN_WORDS:
        state = trained.model.initial_state(len(ids))["forward"]
        logits, state = trained.model.step(tf.fill([len(ids)], START), state)
        for place in range(longest - given, longest):
            logits, state = trained.model.step(ids[:, place], state)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(ids[:, longest], logits)
        found[given] = float(tf.exp(tf.reduce_mean(losses)))
    return found


def generated(run: Run) -> dict[str, str]:
    """Returns the most probable text for each of a few prefixes."""
    loaded = exports.load(run.path, "sentiment", {"text", "score"})
    prefixes = ("The", "The plot is far", "It would be wrong to call the ending")
    options = [DecodingOptions(prefix=prefix, top_k=1, seed=0, max_length=20) for prefix in prefixes]
    return {each.prefix: exports.decode(loaded, each)["text"].numpy()[0].decode() for each in options}


def run(folder, short=False) -> dict:
    numbers, continuations, truths, words = {}, {}, {}, None
    for name in ["sines"] if short else SIGNALS:
        network = trained(SIGNALS[name])
        truths[name] = SIGNALS[name](np.random.default_rng(1), TESTS, max(GIVEN) + OWN).astype("float32")
        continuations[name] = continued(network, truths[name])
        for given, values in continuations[name].items():
            error = rms(values - truths[name][:, -OWN:])
            numbers |= {f"{name}_{given}_{steps}": error[steps - 1] for steps in (10, OWN)}
    if not short:
        without_noise = continued(trained(sines, noise=0.0), truths["sines"])[200]
        numbers["without_noise"] = rms(without_noise - truths["sines"][:, -OWN:])[-1]
        with tempfile.TemporaryDirectory() as scratch:
            model = language_model(Path(scratch))
            words = perplexities(model)
            for text in generated(model).values():
                print(f"    {text}")
        numbers |= {f"words_{given}": value for given, value in words.items()}
    draw(continuations, truths, words, folder / FIGURES[0])
    return numbers


def draw(continuations, truths, words, png):
    titles = [NAMES[name] for name in SIGNALS] + ["one Mackey-Glass continuation", "the ninth word of a review"]
    steps = np.arange(1, OWN + 1)
    with panels(png, titles, across=2, width=5.0, height=3.0) as axes:
        for panel, name in zip(axes, continuations, strict=False):
            for number, (given, values) in enumerate(continuations[name].items()):
                error = rms(values - truths[name][:, -OWN:])
                draw_line(panel, steps, error, number, f"{given} true step{'s' if given > 1 else ''}")
            logarithmic(panel.yaxis)
            panel.set(xlabel="steps of its own", ylabel="root mean squared error")
        axes[0].legend(frameon=False, fontsize=8.5, ncols=2)
        if "chaos" in continuations:
            row = 0
            axes[2].plot(steps, truths["chaos"][row, -OWN:], color=FAINT, linewidth=6, label="truth")
            for number, given in enumerate(GIVEN):
                if given in (1, 200):
                    draw_line(axes[2], steps, continuations["chaos"][given][row], number, f"after {given}")
            axes[2].legend(frameon=False, fontsize=8.5, ncols=3, loc="lower center")
            axes[2].set_ylim(-0.75, None)
        axes[2].set(xlabel="steps of its own", ylabel="value")
        if words:
            draw_line(axes[3], list(words), list(words.values()), 0)
            axes[3].set(ylim=(0, None))
        axes[3].set(xlabel="true words that the model has read", ylabel="perplexity")


if __name__ == "__main__":
    lecture.main(__file__)

"""Measures the speed of training a language model: an update at the size of the preset imdb.

    python tests/benchmarks/bench_pretraining.py [--rounds 5] [--units N] [--streams N] [--k1 N] [--k2 N]
        [--vocabulary-size N] [--no-bidirectional] [--full-softmax] [--precision mixed_bfloat16]

An update is a window of every stream, its gradients, clipping, and a step of Adam on all weights, including 30,000 word
vectors. Words are drawn by Zipf's law. FLOP/s count only the matrix products (of the LSTM, of the dense layer before
the softmax and of the softmax; three for each in the forward pass), as a share of the speed of one large product on
this machine.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the command line does

import numpy as np
import tensorflow as tf

from layers.text import GENERATION, Vocabulary
from pipelines.common.config import replace
from pipelines.common.training import strategies
from pipelines.common.training.updates import Updates
from pipelines.sentiment.language_model.config import Config
from pipelines.sentiment.language_model.model import make_model
from pipelines.sentiment.language_model.presets import PRESETS
from pipelines.sentiment.language_model.train import make_step, make_streams
from pipelines.sentiment.word_ids import Texts
from tests.benchmarks.timing import machine_flops

tf.get_logger().setLevel("ERROR")

WORDS_OF_A_TEXT = 240


def make_texts(words: int, vocabulary: int) -> Texts:
    """Returns texts of random words; the n-th most frequent has a probability of about 1 / n."""
    draw = np.random.default_rng(0)
    first = len(GENERATION)
    ids = np.exp(draw.uniform(np.log(first), np.log(vocabulary), words)).astype(np.int32)
    count = -(-words // WORDS_OF_A_TEXT)
    return Texts(ids, np.minimum(np.arange(count + 1) * WORDS_OF_A_TEXT, words), 0)


def make_updates(config: Config, updates: int):
    """Returns (a function that makes one update and waits for it, words of an update)."""
    words, size = config.windows.streams * config.windows.k1, config.vocabulary.vocabulary_size
    streams = make_streams(config, make_texts(words * updates, size))
    vocabulary = Vocabulary([*GENERATION, *map(str, range(size - len(GENERATION)))])
    model = strategies.build(config.training, lambda: make_model(config, vocabulary))
    data = streams.epoch(0)
    training = Updates(model, make_step(model, config), config.training, steps_per_epoch={0: streams.windows})
    training.prepare(data.element_spec)
    batches = iter(data)

    def step():
        training.train_on_batch(next(batches), 1)
        return training.metrics()

    return step, words


def flops_of_a_word(config: Config) -> float:
    """Returns the floating-point operations of an update for each new word."""
    model, units, repeats = config.model, config.model.units, config.windows.k2 / config.windows.k1
    width = model.embedding_units if model.tied else units
    layers = [model.embedding_units, *[units] * (model.layers - 1)]
    recurrent = sum(2 * (features + units) * 4 * units for features in layers) * repeats
    readout = 2 * units * width * repeats if model.tied and width != units else 0
    sampled = config.loss.softmax == "sampled"
    shown = config.loss.softmax_samples if sampled else config.vocabulary.vocabulary_size
    return 3 * (1 + model.bidirectional) * (recurrent + readout + 2 * width * shown)


def main():
    preset = PRESETS["imdb"][1]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    for name in ("units", "streams", "k1", "k2", "vocabulary_size"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=argparse.SUPPRESS)
    parser.add_argument("--bidirectional", action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS)
    parser.add_argument("--full-softmax", action="store_true")
    parser.add_argument("--precision", choices=["float32", "mixed_bfloat16"], default="float32")
    given = vars(parser.parse_args())
    rounds, softmax = given.pop("rounds"), "full" if given.pop("full_softmax") else preset.loss.softmax
    config = replace(preset, softmax=softmax, **given)
    peak = machine_flops()
    step, words = make_updates(config, rounds + 3)
    seconds = []
    for number in range(rounds + 2):
        began = time.perf_counter()
        step()
        if number >= 2:  # traced, warm
            seconds.append(time.perf_counter() - began)
    second = statistics.median(seconds)
    flops = flops_of_a_word(config) * words / second
    print(f"One large float32 product: {peak / 1e9:.0f} GFLOP/s. Median of {rounds} updates.\n")
    names = ["units", "directions", "streams", "k1, k2", "softmax", "precision", "seconds", "words/s"]
    names.append("share of the product's speed")
    print(f"| {' | '.join(names)} |\n|{' --- |' * len(names)}")
    print(
        f"| {config.model.units} | {1 + config.model.bidirectional} | {config.windows.streams}"
        f" | {config.windows.k1}, {config.windows.k2} | {softmax} | {config.training.precision}"
        f" | {second:.2f} | {words / second:,.0f} | {flops / peak:.0%} |"
    )


if __name__ == "__main__":
    main()

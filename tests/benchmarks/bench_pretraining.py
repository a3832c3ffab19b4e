"""Measures the speed of training a language model: an update at the size of the preset imdb.

    python tests/benchmarks/bench_pretraining.py [--rounds 5] [--units N] [--streams N] [--k1 N] [--k2 N]
        [--vocabulary-size N] [--no-bidirectional] [--full-softmax]

An update is a window of every stream, its gradients, clipping, and a step of Adam on all weights, including 30,000 word
vectors. Words are drawn by Zipf's law. FLOP/s count only the matrix products (of the LSTM, of the dense layer before
the softmax and of the softmax; three for each in the forward pass), as a share of the speed of one large product on
this machine.
"""

import argparse
import dataclasses
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
from pipelines.common.training.updates import Updates
from pipelines.sentiment.dataset import Texts
from pipelines.sentiment.pretrain import build, make_step, make_streams
from pipelines.sentiment.pretraining_config import PRESETS, PretrainingConfig
from tests.benchmarks.bench_layers import machine_flops

tf.get_logger().setLevel("ERROR")

WORDS_OF_A_TEXT = 240


def make_texts(words: int, vocabulary: int) -> Texts:
    """Returns texts of random words; the n-th most frequent has a probability of about 1 / n."""
    draw = np.random.default_rng(0)
    first = len(GENERATION)
    ids = np.exp(draw.uniform(np.log(first), np.log(vocabulary), words)).astype(np.int32)
    count = -(-words // WORDS_OF_A_TEXT)
    return Texts(ids, np.minimum(np.arange(count + 1) * WORDS_OF_A_TEXT, words), 0)


def make_updates(config: PretrainingConfig, updates: int):
    """Returns (a function that makes one update and waits for it, words of an update)."""
    words = config.streams * config.k1
    streams = make_streams(config, make_texts(words * updates, config.vocabulary_size))
    model = build(config, Vocabulary([*GENERATION, *map(str, range(config.vocabulary_size - len(GENERATION)))]))
    data = streams.epoch(0)
    training = Updates(model, make_step(model, config), config.training, steps_per_epoch={0: streams.windows})
    training.prepare(data.element_spec)
    batches = iter(data)

    def step():
        training.train_on_batch(next(batches), 1)
        return training.metrics()

    return step, words


def flops_of_a_word(config: PretrainingConfig) -> float:
    """Returns the floating-point operations of an update for each new word."""
    units, width = config.units, config.embedding_units if config.tied else config.units
    layers = [config.embedding_units, *[units] * (config.layers - 1)]
    recurrent = sum(2 * (features + units) * 4 * units for features in layers) * config.k2 / config.k1
    readout = 2 * units * width * config.k2 / config.k1 if config.tied and width != units else 0
    shown = config.softmax_samples if config.softmax == "sampled" else config.vocabulary_size
    return 3 * len(config.directions) * (recurrent + readout + 2 * width * shown)


def main():
    preset = PRESETS["imdb"][1]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    for name in ("units", "streams", "k1", "k2", "vocabulary_size"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(preset, name))
    parser.add_argument("--bidirectional", action=argparse.BooleanOptionalAction, default=preset.bidirectional)
    parser.add_argument("--full-softmax", action="store_true")
    given = vars(parser.parse_args())
    rounds, softmax = given.pop("rounds"), "full" if given.pop("full_softmax") else preset.softmax
    config = dataclasses.replace(preset, softmax=softmax, **given)
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
    print("| units | directions | streams | k1, k2 | softmax | seconds | words/s | share of the product's speed |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    print(
        f"| {config.units} | {len(config.directions)} | {config.streams} | {config.k1}, {config.k2} | {config.softmax}"
        f" | {second:.2f} | {words / second:,.0f} | {flops / peak:.0%} |"
    )


if __name__ == "__main__":
    main()

"""Speed of our LSTM against keras.layers.LSTM and, where torch is installed, torch.nn.LSTM.

    python tests/benchmarks/bench_layers.py [--rounds 9] [--seconds 20]

Every candidate makes the same step in one process, in turn, round after round, and its median counts; a candidate that
can run with XLA and without is given the faster of the two. A training step is the forward pass and the gradients of
the weights and of the inputs; the sequences come back whole. FLOP/s count the matrix products alone, those of every
step, and are set in relation to those of one large product that takes its turn among the candidates.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow uses oneDNN on its own only on processors with AVX-512; it is the faster one with AVX2, too. For all alike.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import tensorflow as tf

from layers.lstm import LSTM

try:
    import torch
except ImportError:
    torch = None

tf.get_logger().setLevel("ERROR")  # a function for each candidate is meant, not a fault to be warned of

TORCH = "torch"
PRODUCT = 2048  # rows and columns of a large product
SHAPES = ((32, 400, 128), (64, 100, 256), (128, 30, 1000), (1, 100, 256))  # batch, steps, units = features


def candidates(batch: int, steps: int, units: int, masked: bool, train: bool) -> dict:
    """Name -> function that makes one step and returns at its end. Names end in how they run: " xla" or " graph"."""
    random = np.random.default_rng(0)
    x = tf.constant(random.standard_normal((batch, steps, units)), tf.float32)
    error = tf.constant(random.standard_normal((batch, steps, units)), tf.float32)
    mask = tf.sequence_mask(random.integers(steps // 2, steps + 1, batch), steps) if masked else None
    reference = keras.layers.LSTM(units, return_sequences=True)
    ours = LSTM(units, return_sequences=True)
    for layer in (reference, ours):
        layer.build(x.shape)
    ours.set_weights(reference.get_weights())

    def make(layer, xla):
        def infer():
            return layer(x, mask=mask)

        def differentiate():
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(layer(x, mask=mask, training=True) * error)
            return tape.gradient(loss, [x, *(weight.value for weight in layer.trainable_weights)])

        return tf.function(differentiate if train else infer, jit_compile=xla, autograph=False)

    steps_of = {
        f"{name} {'xla' if xla else 'graph'}": make(layer, xla)
        for name, layer in (("keras", reference), ("ours", ours))
        for xla in (False, True)
    }
    if torch and not masked:
        steps_of[TORCH] = torch_step(x.numpy(), error.numpy(), train)
    a = tf.random.normal([PRODUCT, PRODUCT])
    steps_of["product graph"] = tf.function(lambda: tf.matmul(a, a), autograph=False)
    return steps_of


def torch_step(x: np.ndarray, error: np.ndarray, train: bool):
    x, error = torch.tensor(x, requires_grad=train), torch.tensor(error)
    layer = torch.nn.LSTM(x.shape[-1], x.shape[-1], batch_first=True)

    def step():
        if not train:
            with torch.inference_mode():
                return layer(x)
        layer.zero_grad()
        x.grad = None
        return (layer(x)[0] * error).sum().backward()

    return step


def medians(functions: dict, rounds: int, seconds: float = 0) -> dict[str, float]:
    """Seconds of each function: its median over `rounds`, and over more while `seconds` have not passed. The functions
    take turns, in another order each time."""
    for function in functions.values():  # traces and compiles
        function()
        function()
    taken = {name: [] for name in functions}
    order, shuffle = list(functions), np.random.default_rng(0).shuffle
    begun = time.perf_counter()
    while len(taken[order[0]]) < rounds or time.perf_counter() - begun < seconds:
        shuffle(order)  # what ran before leaves its mark on caches and threads
        for name in order:
            start = time.perf_counter()
            functions[name]()
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


def fastest(seconds: dict[str, float], owner: str) -> tuple[float, str]:
    """(seconds, "xla" or "graph") of an owner's fastest way to run."""
    return min((value, name.split()[1]) for name, value in seconds.items() if name.startswith(owner))


def machine_flops(size: int = PRODUCT) -> float:
    """FLOP/s of the best of many large float32 matrix products, with XLA and without."""
    a = tf.random.normal([size, size])
    best = float("inf")
    for xla in (False, True):
        multiply = tf.function(lambda: tf.matmul(a, a), jit_compile=xla, autograph=False)
        multiply()
        for _ in range(20):
            start = time.perf_counter()
            multiply().numpy()
            best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="of every row at least")
    parser.add_argument("--seconds", type=float, default=20, help="that the rounds of a row take at least")
    options = parser.parse_args()
    more = f"and of more while {options.seconds:g} s have not passed"
    print(f"Milliseconds: medians of {options.rounds} rounds, {more}. One large product in GFLOP/s.\n")
    print(
        "| step | batch x steps x units | mask | Keras | ours | ratio | PyTorch | ratio | product | our share of it |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    ratios = {True: [], False: []}
    for train in (True, False):
        for masked in (False, True):
            for shape in SHAPES:
                batch, steps, units = shape
                seconds = medians(candidates(*shape, masked, train), options.rounds, options.seconds)
                (keras_, keras_way), (ours, our_way), (product, _) = (
                    fastest(seconds, owner) for owner in ("keras", "ours", "product")
                )
                ratios[train].append(keras_ / ours)
                pytorch = f"{seconds[TORCH] * 1e3:.1f} | {seconds[TORCH] / ours:.2f}" if TORCH in seconds else "|"
                speed = (3 if train else 1) * 2 * batch * steps * 2 * units * 4 * units / ours
                peak = 2 * PRODUCT**3 / product
                print(
                    f"| {'train' if train else 'infer'} | {batch} x {steps} x {units} | {'yes' if masked else 'no'} "
                    f"| {keras_ * 1e3:.1f} {keras_way} | {ours * 1e3:.1f} {our_way} | {keras_ / ours:.2f} "
                    f"| {pytorch} | {peak / 1e9:.0f} | {speed / peak:.0%} |",
                    flush=True,
                )
    for train, values in ratios.items():
        kind = "training" if train else "inference"
        print(f"\n{kind}: geometric mean {statistics.geometric_mean(values):.2f} x, lowest {min(values):.2f} x")


if __name__ == "__main__":
    main()

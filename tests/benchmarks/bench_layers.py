"""Speed of our LSTM against keras.layers.LSTM, as ratios: Keras's time divided by ours.

    python tests/benchmarks/bench_layers.py [--seconds 5] [--masked]

Three conditions, each in a process of its own: one thread on one core; two threads; two threads beside a second process
that keeps a core busy. In each, the candidates run in turn in the same process and their medians count. Both layers may
run with XLA or without; the faster of the two counts. A training step is the forward pass and the gradients of the
weights and of the inputs; all sequences are returned whole.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # runs from a checkout, installed or not

CONDITIONS = {"one": "one thread", "two": "two threads", "busy": "two threads, busy machine"}
SHAPES = ((32, 400, 128), (64, 100, 256), (128, 30, 1000), (1, 100, 256))  # batch, steps, units = features
ROUNDS = 5  # at least


def candidates(shape: tuple, masked: bool, train: bool) -> dict:
    """{(layer, XLA or not): a function that runs one step}."""
    import keras
    import numpy as np
    import tensorflow as tf

    from layers.lstm import LSTM

    tf.get_logger().setLevel("ERROR")  # one function for each candidate is intended
    batch, steps, units = shape
    random = np.random.default_rng(0)
    x = tf.constant(random.standard_normal(shape), tf.float32)
    error = tf.constant(random.standard_normal(shape), tf.float32)
    mask = tf.sequence_mask(random.integers(steps // 2, steps + 1, batch), steps) if masked else None
    layers = {"keras": keras.layers.LSTM(units, return_sequences=True), "ours": LSTM(units, return_sequences=True)}
    for layer in layers.values():
        layer.build(shape)
    layers["ours"].set_weights(layers["keras"].get_weights())

    def make(layer, xla):
        def infer():
            return layer(x, mask=mask)

        def differentiate():
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(layer(x, mask=mask, training=True) * error)
            return tape.gradient(loss, [x, *(weight.value for weight in layer.trainable_weights)])

        return tf.function(differentiate if train else infer, jit_compile=xla, autograph=False)

    return {(name, xla): make(layer, xla) for name, layer in layers.items() for xla in (False, True)}


def seconds_of(function: Callable, clock: Callable) -> float:
    start = clock()
    function()
    return clock() - start


def ratio(functions: dict, seconds: float, clock: Callable) -> float:
    """Keras's time divided by ours."""
    first = {}
    for name, function in functions.items():
        function()  # traces and compiles
        first[name] = seconds_of(function, time.process_time)
    # Using XLA or not changes the time by up to a factor of three: the much slower way is not measured further.
    taken = {name: [] for name in functions if first[name] < 1.5 * first[name[0], not name[1]]}
    begun = time.perf_counter()
    while min(map(len, taken.values())) < ROUNDS or time.perf_counter() - begun < seconds:
        for name, times in taken.items():
            times.append(seconds_of(functions[name], clock))
    best = {}
    for (layer, _), times in taken.items():
        best[layer] = min(statistics.median(times), best.get(layer, float("inf")))
    return best["keras"] / best["ours"]


def measure(condition: str, seconds: float, masked: bool):
    """Prints the ratios of one condition, one JSON line each; this process runs under that condition."""
    import tensorflow as tf

    if condition == "one":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    threads = 1 if condition == "one" else 2
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    clock = time.process_time if condition == "one" else time.perf_counter  # CPU time: what else runs does not matter
    for train in (True, False):
        for shape in SHAPES:
            value = ratio(candidates(shape, masked, train), seconds, clock)
            print(json.dumps({"train": train, "shape": shape, "ratio": value}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5, help="at least, for each ratio")
    parser.add_argument("--masked", action="store_true", help="sequences of different lengths, with a mask")
    parser.add_argument("--condition", choices=CONDITIONS, help=argparse.SUPPRESS)  # the processes started below
    options = parser.parse_args()
    if options.condition:
        return measure(options.condition, options.seconds, options.masked)

    # TensorFlow uses oneDNN by default only with AVX-512; it is faster with AVX2 as well, for both layers.
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1"} | os.environ
    command = [sys.executable, __file__, "--seconds", str(options.seconds), *["--masked"] * options.masked]
    found = {}
    for condition in CONDITIONS:
        other = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if condition == "busy" else None
        try:
            lines = subprocess.check_output(
                [*command, "--condition", condition], env=environment, text=True, stderr=subprocess.DEVNULL
            )
        finally:
            if other:
                other.kill()
        found[condition] = [json.loads(line) for line in lines.splitlines()]

    print("Keras's time divided by ours; above 1 ours is faster.\n")
    print(f"| step | batch x steps x units | {' | '.join(CONDITIONS.values())} |")
    print(f"| --- | --- {'| --- ' * len(CONDITIONS)}|")
    for row in zip(*found.values(), strict=True):
        kind, shape = "training" if row[0]["train"] else "inference", " x ".join(map(str, row[0]["shape"]))
        ratios = " | ".join(f"{cell['ratio']:.2f}" for cell in row)
        print(f"| {kind} | {shape} | {ratios} |")
    for train in (True, False):
        means = [
            statistics.geometric_mean(row["ratio"] for row in rows if row["train"] == train) for rows in found.values()
        ]
        kind = "training" if train else "inference"
        print(f"| {kind} | geometric mean | {' | '.join(f'{mean:.2f}' for mean in means)} |")


if __name__ == "__main__":
    main()

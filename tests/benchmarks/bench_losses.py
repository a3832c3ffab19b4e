"""Speed and memory of the cross-entropy in blocks, and of the sampled one, against the plain one.

    python tests/benchmarks/bench_losses.py [--rounds 9] [--full]

A step is the value and the gradients of hidden, kernel (float[words, units], as when it is tied to the embedding) and
bias. Every candidate makes the same step in one process, in turn, round after round, and its median counts. FLOP/s
count the three matrix products of the exact loss alone, and are set in relation to the best that this machine reaches
in one large product. Memory is the highest of a process of its own, less what that process held before its first step.
`--full` adds 128 sentences of 30 words with 1,000 units and 80,000 words: about half a minute, and 3 GB.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow uses oneDNN on its own only on processors with AVX-512; it is the faster one with AVX2, too. For all alike.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import numpy as np
import tensorflow as tf

from layers.losses import cross_entropy
from layers.sampled_softmax import sampled_cross_entropy
from tests.benchmarks.bench_layers import machine_flops, medians

tf.get_logger().setLevel("ERROR")  # a function for each candidate is meant, not a fault to be warned of

SHAPE = (2000, 256, 8000)  # rows, units, words
FULL_SHAPE = (128 * 30, 1000, 80000)


def plain(hidden, kernel, bias, targets, xla):
    logits = tf.nn.bias_add(tf.matmul(hidden, kernel, transpose_b=True), bias)
    return tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits))


def blocked(hidden, kernel, bias, targets, xla):
    return cross_entropy(hidden, kernel, bias, targets, xla=xla)[0]


def sampled(hidden, kernel, bias, targets, xla):
    samples = kernel.shape[0] // 10
    return sampled_cross_entropy(hidden, kernel, bias, targets, samples=samples, seed=[1, 2])


LOSSES = {"plain": plain, "blocked": blocked, "sampled": sampled}


def candidates(rows: int, units: int, words: int, names) -> dict:
    """Name -> function that makes one step and waits for its end. Names end in how they run: " xla" or " graph"."""
    random = np.random.default_rng(0)
    hidden = tf.constant(random.standard_normal((rows, units)), tf.float32)
    kernel = tf.constant(random.standard_normal((words, units), np.float32) / np.float32(units**0.5))
    bias = tf.zeros([words])
    targets = tf.constant(random.integers(0, words, rows), tf.int32)

    def make(loss, xla):
        def differentiate():
            with tf.GradientTape() as tape:
                tape.watch([hidden, kernel, bias])
                total = loss(hidden, kernel, bias, targets, xla)
            return tape.gradient(total, [hidden, kernel, bias])

        compiled = tf.function(differentiate, jit_compile=xla, autograph=False)

        def step():
            # Waits for the end of each without copying it.
            return [tf.convert_to_tensor(part)[..., :1].numpy() for part in compiled()]

        return step

    return {name: make(LOSSES[name.split()[0]], name.endswith("xla")) for name in names}


def peak_bytes(shape: tuple, name: str) -> int:
    """The memory that the steps of a candidate add to those of its process at the most."""
    command = [sys.executable, __file__, "--peak", name, *map(str, shape)]
    # Freed memory goes back to the system at once: what is held counts, not what the C library keeps for later.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return int(done.stdout.split()[-1])


def print_peak(name: str, shape: list[str]):
    rows, units, words = map(int, shape)
    for some in (1, rows):  # the first time starts what TensorFlow starts only once
        (step,) = candidates(some, units, words, [name]).values()
        Path("/proc/self/clear_refs").write_text("5")  # begins a new peak
        before = memory_kilobytes("VmRSS")
        step()
    print((memory_kilobytes("VmHWM") - before) * 1024)


def memory_kilobytes(field: str) -> int:
    """A field of what Linux says of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--full", action="store_true", help="the size of a translation model, too, one round of it")
    parser.add_argument("--peak", nargs=4, help=argparse.SUPPRESS, metavar=("NAME", "ROWS", "UNITS", "WORDS"))
    options = parser.parse_args()
    if options.peak:
        return print_peak(options.peak[0], options.peak[1:])
    peak = machine_flops()
    print(f"One large float32 product: {peak / 1e9:.0f} GFLOP/s. Medians of {options.rounds} rounds.\n")
    print("| rows x units x words | loss | seconds | times plain | memory, MB | share of the product's speed |")
    print("| --- | --- | --- | --- | --- | --- |")
    for shape in (SHAPE, FULL_SHAPE) if options.full else (SHAPE,):
        ways = ("graph", "xla") if shape is SHAPE else ("graph",)
        names = [f"{loss} {way}" for loss in LOSSES for way in ways]
        memory = {name: peak_bytes(shape, name) for name in names}
        seconds = medians(candidates(*shape, names), options.rounds if shape is SHAPE else 1)
        rows, units, words = shape
        for name, value in seconds.items():
            flops = 6 * rows * units * words / value
            speed = "" if name.startswith("sampled") else f"{flops / peak:.0%}"
            print(
                f"| {rows} x {units} x {words} | {name} | {value:.3f} | {value / seconds['plain graph']:.2f} "
                f"| {memory[name] / 1e6:.0f} | {speed} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

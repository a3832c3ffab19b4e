"""Measures speed and memory of the cross-entropy in blocks and of the sampled softmax, against the plain cross-entropy.

    python tests/benchmarks/bench_losses.py [--rounds 9] [--full]

A step computes the loss and the gradients of hidden, kernel (float[words, units], as when it is tied to the embedding)
and bias. All candidates run the same step alternately in one process; the table has their medians. FLOP/s count only
the three matrix products of the exact loss, as a share of the speed of one large product on this machine. Memory is the
peak of a separate process, minus its memory before the first step. `--full` adds 128 sentences of 30 words with 1,000
units and 80,000 words, which takes about half a minute and 3 GB.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# By default, TensorFlow uses oneDNN only on processors with AVX-512; it is also faster with AVX2.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import numpy as np
import tensorflow as tf

from layers.losses import cross_entropy
from layers.sampled_softmax import sampled_cross_entropy
from tests.benchmarks.timing import machine_flops, medians

tf.get_logger().setLevel("ERROR")  # no warnings about the functions that are traced for each candidate

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
    """Returns a dict from name to a function that runs one step and waits for it. Names end in " xla" or " graph"."""
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
            # Waits for each result without copying it.
            return [tf.convert_to_tensor(part)[..., :1].numpy() for part in compiled()]

        return step

    return {name: make(LOSSES[name.split()[0]], name.endswith("xla")) for name in names}


def peak_bytes(shape: tuple, name: str) -> int:
    """Returns the peak memory that a step of a candidate adds to its process."""
    command = [sys.executable, __file__, "--peak", name, *map(str, shape)]
    # Freed memory is returned to the system at once, so that memory the C library would keep is not counted.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return int(done.stdout.split()[-1])


def print_peak(name: str, shape: list[str]):
    rows, units, words = map(int, shape)
    for some in (1, rows):  # the first step initializes TensorFlow
        (step,) = candidates(some, units, words, [name]).values()
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        before = memory_kilobytes("VmRSS")
        step()
    print((memory_kilobytes("VmHWM") - before) * 1024)


def memory_kilobytes(field: str) -> int:
    """Returns a field of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--full", action="store_true", help="also one round at the size of a translation model")
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

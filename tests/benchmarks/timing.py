"""Times functions that take turns, and the machine's largest matrix products."""

import statistics
import time
from collections.abc import Callable

import tensorflow as tf

PRODUCT = 2048  # rows and columns


def medians(functions: dict[str, Callable], rounds: int) -> dict[str, float]:
    """Returns the seconds of each function: the median of `rounds`, in which the functions take turns."""
    for function in functions.values():  # traces and compiles
        function()
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def machine_flops(size: int = PRODUCT) -> float:
    """Returns the FLOP/s of the best of many large float32 matrix products, with XLA and without."""
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

"""The devices and the precision that a model is built and trained with."""

import functools
import os
import platform
from collections.abc import Callable

import keras
import tensorflow as tf

from pipelines.common.training import workers
from pipelines.common.training.options import TrainingOptions


def choose(options: TrainingOptions) -> tf.distribute.Strategy:
    """Returns the strategy under whose scope() the model is built, and which trains it."""
    if options.strategy == "multi-worker":
        return workers.strategy()
    return _mirrored() if options.strategy == "mirrored" else tf.distribute.get_strategy()


@functools.cache  # a model is trained by the very strategy that it was built under
def _mirrored() -> tf.distribute.Strategy:
    gpus = tf.config.list_logical_devices("GPU")
    devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    if len(devices) == 1:
        return tf.distribute.get_strategy()
    # TensorFlow's collective sums get mixed up on CPUs when a process makes a second strategy.
    return tf.distribute.MirroredStrategy(
        devices, cross_device_ops=None if gpus else tf.distribute.ReductionToOneDevice()
    )


def machine() -> str:
    """Returns the processor, how many cores this process may use, and the GPUs, for the summary of a run."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            found = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:  # not Linux
        found = []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = [
        tf.config.experimental.get_device_details(device).get("device_name", "GPU")
        for device in tf.config.list_physical_devices("GPU")
    ]
    processor = " ".join((found or [platform.processor() or platform.machine()])[0].split())
    return ", ".join([processor, f"{cores} cores" if cores > 1 else "1 core", *gpus])


def build(options: TrainingOptions, make: Callable[[], keras.Model]) -> keras.Model:
    """Returns make(), called under the strategy, precision and seed of the options."""
    keras.utils.set_random_seed(options.seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(options.precision)
    try:
        with choose(options).scope():
            return make()
    finally:
        keras.config.set_dtype_policy(before)

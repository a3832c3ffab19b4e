"""On which devices a model is built and trained, and in which precision."""

from collections.abc import Callable

import keras
import tensorflow as tf

from pipelines.common.training.options import TrainingOptions


def choose(options: TrainingOptions) -> tf.distribute.Strategy:
    """The strategy under whose scope() the model is built."""
    graphics = tf.config.list_logical_devices("GPU")
    devices = [device.name for device in graphics or tf.config.list_logical_devices("CPU")]
    if options.strategy == "mirrored" and len(devices) > 1:
        # TensorFlow's collective sums get mixed up on CPUs when a process makes a second strategy.
        sums = None if graphics else tf.distribute.ReductionToOneDevice()
        return tf.distribute.MirroredStrategy(devices, cross_device_ops=sums)
    return tf.distribute.get_strategy()


def build(options: TrainingOptions, make: Callable[[], keras.Model]) -> keras.Model:
    """What `make` gives under the strategy and precision of the options, its random numbers from their seed."""
    keras.utils.set_random_seed(options.seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(options.precision)
    try:
        with choose(options).scope():
            return make()
    finally:
        keras.config.set_dtype_policy(before)

"""Runs a command of a pipeline with two logical CPUs, on which --strategy mirrored trains:

python -m tests.on_two_cpus MODULE ARGUMENTS
"""

import importlib
import sys

import tensorflow as tf

if __name__ == "__main__":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    sys.exit(importlib.import_module(f"{sys.argv[1]}.__main__").main(sys.argv[2:]))

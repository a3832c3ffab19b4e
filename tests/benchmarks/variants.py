"""Shared by the tables of variants: continues runs, and estimates how many epochs fit into a given time."""

import dataclasses
import math
import time
from collections.abc import Callable

import tensorflow as tf

from pipelines.common.config import from_json
from pipelines.common.runs import Run
from pipelines.common.training.options import TrainingOptions
from pipelines.common.training.updates import Updates

TIMED = 40  # updates, or the whole epoch if it has fewer
START_SECONDS, VALIDATION_SECONDS = 15, 8  # tracing; the end of an epoch


def begun_or_planned(config, task: str, epochs: Callable, minutes: float):
    """Returns the configuration of the run if it exists; otherwise this one, with epochs(config, minutes) epochs."""
    if (config.run / "config.json").is_file():
        return dataclasses.replace(from_json(type(config), Run.open(config.run, task).config), run=config.run)
    return dataclasses.replace(config, training=dataclasses.replace(config.training, epochs=epochs(config, minutes)))


def epochs_that_fit(model, loss, data: tf.data.Dataset, options: TrainingOptions, minutes: float) -> float:
    """Returns how many epochs (in tenths) fit into the time, from the speed of some updates, which change the model.

    data: the batches of an epoch, the longest first, so that evenly spaced batches represent all of them.
    """
    updates = Updates(model, loss, options, steps_per_epoch={0: 1000})
    updates.prepare(data.element_spec)
    batches = int(data.cardinality())
    timed, every = min(TIMED, batches), max(batches // TIMED, 1)
    some = data.shard(every, every // 2).take(timed)
    began = 0.0
    for number, batch in enumerate(some.repeat(2)):
        if number == timed:  # the first time, each new length of a batch takes longer
            updates.metrics()  # waits
            began = time.perf_counter()
        updates.train_on_batch(batch, 1 + number)
    updates.metrics()
    epoch = (time.perf_counter() - began) / timed * batches + VALIDATION_SECONDS
    return max(math.floor(10 * (60 * minutes - START_SECONDS) / epoch), 1) / 10

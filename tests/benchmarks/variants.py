"""What the tables of variants share: how many epochs fit into a given time."""

import math
import time

import tensorflow as tf

from pipelines.common.optimizers import make_optimizer
from pipelines.common.options import TrainingOptions
from pipelines.common.updates import Updates

TIMED = 40  # updates
START_SECONDS, VALIDATION_SECONDS = 15, 8  # tracing; the end of an epoch


def epochs_that_fit(model, loss, data: tf.data.Dataset, options: TrainingOptions, minutes: float) -> float:
    """How many epochs (in tenths) a model trains in that time, by the speed of some updates, which it makes."""
    optimizer = make_optimizer(options, 1000, model)
    updates = Updates(model, loss, optimizer, options, tf.distribute.get_strategy())
    updates.prepare(data.element_spec)
    for step in (1, 1 + TIMED):  # at first every new length of a batch takes longer
        began = time.perf_counter()
        for number, batch in enumerate(data.take(TIMED)):
            updates(batch, step + number)
        updates.metrics()  # waits
    epoch = (time.perf_counter() - began) / TIMED * int(data.cardinality()) + VALIDATION_SECONDS
    return max(math.floor(10 * (60 * minutes - START_SECONDS) / epoch), 1) / 10

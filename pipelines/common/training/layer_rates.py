"""Several groups of weights, each with a learning rate of its own and an epoch from which on it learns.

Howard & Ruder 2018, "Universal language model fine-tuning for text classification", section 3.2, discriminative
fine-tuning, and section 3.3, gradual unfreezing: layers that were trained before learn the more slowly the deeper they
lie, and the later. With each layer at a share d of the rate of the layer above, a layer n below the head learns at d^n
of the head's rate (the paper: d = 1 / 2.6).
"""

import dataclasses
from collections.abc import Sequence

import keras
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.training.optimizers import OwnRate, make_optimizer
from pipelines.common.training.options import TrainingOptions


class Resting(keras.optimizers.schedules.LearningRateSchedule):
    """No learning for `updates` updates, then `schedule` from its beginning. (Adam's moments do not rest: they follow
    the gradient, so that the first update is not the large one of fresh moments.)"""

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule, updates: int):
        self.schedule, self.updates = schedule, updates

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        rate = self.schedule(tf.maximum(step - self.updates, 0.0))
        return tf.where(step < self.updates, tf.zeros_like(rate), rate)

    def get_config(self):
        return {"schedule": self.schedule, "updates": self.updates}


class Together:
    """Several Keras optimizers of weights of their own, driven as one: what the training loop's updates ask for."""

    def __init__(self, optimizers: Sequence[keras.optimizers.Optimizer], counts: Sequence[int]):
        self.optimizers, self.counts = list(optimizers), list(counts)

    @property
    def variables(self) -> list:
        return [variable for optimizer in self.optimizers for variable in optimizer.variables]

    def apply(self, gradients: Sequence, weights: Sequence):
        start = 0
        for optimizer, count in zip(self.optimizers, self.counts, strict=True):
            optimizer.apply(gradients[start : start + count], weights[start : start + count])
            start += count


@dataclasses.dataclass(frozen=True)
class LayerRates:
    """What `pipelines.common.training.loop.train` takes as `own_rate`, for several groups of weights.

    Attributes:
        groups: each an OwnRate, the first to learn first; none learns before the one in front of it. Their
            steps_per_epoch is not used: all epochs have as many batches.
    """

    groups: Sequence[OwnRate]

    steps_per_epoch = None

    def __post_init__(self):
        begins = [group.from_epoch for group in self.groups]
        if not begins or begins != sorted(begins):
            raise ValueError(f"the groups begin in the epochs {begins}, expected one or more, in this order")

    @property
    def weights(self) -> list[keras.Variable]:
        return [weight for group in self.groups for weight in group.weights]

    @property
    def from_epoch(self) -> int:
        return self.groups[0].from_epoch

    def make_optimizers(
        self, options: TrainingOptions, steps_per_epoch: int | None, model: keras.Model
    ) -> tuple[keras.optimizers.Optimizer, Together]:
        """(the optimizer of the model's other weights, that of the groups).

        Raises:
            UserError: a precision whose loss is scaled, or an epoch whose length is not known.
            ValueError: no epoch is left to a group.
        """
        if steps_per_epoch is None:
            raise UserError("layers that begin to learn one after the other need data whose length is known")
        first = OwnRate(self.weights, self.groups[0].learning_rate, self.from_epoch)
        others, _ = first.make_optimizers(options, steps_per_epoch, model)
        updates = -(-steps_per_epoch // options.accumulate)
        optimizers = []
        for group in self.groups:
            epochs = options.epochs - group.from_epoch
            if epochs <= 0:
                raise ValueError(f"from_epoch is {group.from_epoch}, expected below the {options.epochs} epochs")
            own = dataclasses.replace(options, learning_rate=group.learning_rate, epochs=epochs)
            optimizer = make_optimizer(own, updates, model, group.weights)
            waits = (group.from_epoch - self.from_epoch) * updates
            if waits:
                # Keras shows the rate of the moment in public, not the schedule.
                optimizer.learning_rate = Resting(optimizer._learning_rate, waits)
            optimizers.append(optimizer)
        return others, Together(optimizers, [len(group.weights) for group in self.groups])

"""The optimizers of a run, the schedules of their learning rates, and the weights that each of them trains."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.training.options import TrainingOptions


@keras.saving.register_keras_serializable(package="unfold")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate after t updates: linear warm-up to `peak` over `warmup` updates, then, with
    p = min((t - warmup) / (end - warmup), 1),

        constant      peak
        linear        peak (1 - p (1 - final))
        cosine        peak (final + (1 - final) (1 + cos(pi p)) / 2)          Loshchilov & Hutter 2017, equation 5
        exponential   peak final^p
        inverse-sqrt  peak sqrt(w / max(t, w)), w = max(warmup, 1)            Vaswani et al. 2017, equation 3
        halving       peak / 2^n, n the halvings so far: one at update `first`, one every `every` updates after it
                                                                              Sutskever et al. 2014, section 3.4
    """

    def __init__(self, kind: str, peak: float, warmup=0, end=0, final=1.0, first=0.0, every=1.0):
        self.kind, self.peak, self.warmup, self.end, self.final = kind, peak, warmup, end, final
        self.first, self.every = first, every

    def __call__(self, step):
        t = tf.cast(step, tf.float32)
        p = tf.clip_by_value((t - self.warmup) / max(self.end - self.warmup, 1), 0.0, 1.0)
        w = float(max(self.warmup, 1))
        factor = {
            "constant": lambda: tf.ones([]),
            "linear": lambda: 1 - p * (1 - self.final),
            "cosine": lambda: self.final + (1 - self.final) * (1 + tf.cos(math.pi * p)) / 2,
            "exponential": lambda: self.final**p,
            "inverse-sqrt": lambda: tf.sqrt(w / tf.maximum(t, w)),
            "halving": lambda: 0.5 ** tf.maximum(tf.floor((t - self.first) / self.every) + 1, 0.0),
        }[self.kind]()
        # The first update is t = 0: (t + 1) gives it a rate above zero.
        return self.peak * factor * tf.minimum((t + 1) / max(self.warmup, 1), 1.0)

    def get_config(self):
        return dict(vars(self))


@keras.saving.register_keras_serializable(package="unfold")
class LazyAdam(keras.optimizers.Adam):
    """Adam that does not change the rows of a matrix whose gradient is zero (the embeddings of words that are not in
    the batch), nor their moments.

    With Adam, the moments of a word that is not in the batch decay, the second more slowly than the first. For a word
    that occurs once in hundreds of updates, the only gradient g is then divided by sqrt(0.001 g^2): one occurrence
    moves its embedding by about thirty learning rates, and a classifier overfits on rare words. Here it moves by about
    three. (TensorFlow Addons' LazyAdam and PyTorch's SparseAdam follow the same rule.)
    """

    def update_step(self, gradient, variable, learning_rate):
        if len(variable.shape) != 2:
            return super().update_step(gradient, variable, learning_rate)
        index = self._get_variable_index(variable)
        m, v = self._momentums[index], self._velocities[index]
        t = keras.ops.cast(self.iterations + 1, variable.dtype)
        rate = keras.ops.cast(learning_rate, variable.dtype)
        rate *= keras.ops.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)
        moves = keras.ops.cast(keras.ops.any(gradient != 0, axis=1, keepdims=True), variable.dtype)
        self.assign_add(m, moves * (1 - self.beta_1) * (gradient - m))
        self.assign_add(v, moves * (1 - self.beta_2) * (keras.ops.square(gradient) - v))
        self.assign_sub(variable, moves * rate * m / (keras.ops.sqrt(v) + self.epsilon))


@dataclasses.dataclass(frozen=True)
class ParameterGroup:
    """Weights that are trained with a learning rate of their own, from an epoch on.

    Each group has its own optimizer. Scaling its gradients instead would have no effect with Adam, which divides the
    scale out again; and the moments of weights that were frozen have to start with their first update.

    Attributes:
        weights: some of the model's trainable variables.
        learning_rate: the highest of the group's schedule, which runs from `from_epoch` to the end of the run.
        from_epoch: first epoch, counted from 0, in which the weights are trained; before it they are frozen.
    """

    weights: Sequence[keras.Variable]
    learning_rate: float
    from_epoch: int = 0


def make_optimizer(
    options: TrainingOptions, group: ParameterGroup, steps_per_epoch: Mapping[int, int] | None = None
) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a parameter group, built; see `make_schedule`."""
    kinds = {
        "adam": keras.optimizers.Adam,
        "lazy-adam": LazyAdam,
        "adamw": keras.optimizers.AdamW,
        "sgd": keras.optimizers.SGD,
        "rmsprop": keras.optimizers.RMSprop,
        "lion": keras.optimizers.Lion,
    }
    schedule = make_schedule(options, group, steps_per_epoch or {})
    decay = options.weight_decay or (0.0 if options.optimizer == "adamw" else None)
    momentum = {"momentum": options.momentum} if options.optimizer in ("sgd", "rmsprop") else {}
    optimizer = kinds[options.optimizer](learning_rate=schedule, weight_decay=decay, **momentum)
    optimizer._all_reduce_sum_gradients = lambda pairs: pairs  # Keras's would sum over the replicas what is a sum
    if decay:
        optimizer.exclude_from_weight_decay(var_list=[v for v in group.weights if len(v.shape) < 2])
    if options.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(list(group.weights))
    return optimizer


def make_schedule(options: TrainingOptions, group: ParameterGroup, steps_per_epoch: Mapping[int, int]) -> Schedule:
    """Returns the learning rate of a parameter group, by its updates.

    Args:
        steps_per_epoch: epoch -> steps of each epoch from that one on, group.from_epoch among them; empty where the
            number of steps is not known.

    Raises:
        UserError: The schedule depends on the number of steps, which is not known.
        ValueError: The group would not be trained in any epoch.
    """
    if group.from_epoch >= options.epochs:
        raise ValueError(f"from_epoch is {group.from_epoch}, expected below the {options.epochs} epochs of the run")
    starts = [epoch for epoch in sorted(steps_per_epoch) if epoch >= group.from_epoch]
    updates = [math.ceil(steps_per_epoch[epoch] / options.accumulate) for epoch in starts]  # of one epoch
    epochs = [end - start for start, end in itertools.pairwise([*starts, options.epochs])]
    if options.schedule in ("linear", "cosine", "exponential") and not (options.decay_steps or updates):
        raise UserError(f"--schedule {options.schedule} needs --decay-steps here: the length of an epoch is not known")
    if options.schedule == "halving" and not updates:
        raise UserError("--schedule halving counts in epochs, and here the length of an epoch is not known")
    return Schedule(
        options.schedule,
        group.learning_rate,
        options.warmup_steps,
        options.decay_steps or round(sum(count * each for count, each in zip(epochs, updates, strict=True))),
        final=options.final_fraction,
        first=options.halving_from * (updates[0] if updates else 0),
        every=options.halving_every * (updates[0] if updates else 1),
    )

"""The optimizer of a run and the schedule of its learning rate."""

import dataclasses
import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.training.options import TrainingOptions


@keras.saving.register_keras_serializable(package="unfold")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate after t updates: linear warm-up to `peak` over `warmup` updates, then with progress
    p = (t - warmup) / (end - warmup), held at 1 past the end:

        constant      peak
        linear        peak (1 - p (1 - final))
        cosine        peak (final + (1 - final) (1 + cos(pi p)) / 2)          Loshchilov & Hutter 2017, equation 5
        exponential   peak final^p
        inverse-sqrt  peak sqrt(w / max(t, w)), w = max(warmup, 1)            Vaswani et al. 2017, equation 3
        halving       peak / 2^n, n the halvings so far: one at update `first`, one every `every` updates after it
                                                                              Sutskever et al. 2014, section 3.4
    """

    def __init__(
        self,
        kind: str,
        peak: float,
        warmup: int = 0,
        end: int = 0,
        final: float = 1.0,
        first: float = 0.0,
        every: float = 1.0,
    ):
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
        names = ("kind", "peak", "warmup", "end", "final", "first", "every")
        return {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable(package="unfold")
class LazyAdam(keras.optimizers.Adam):
    """Adam that leaves alone, moments included, each row of a matrix whose gradient is zero: the vectors of the words
    that a batch does not have.

    Adam's moments forget while a word is away, the second, which divides, much more slowly than the first. Where a word
    comes once in hundreds of updates its one gradient g is divided by sqrt(0.001 g^2): one occurrence moves its vector
    by some thirty learning rates, and a classifier learns its rare words by heart. Here it moves it by about three.
    (The rule of TensorFlow Addons' LazyAdam and of PyTorch's SparseAdam.)
    """

    def update_step(self, gradient, variable, learning_rate):
        if len(variable.shape) != 2:
            return super().update_step(gradient, variable, learning_rate)
        place = self._get_variable_index(variable)
        m, v = self._momentums[place], self._velocities[place]
        t = keras.ops.cast(self.iterations + 1, variable.dtype)
        rate = keras.ops.cast(learning_rate, variable.dtype)
        rate *= keras.ops.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)
        moves = keras.ops.cast(keras.ops.any(gradient != 0, axis=1, keepdims=True), variable.dtype)
        self.assign_add(m, moves * (1 - self.beta_1) * (gradient - m))
        self.assign_add(v, moves * (1 - self.beta_2) * (keras.ops.square(gradient) - v))
        self.assign_sub(variable, moves * rate * m / (keras.ops.sqrt(v) + self.epsilon))


@dataclasses.dataclass(frozen=True)
class OwnRate:
    """Weights that learn at a rate of their own: a network that was trained before, in a model that learns around it.

    They have an optimizer of their own, for two reasons. Scaling their gradients would do nothing: Adam divides the
    scale out again. And its moments, when they rested before, have to begin with its first update.

    Attributes:
        weights: some of the model's trainable variables.
        learning_rate: the highest of their schedule, which is that of the other weights over the epochs that are left.
        from_epoch: they rest until so many epochs are over.
        steps_per_epoch: batches of an epoch from then on, where they are more or fewer than before.
    """

    weights: Sequence[keras.Variable]
    learning_rate: float
    from_epoch: int = 0
    steps_per_epoch: int | None = None

    def make_optimizers(
        self, options: TrainingOptions, steps_per_epoch: int | None, model: keras.Model
    ) -> tuple[keras.optimizers.Optimizer, keras.optimizers.Optimizer]:
        """(the optimizer of the model's other weights, that of these).

        Raises:
            UserError: the precision is one whose loss is scaled, as the scale is known to one optimizer alone.
            ValueError: no epoch is left to them.
        """
        if options.precision == "mixed_float16":
            raise UserError(
                "--precision is mixed_float16, but weights with a learning rate of their own need float32 or"
                " mixed_bfloat16"
            )
        epochs = options.epochs - self.from_epoch
        if epochs <= 0:
            raise ValueError(f"from_epoch is {self.from_epoch}, expected below the {options.epochs} epochs there are")
        updates = steps_per_epoch and math.ceil(steps_per_epoch / options.accumulate)
        later = math.ceil(self.steps_per_epoch / options.accumulate) if self.steps_per_epoch else updates
        others, own = options, dataclasses.replace(options, learning_rate=self.learning_rate, epochs=epochs)
        if updates and not options.decay_steps:
            end = max(round(self.from_epoch * updates + epochs * later), options.warmup_steps + 1)
            others = dataclasses.replace(options, decay_steps=end)
        mine = {id(weight) for weight in self.weights}
        rest = [weight for weight in model.trainable_variables if id(weight) not in mine]
        return make_optimizer(others, updates, model, rest), make_optimizer(own, later, model, self.weights)


def make_optimizer(
    options: TrainingOptions,
    updates_per_epoch: int | None,
    model: keras.Model,
    weights: Sequence[keras.Variable] | None = None,
) -> keras.optimizers.Optimizer:
    """The Keras optimizer of `options`, built for the model's trainable variables, or for some of them. With
    `updates_per_epoch` None it is not known; UserError when the schedule has to know it."""
    weights = model.trainable_variables if weights is None else list(weights)
    end = options.decay_steps or round(options.epochs * (updates_per_epoch or 0))
    if options.schedule in ("linear", "cosine", "exponential") and not end:
        raise UserError(f"--schedule {options.schedule} needs --decay-steps here: the length of an epoch is not known")
    if options.schedule == "halving" and not updates_per_epoch:
        raise UserError("--schedule halving counts in epochs, and here the length of an epoch is not known")
    rate = Schedule(
        options.schedule,
        options.learning_rate,
        options.warmup_steps,
        end,
        final=options.final_fraction,
        first=options.halving_from * (updates_per_epoch or 0),
        every=options.halving_every * (updates_per_epoch or 1),
    )
    decay = options.weight_decay or (0.0 if options.optimizer == "adamw" else None)
    kinds = {
        "adam": keras.optimizers.Adam,
        "lazy-adam": LazyAdam,
        "adamw": keras.optimizers.AdamW,
        "sgd": keras.optimizers.SGD,
        "rmsprop": keras.optimizers.RMSprop,
        "lion": keras.optimizers.Lion,
    }
    momentum = {"momentum": options.momentum} if options.optimizer in ("sgd", "rmsprop") else {}
    optimizer = kinds[options.optimizer](learning_rate=rate, weight_decay=decay, **momentum)
    if decay:
        optimizer.exclude_from_weight_decay(var_list=[v for v in weights if len(v.shape) < 2])
    if options.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(weights)
    return optimizer

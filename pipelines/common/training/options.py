"""What every pipeline's training can be told; a task's config nests it, so each field is a flag of its own."""

import dataclasses
import math
from typing import Literal

from pipelines.common.config import flag
from pipelines.common.errors import UserError


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """Options of the training loop. A step is one batch; an update of the weights follows every `accumulate` steps."""

    epochs: float = 10
    """Passes over the training data; the last one may be a part of one, as in 7.5."""

    learning_rate: float = 1e-3
    """The highest learning rate of the schedule."""

    schedule: Literal["constant", "linear", "cosine", "inverse-sqrt", "exponential", "halving"] = "constant"
    """How the learning rate goes on after the warm-up."""

    warmup_steps: int = 0
    """Updates over which the learning rate grows linearly from zero to its highest."""

    decay_steps: int = 0
    """Update at which linear, cosine and exponential schedules reach their end; 0: the last update of the run."""

    final_fraction: float = 0.01
    """Where linear, cosine and exponential schedules end, as a fraction of the highest learning rate."""

    halving_from: float = 5.0
    """Epochs after which the schedule halving halves the learning rate for the first time."""

    halving_every: float = 0.5
    """Epochs from one halving to the next."""

    optimizer: Literal["adam", "lazy-adam", "adamw", "sgd", "rmsprop", "lion"] = "adam"
    """The rule that turns gradients into updates; lazy-adam does not change the vectors of words that are not in the
    batch, but for --weight-decay."""

    momentum: float = 0.9
    """Momentum of sgd and rmsprop."""

    weight_decay: float = 0.0
    """Decoupled weight decay, times the learning rate at each update (not of biases and scales)."""

    clip_norm: float = 1.0
    """Longest global norm of a gradient, measured over all replicas together; 0: no clipping."""

    accumulate: int = 1
    """Batches whose gradients are summed for one update: as if they were one large batch."""

    ema: float = 0.0
    """Decay of the running average of the weights that is validated and kept, for example 0.999; 0: no average."""

    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Keras dtype policy of the layers; weights stay float32."""

    xla: bool = False
    """Compile the training step with XLA (compiles anew for every shape of batch)."""

    strategy: Literal["none", "mirrored"] = "none"
    """One device, or a copy of the model on every device of this machine."""

    patience: int = 0
    """Epochs without a better validation score after which training stops; 0: never stop early."""

    checkpoint_steps: int = 0
    """Write a checkpoint every so many steps; 0: by time and at the end of an epoch alone."""

    checkpoint_minutes: float = 5.0
    """Write a checkpoint when the last one is this many minutes old; 0: not by time."""

    seed: int = 1
    """Seed of the initial weights, of the order of the data and of dropout."""

    tensorboard: bool = True
    """Write logs for TensorBoard into the folder logs/ of the run."""

    def __post_init__(self):
        at_least = {
            "halving_from": 0,
            "warmup_steps": 0,
            "decay_steps": 0,
            "momentum": 0,
            "weight_decay": 0,
            "clip_norm": 0,
            "accumulate": 1,
            "ema": 0,
            "patience": 0,
            "checkpoint_steps": 0,
            "checkpoint_minutes": 0,
            "seed": 0,
        }
        for field, least in at_least.items():
            value = getattr(self, field)
            if not math.isfinite(value) or value < least:
                raise UserError(f"{flag(field)} is {value}, but must be at least {least}")
        for field in ("epochs", "learning_rate", "final_fraction", "halving_every"):
            value = getattr(self, field)
            if not math.isfinite(value) or value <= 0:
                raise UserError(f"{flag(field)} is {value}, but must be greater than 0")
        for field in ("ema", "momentum"):
            if getattr(self, field) >= 1:
                raise UserError(f"{flag(field)} is {getattr(self, field)}, but must be below 1")
        if self.final_fraction > 1:
            raise UserError(f"--final-fraction is {self.final_fraction}, but must be at most 1")
        if self.decay_steps and self.decay_steps <= self.warmup_steps:
            raise UserError(
                f"--decay-steps is {self.decay_steps}, but must be greater than --warmup-steps, {self.warmup_steps}"
            )

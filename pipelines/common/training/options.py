"""The options of the training loop, a group of every pipeline's configuration."""

import dataclasses
import math
from typing import Literal

from pipelines.common.config import check, check_at_least, check_shares


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """Options of the training loop. A step trains on one batch; the weights are updated every `accumulate` steps."""

    epochs: float = 10
    """Passes over the training data; 7.5 ends with half a pass."""

    learning_rate: float = 1e-3
    """The highest learning rate of the schedule."""

    schedule: Literal["constant", "linear", "cosine", "inverse-sqrt", "exponential", "halving"] = "constant"
    """The learning rate after the warm-up."""

    warmup_steps: int = 0
    """Updates over which the learning rate grows linearly from zero to its highest."""

    decay_steps: int = 0
    """Update at which linear, cosine and exponential schedules reach their end; 0: the last update of the run."""

    final_fraction: float = 0.01
    """Last learning rate of linear, cosine and exponential schedules, as a fraction of the highest."""

    halving_from: float = 5.0
    """Epochs after which the schedule halving halves the learning rate for the first time."""

    halving_every: float = 0.5
    """Epochs from one halving to the next."""

    optimizer: Literal["adam", "lazy-adam", "adamw", "sgd", "rmsprop", "lion"] = "adam"
    """The optimizer; lazy-adam does not change the embeddings of words that are not in the batch, except by
    --weight-decay."""

    momentum: float = 0.9
    """Momentum of sgd and rmsprop."""

    weight_decay: float = 0.0
    """Decoupled weight decay, multiplied by the learning rate; biases and scales do not decay."""

    clip_norm: float = 1.0
    """Maximum global norm of the gradient, summed over all replicas; 0: no clipping."""

    accumulate: int = 1
    """Batches whose gradients are summed for one update, as if they were one large batch."""

    ema: float = 0.0
    """Decay of the moving average of the weights, which is validated and saved, for example 0.999; 0: no average."""

    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Keras dtype policy of the layers; the weights stay float32."""

    xla: bool = False
    """Compile the train step with XLA (once for every shape of a batch)."""

    strategy: Literal["none", "mirrored", "multi-worker"] = "none"
    """One device; a copy of the model on every device of this machine; or on every device of several processes and
    machines, see docs/clusters.md."""

    compress: Literal["none", "float16"] = "none"
    """Exchange and sum the gradients of the replicas in float16: half of the traffic between workers."""

    worker_timeout: float = 60.0
    """Seconds that a worker waits for the others before the training (multi-worker)."""

    patience: int = 0
    """Epochs without a better validation score after which the training stops; 0: no early stopping."""

    checkpoint_steps: int = 0
    """Steps between two checkpoints; 0: checkpoints by time and at the end of an epoch only."""

    checkpoint_minutes: float = 5.0
    """Minutes between two checkpoints; 0: no checkpoints by time."""

    seed: int = 1
    """Seed of the initial weights, the order of the data and dropout."""

    tensorboard: bool = True
    """Write logs for TensorBoard into logs/ of the run folder."""

    def __post_init__(self):
        for field, value in vars(self).items():
            check(self, field, not isinstance(value, float) or math.isfinite(value), "a finite number")
        check_at_least(
            self, warmup_steps=0, decay_steps=0, halving_from=0, weight_decay=0, clip_norm=0, accumulate=1, patience=0,
            checkpoint_steps=0, checkpoint_minutes=0, seed=0,
        )  # fmt: skip
        check_shares(self, "ema", "momentum")
        for field in ("epochs", "learning_rate", "final_fraction", "halving_every", "worker_timeout"):
            check(self, field, getattr(self, field) > 0, "greater than 0")
        check(self, "final_fraction", self.final_fraction <= 1, "at most 1")
        check(
            self,
            "decay_steps",
            not self.decay_steps or self.decay_steps > self.warmup_steps,
            f"greater than --warmup-steps, {self.warmup_steps}",
        )

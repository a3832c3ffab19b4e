"""One update of the weights: gradient on every replica, sum over the replicas, clip, apply, average.

The loss of an update is total / weight, both summed over all replicas and all accumulated batches. So the number of
replicas, an uneven split of a batch and accumulation do not change what is minimized. The gradient is clipped after the
sum, because clipping the gradient of each replica would bound another quantity.
"""

import contextlib
import itertools
import zlib
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.training import replicas, strategies
from pipelines.common.training.all_reduce import all_reduce, dense, sparse
from pipelines.common.training.checkpoints import NotFiniteError
from pipelines.common.training.optimizers import ParameterGroup, make_optimizer
from pipelines.common.training.options import TrainingOptions

NO_BAD_STEP = -1
STOP = "stop"  # key of the number of replicas that were told to stop, among the sums of a batch


class Updates:
    """Trains a model on batches, and sums its metrics.

    Args:
        loss: see `Trainer` in loop.py.
        groups: weights with learning rates of their own; the other weights form a group that trains from the start.
        steps_per_epoch: see `make_schedule` in optimizers.py.
    """

    def __init__(
        self,
        model: keras.Model,
        loss,
        options: TrainingOptions,
        groups: Sequence[ParameterGroup] = (),
        steps_per_epoch: Mapping[int, int] | None = None,
    ):
        self.model, self.loss, self.options = model, loss, options
        self.strategy = strategies.choose(options)
        self.replicas = self.strategy.num_replicas_in_sync
        self.carried = list(getattr(loss, "variables", ()))
        if self.carried and self.replicas > 1:
            raise UserError("a state that is carried from batch to batch trains on one replica: use --strategy none")
        if groups and options.precision == "mixed_float16":  # the scale of the loss belongs to one optimizer
            raise UserError(
                "--precision is mixed_float16, but weights with a learning rate of their own need float32 or"
                " mixed_bfloat16"
            )
        grouped = {id(weight) for group in groups for weight in group.weights}
        others = [weight for weight in model.trainable_variables if id(weight) not in grouped]
        # In the order in which they begin to train: the active groups and weights are then the first ones.
        self.groups = [
            ParameterGroup(others, options.learning_rate),
            *sorted(groups, key=lambda group: group.from_epoch),
        ]
        self.active_groups: list[ParameterGroup] = []
        self.weights = [weight for group in self.groups for weight in group.weights]
        self.pending = 0  # accumulated batches
        self.sums: dict[str, tuple] = {}  # name -> (total, weight) over the current epoch
        first = tf.VariableAggregation.ONLY_FIRST_REPLICA  # assigned values were already summed over the replicas

        def variable(value, dtype):
            return tf.Variable(value, dtype=dtype, trainable=False, aggregation=first)

        with self.strategy.scope():
            self.optimizers = [make_optimizer(options, group, steps_per_epoch) for group in self.groups]
            self.bad_step = variable(NO_BAD_STEP, tf.int64)
            self.averages = [variable(w.numpy(), w.dtype) for w in self.weights] if options.ema else []
            self.accumulators: list[tf.Variable] = []
            self.accumulated_weight: tf.Variable = None  # without accumulation
            if options.accumulate > 1:
                self.accumulators = [variable(tf.zeros(w.shape, w.dtype), w.dtype) for w in self.weights]
                self.accumulated_weight = variable(0.0, tf.float32)
        # With several workers: whether this one was told to stop, and, after the last step and the one before it, how
        # many were. The loop reads the older one, as reading the newer one waits for the device.
        self.stop = False
        self.stopped: list[tf.Tensor] = []

    def prepare(self, batch_spec, epoch: int = 0):
        """Traces the train step for the batches of an epoch, whose tf.TensorSpecs are given.

        Traced once, not for every new shape, so that a resumed run executes the same graph whatever its first batch is;
        and again when a parameter group begins to train. (XLA compiles the graph for every shape.)
        """
        active = [group for group in self.groups if group.from_epoch <= epoch]
        if len(active) == len(self.active_groups):
            return
        self.active_groups = active
        self.active_weights = [weight for group in active for weight in group.weights]
        leaves = tf.nest.flatten(batch_spec)
        if self.options.xla and any(getattr(leaf, "dtype", None) == tf.string for leaf in leaves):
            raise ValueError(f"XLA cannot compile strings: make numbers of them in the data ({leaves})")
        signature = [batch_spec]
        if self.replicas > 1:
            signature = [tf.nest.map_structure(replicas.any_rows, batch_spec), tf.TensorSpec([], tf.int64)]

        def function(python, jit, **more):
            return tf.function(python, jit_compile=jit or None, autograph=False, **more)

        xla = self.options.xla
        self._differentiate = function(self._differentiate_batch, xla, input_signature=signature)
        self._sum = function(add_sums, False)
        if self.replicas == 1:
            self._apply, self._add = function(self._apply_gradients, xla), function(self._add_gradients, xla)
            self._step, self._apply_pending = self._replica_step, self._apply_accumulated
            return
        # With several replicas the optimizer calls the strategy, which a function compiled by XLA cannot do: only the
        # gradients are compiled.
        self._apply, self._add = self._apply_gradients, self._add_gradients
        traced = {
            update: function(
                lambda batch, step, stop, update=update: self.strategy.run(
                    self._replica_step, (batch, step, update, stop)
                ),
                False,
                input_signature=[batch_spec, tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.float32)],
            )
            for update in (False, True)
        }
        self._step = lambda batch, step, update, stop: traced[update](batch, step, stop)
        self._apply_pending = function(lambda step: self.strategy.run(self._apply_accumulated, (step,)), False)

    # One step ---------------------------------------------------------------------------------------------------------

    def train_on_batch(self, batch, step: int):
        """Trains on a batch, and adds to the sums; `step` is reported when the loss is not finite."""
        self.pending += 1
        update = self.pending == self.options.accumulate
        if update:
            self.pending = 0
        new = self._step(batch, tf.constant(step, tf.int64), update, tf.constant(float(self.stop)))
        if self.replicas > 1:
            new = tf.nest.map_structure(lambda value: self.strategy.experimental_local_results(value)[0], new)
            self.stopped = [*self.stopped[-1:], new.pop(STOP)]
        self.sums = self._sum(self.sums, new)

    def apply_pending(self, step: int):
        """Applies the accumulated gradients, if there are any, at the end of an epoch."""
        if self.pending:
            self.pending = 0
            self._apply_pending(tf.constant(step, tf.int64))

    def _replica_step(self, batch, step, update: bool, stop):
        context = tf.distribute.get_replica_context()
        if self.replicas == 1:
            gradients, new, _ = self._differentiate(batch)
        else:
            replica = context.replica_id_in_sync_group
            batch, share = replicas.rows_of(batch, replica, self.replicas)
            gradients, new, assigned = self._differentiate(batch, tf.cast(replica, tf.int64))
            new = tf.nest.map_structure(lambda value: value * share, new)
            # The identity, because an argument is on no device, where it could be summed.
            others = (new, tf.identity(stop))
            gradients, (new, stop) = all_reduce(context, gradients, others, share, self.options.compress)
            replicas.assign(assigned, self.model.non_trainable_variables)
        if self.options.accumulate == 1:
            self._apply(gradients, new["loss"][1], new, step)
        else:
            self._add(gradients, new, step)
            if update:
                self._apply_accumulated(step)
        return new if self.replicas == 1 else {**new, STOP: stop}

    def _differentiate_batch(self, batch, replica=None):
        """Returns the gradients of the total loss (times the loss scale), the sums of the batch, and the values that
        the layers assigned: index in model.non_trainable_variables -> value."""
        if self.replicas == 1:
            return *self._tape(batch), {}
        variables = self.model.non_trainable_variables
        with replicas.scope_of(replica, variables) as scope:
            return *self._tape(batch), replicas.assigned(scope, replica, variables)

    def _tape(self, batch):
        variables = [weight.value for weight in self.active_weights]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)  # no others: the activations of frozen weights are not stored
            sums = self.loss(batch, True)
            total = self.optimizers[0].scale_loss(sums["loss"][0])
        gradients = tape.gradient(total, variables, unconnected_gradients="zero")
        # The rows of a repeated word are summed, or the norm of the gradient would be wrong. XLA needs to know how many
        # rows there are.
        form = sparse if self.replicas > 1 and not self.options.xla else dense
        gradients = [form(g, v) for g, v in zip(gradients, variables, strict=True)]
        return gradients, tf.nest.map_structure(lambda value: tf.cast(value, tf.float32), sums)

    # From the sums to the weights -------------------------------------------------------------------------------------

    def _add_gradients(self, gradients, new, step):
        for accumulator, gradient in zip(self.accumulators[: len(gradients)], gradients, strict=True):
            accumulator.assign_add(gradient)
        self.accumulated_weight.assign_add(new["loss"][1])
        self._note_bad_step(finite(new), step)

    def _apply_accumulated(self, step):
        gradients = [accumulator.read_value() for accumulator in self.accumulators[: len(self.active_weights)]]
        self._apply(gradients, self.accumulated_weight.read_value(), {}, step)
        for accumulator in [*self.accumulators, self.accumulated_weight]:
            accumulator.assign(tf.zeros(accumulator.shape, accumulator.dtype))

    def _apply_gradients(self, gradients, weight, new, step):
        """Divides by the weight, clips by the global norm, and applies the optimizers and the moving average."""
        scale = self.optimizers[0].scale_loss(tf.ones([]))  # a power of two: division and multiplication are exact
        divisor = scale * tf.where(weight > 0, weight, 1.0)  # a batch without any weight has no gradient
        gradients = [gradient / tf.cast(divisor, gradient.dtype) for gradient in gradients]
        norm = tf.sqrt(tf.add_n([tf.cast(tf.reduce_sum(tf.square(g)), tf.float32) for g in gradients]))
        # The optimizer of float16 skips a gradient that is not finite and continues with a smaller scale.
        half = self.options.precision == "mixed_float16"
        self._note_bad_step(finite(new) & (half | tf.math.is_finite(norm)), step)
        factor = scale
        if self.options.clip_norm:
            factor *= self.options.clip_norm / tf.maximum(norm, self.options.clip_norm)
        gradients = [gradient * tf.cast(factor, gradient.dtype) for gradient in gradients]
        rest = iter(gradients)
        for group, optimizer in zip(self.active_groups, self.optimizers[: len(self.active_groups)], strict=True):
            optimizer.apply(list(itertools.islice(rest, len(group.weights))), group.weights)
        if self.averages:
            self._average()

    def _note_bad_step(self, good, step):
        """Stores the first step that was not good. The loop reads it now and then, as reading waits for the device."""
        seen = self.bad_step.read_value()
        self.bad_step.assign(tf.where(~good & (seen == NO_BAD_STEP), step, seen))

    def _average(self):
        """a <- d a + (1 - d) w with d = min(ema, (1 + t) / (10 + t)): early averages forget the initial weights."""
        t = tf.cast(self.optimizers[0].iterations, tf.float32)
        keep = tf.minimum(self.options.ema, (1 + t) / (10 + t))
        for average, weight in zip(self.averages[: len(self.active_weights)], self.active_weights, strict=True):
            average.assign_add(tf.cast(1 - keep, average.dtype) * (tf.convert_to_tensor(weight.value) - average))

    # For the loop ----------------------------------------------------------------------------------------------

    def metrics(self) -> dict[str, float]:
        """Returns the means over the current epoch, after check_finite (waits for the device)."""
        self.check_finite()
        return {name: float(total) / (float(weight) or 1.0) for name, (total, weight) in self.sums.items()}

    def reset_metrics(self):
        self.sums = {}

    def check_finite(self):
        """Raises NotFiniteError if the loss or its gradient was not finite at a step."""
        bad_step = int(self.bad_step.numpy())
        if bad_step != NO_BAD_STEP:
            raise NotFiniteError(f"the loss or its gradient is not finite at step {bad_step}")

    def learning_rate(self) -> float:
        return float(self.optimizers[0].learning_rate)

    @contextlib.contextmanager
    def averaged_weights(self):
        """Context in which the model has the moving averages, if there are any, as its weights."""
        if not self.averages:
            yield
            return
        current = [weight.numpy() for weight in self.weights]
        try:
            for weight, average in zip(self.weights, self.averages, strict=True):
                weight.assign(average.numpy())
            yield
        finally:
            for weight, value in zip(self.weights, current, strict=True):
                weight.assign(value)

    def variables(self) -> dict[str, list]:
        """Returns all variables that training changes, by part, in a fixed order."""
        weight = [self.accumulated_weight] if self.accumulators else []
        return {
            "model": [*self.model.variables, *raw_variables(self.model)],
            "optimizer": [variable for optimizer in self.optimizers for variable in optimizer.variables],
            "average": self.averages,
            "gradient": [*self.accumulators, *weight],
            "carried": self.carried,
        }

    def checksum(self) -> int:
        """Returns the CRC-32 of all variables."""
        checksum = 0
        for variable in itertools.chain(*self.variables().values()):
            checksum = zlib.crc32(np.asarray(variable.numpy()).tobytes(), checksum)
        return checksum


def add_sums(sums, new):
    """Returns sums + new, in float64: 24 bits are too few for the sums of a long epoch."""
    return {
        name: tuple(
            tf.cast(value, tf.float64) + (tf.cast(sums[name][i], tf.float64) if name in sums else 0.0)
            for i, value in enumerate(pair)
        )
        for name, pair in new.items()
    }


def finite(sums):
    """Returns bool[]: whether every total is finite."""
    return tf.reduce_all([True, *(tf.math.is_finite(total) for total, _ in sums.values())])


def raw_variables(model) -> list[tf.Variable]:
    """Returns the tf.Variables of layers that Keras does not track (the carried state of a stateful layer)."""
    return [
        value
        for layer in model._flatten_layers()
        for _, attribute in sorted(vars(layer).items(), key=lambda item: item[0])
        for value in (attribute if isinstance(attribute, list | tuple) else [attribute])
        if isinstance(value, tf.Variable)
    ]

"""The updates of the weights: gradients of every replica, sum over the replicas, clipping, optimizer, moving average.

The loss of an update is total / weight, both summed over all replicas and all accumulated batches. So the number of
replicas, an uneven split of a batch and accumulation do not change what is minimized. The gradient is clipped after the
sum, as clipping the gradient of each replica would not bound the norm of the sum.
"""

import itertools
import zlib
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.training import moving_average, replicas, strategies
from pipelines.common.training.checkpoints import NotFiniteError
from pipelines.common.training.optimizers import ParameterGroup, make_optimizer
from pipelines.common.training.options import TrainingOptions

ALL_FINITE = -1
STOPS = "stops"  # key of the number of replicas whose worker stops, among the sums of a batch


class Updates:
    """Trains a model on batches, and sums its metrics: `prepare` for an epoch, then `train_on_batch` for each batch.

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
        self.loss_variables = list(getattr(loss, "variables", ()))
        if self.loss_variables and self.replicas > 1:
            raise UserError("a state that is carried from batch to batch trains on one replica: use --strategy none")
        if groups and options.precision == "mixed_float16":  # the scale of the loss belongs to one optimizer
            raise UserError(
                "--precision is mixed_float16, but weights with a learning rate of their own need float32 or"
                " mixed_bfloat16"
            )
        grouped = {id(weight) for group in groups for weight in group.weights}
        others = [weight for weight in model.trainable_variables if id(weight) not in grouped]
        # In the order in which they begin to train, so that the active groups and weights are the first ones.
        self.groups = [
            ParameterGroup(others, options.learning_rate),
            *sorted(groups, key=lambda group: group.from_epoch),
        ]
        self.active_groups: list[ParameterGroup] = []
        self.weights = [weight for group in self.groups for weight in group.weights]
        self.pending = 0  # batches whose gradients are accumulated, but not yet applied
        self.sums: dict[str, tuple] = {}  # name -> (total, weight) over the current epoch
        first = tf.VariableAggregation.ONLY_FIRST_REPLICA  # all replicas assign the same values

        def variable(value, dtype):
            return tf.Variable(value, dtype=dtype, trainable=False, aggregation=first)

        with self.strategy.scope():
            self.optimizers = [make_optimizer(options, group, steps_per_epoch) for group in self.groups]
            self.nonfinite_step = variable(ALL_FINITE, tf.int64)
            self.averages = [variable(w.numpy(), w.dtype) for w in self.weights] if options.ema else []
            self.accumulators: list[tf.Variable] = []
            self.accumulated_weight: tf.Variable = None  # stays None without accumulation
            if options.accumulate > 1:
                self.accumulators = [variable(tf.zeros(w.shape, w.dtype), w.dtype) for w in self.weights]
                self.accumulated_weight = variable(0.0, tf.float32)
        self.stop_requested = False  # by this worker; the next step tells the others
        self.stop_counts: list[tf.Tensor] = []  # of each of the last two steps: the replicas whose worker stops

    def prepare(self, batch_spec, epoch: int = 0):
        """Traces the train step for the batches of an epoch, whose tf.TensorSpecs are given.

        It is traced for these specs, not for the shape of the first batch, so that a resumed run executes the same
        graph, and again when a parameter group begins to train. (XLA compiles the graph anew for every shape.)
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

        def graph(python, xla=False, **more):
            return tf.function(python, jit_compile=xla or None, autograph=False, **more)

        xla = self.options.xla
        self._differentiate = graph(self._gradients_of_replica, xla, input_signature=signature)
        self._sum = graph(add_sums)
        if self.replicas == 1:
            self._apply, self._accumulate = graph(self._apply_gradients, xla), graph(self._accumulate_gradients, xla)
            self._step, self._apply_pending = self._replica_step, self._apply_accumulated
            return
        # With several replicas the optimizer calls the strategy, which a function compiled by XLA cannot do: only the
        # gradients are compiled.
        self._apply, self._accumulate = self._apply_gradients, self._accumulate_gradients
        traced = {
            update: graph(
                lambda batch, step, stop, update=update: self.strategy.run(
                    self._replica_step, (batch, step, update, stop)
                ),
                input_signature=[batch_spec, tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.float32)],
            )
            for update in (False, True)
        }
        self._step = lambda batch, step, update, stop: traced[update](batch, step, stop)
        self._apply_pending = graph(lambda step: self.strategy.run(self._apply_accumulated, (step,)))

    # One step ---------------------------------------------------------------------------------------------------------

    def train_on_batch(self, batch, step: int):
        """Trains on a batch, and adds its sums to those of the epoch; `step` is reported if the loss is not finite."""
        self.pending += 1
        update = self.pending == self.options.accumulate
        if update:
            self.pending = 0
        sums = self._step(batch, tf.constant(step, tf.int64), update, tf.constant(float(self.stop_requested)))
        if self.replicas > 1:
            sums = tf.nest.map_structure(lambda value: self.strategy.experimental_local_results(value)[0], sums)
            self.stop_counts = [*self.stop_counts[-1:], sums.pop(STOPS)]
        self.sums = self._sum(self.sums, sums)

    def apply_pending(self, step: int):
        """Applies the accumulated gradients, if there are any, at the end of an epoch."""
        if self.pending:
            self.pending = 0
            self._apply_pending(tf.constant(step, tf.int64))

    def any_worker_stops(self) -> bool:
        """Returns whether any worker was to stop at the last step but one. (To read the count of the last step would
        wait for the device.)"""
        return len(self.stop_counts) > 1 and float(self.stop_counts[0]) > 0

    def _replica_step(self, batch, step, update: bool, stop):
        """Trains a replica on its rows of the batch; returns the sums of the whole batch."""
        context = tf.distribute.get_replica_context()
        if self.replicas == 1:
            gradients, sums, _ = self._differentiate(batch)
        else:
            replica = context.replica_id_in_sync_group
            batch, has_rows = replicas.rows_of(batch, replica, self.replicas)
            gradients, sums, assigned = self._differentiate(batch, tf.cast(replica, tf.int64))
            sums = tf.nest.map_structure(lambda value: value * has_rows, sums)
            others = (sums, tf.identity(stop))  # all_reduce fails for a bare argument of the function
            gradients, (sums, stop) = replicas.all_reduce(context, gradients, others, has_rows, self.options.compress)
            replicas.assign(assigned, self.model.non_trainable_variables)
        if self.options.accumulate == 1:
            self._apply(gradients, sums["loss"][1], sums, step)
        else:
            self._accumulate(gradients, sums, step)
            if update:
                self._apply_accumulated(step)
        return sums if self.replicas == 1 else {**sums, STOPS: stop}

    def _gradients_of_replica(self, batch, replica=None):
        """Returns what `_gradients` returns and, with several replicas, what the layers assigned: index in
        model.non_trainable_variables -> value."""
        if self.replicas == 1:
            return *self._gradients(batch), {}
        variables = self.model.non_trainable_variables
        with replicas.scope_of(replica, variables) as scope:
            return *self._gradients(batch), replicas.assigned(scope, replica, variables)

    def _gradients(self, batch):
        """Returns the gradients of the total loss (times the loss scale of mixed_float16), and the sums of the batch:
        name -> (total, weight)."""
        variables = [weight.value for weight in self.active_weights]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)  # no others: the activations of frozen weights are not stored
            sums = self.loss(batch, True)
            total = self.optimizers[0].scale_loss(sums["loss"][0])
        gradients = tape.gradient(total, variables, unconnected_gradients="zero")
        # Both sum the rows of a repeated word, or the norm of the gradient would be wrong. XLA cannot compile `sparse`,
        # whose number of rows is not known.
        convert = replicas.sparse if self.replicas > 1 and not self.options.xla else replicas.dense
        gradients = [convert(g, v) for g, v in zip(gradients, variables, strict=True)]
        return gradients, tf.nest.map_structure(lambda value: tf.cast(value, tf.float32), sums)

    # From the gradients to the weights --------------------------------------------------------------------------------

    def _accumulate_gradients(self, gradients, sums, step):
        for accumulator, gradient in zip(self.accumulators[: len(gradients)], gradients, strict=True):
            accumulator.assign_add(gradient)
        self.accumulated_weight.assign_add(sums["loss"][1])
        self._check_step(finite(sums), step)

    def _apply_accumulated(self, step):
        gradients = [accumulator.read_value() for accumulator in self.accumulators[: len(self.active_weights)]]
        self._apply(gradients, self.accumulated_weight.read_value(), {}, step)
        for accumulator in [*self.accumulators, self.accumulated_weight]:
            accumulator.assign(tf.zeros(accumulator.shape, accumulator.dtype))

    def _apply_gradients(self, gradients, weight, sums, step):
        """Divides the gradients by the weight, clips them by their global norm, and applies the optimizers and the
        moving average."""
        # The loss scale (1 without mixed_float16) is divided out for the norm, then multiplied in again, because the
        # optimizer divides by it. It is a power of two, so both are exact.
        scale = self.optimizers[0].scale_loss(tf.ones([]))
        divisor = scale * tf.where(weight > 0, weight, 1.0)  # a batch without any weight has no gradient
        gradients = [gradient / tf.cast(divisor, gradient.dtype) for gradient in gradients]
        norm = tf.sqrt(tf.add_n([tf.cast(tf.reduce_sum(tf.square(g)), tf.float32) for g in gradients]))
        # The optimizer of mixed_float16 skips a gradient that is not finite, and continues with a smaller loss scale.
        skips = self.options.precision == "mixed_float16"
        self._check_step(finite(sums) & (skips | tf.math.is_finite(norm)), step)
        factor = scale
        if self.options.clip_norm:
            factor *= self.options.clip_norm / tf.maximum(norm, self.options.clip_norm)
        gradients = [gradient * tf.cast(factor, gradient.dtype) for gradient in gradients]
        rest = iter(gradients)
        for group, optimizer in zip(self.active_groups, self.optimizers[: len(self.active_groups)], strict=True):
            optimizer.apply(list(itertools.islice(rest, len(group.weights))), group.weights)
        if self.averages:
            averages = self.averages[: len(self.active_weights)]
            moving_average.update(averages, self.active_weights, self.options.ema, self.optimizers[0].iterations)

    def _check_step(self, is_finite, step):
        """Stores the number of the first step that is not finite, for `check_finite`."""
        stored = self.nonfinite_step.read_value()
        self.nonfinite_step.assign(tf.where(~is_finite & (stored == ALL_FINITE), step, stored))

    # For the loop -----------------------------------------------------------------------------------------------------

    def metrics(self) -> dict[str, float]:
        """Returns the means over the current epoch, after `check_finite`. Waits for the device."""
        self.check_finite()
        return {name: float(total) / (float(weight) or 1.0) for name, (total, weight) in self.sums.items()}

    def reset_metrics(self):
        self.sums = {}

    def check_finite(self):
        """Raises NotFiniteError if the loss or its gradient was not finite at any step. Waits for the device."""
        step = int(self.nonfinite_step.numpy())
        if step != ALL_FINITE:
            raise NotFiniteError(f"the loss or its gradient is not finite at step {step}")

    def learning_rate(self) -> float:
        return float(self.optimizers[0].learning_rate)

    def variables(self) -> dict[str, list]:
        """Returns all variables that training changes, by part of a checkpoint, in a fixed order."""
        weight = [self.accumulated_weight] if self.accumulators else []
        return {
            "model": [*self.model.variables, *untracked_variables(self.model)],
            "optimizer": [variable for optimizer in self.optimizers for variable in optimizer.variables],
            "average": self.averages,
            "gradient": [*self.accumulators, *weight],
            "carried": self.loss_variables,
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


def untracked_variables(model) -> list[tf.Variable]:
    """Returns the tf.Variables of layers, which Keras does not track: the carried states of stateful layers."""
    return [
        value
        for layer in model._flatten_layers()
        for _, attribute in sorted(vars(layer).items(), key=lambda item: item[0])
        for value in (attribute if isinstance(attribute, list | tuple) else [attribute])
        if isinstance(value, tf.Variable)
    ]

"""One update of the weights: gradient on every replica, sum over the replicas, clip, apply, average.

The loss of an update is total / weight, where both sums go over all replicas and all accumulated batches; so neither
the number of replicas, nor an uneven split, nor accumulation changes what is minimised. Clipping comes after the sums:
clipping each replica's gradient first would bound something else.
"""

import contextlib

import keras
import tensorflow as tf

from pipelines.common.training.options import TrainingOptions

NO_BAD_STEP = -1


class Updates:
    """Takes batches, updates the model, and keeps the sums of the metrics.

    loss(batch, training) gives name -> (total float[], weight float[]); "loss" is differentiated.
    own_weights: those of the model's trainable variables that `own_optimizer` updates, where `prepare` asks for it, and
        that rest otherwise.
    """

    def __init__(self, model, loss, optimizer, options: TrainingOptions, strategy, own_weights=(), own_optimizer=None):
        self.model, self.loss, self.optimizer, self.options, self.strategy = model, loss, optimizer, options, strategy
        self.own_optimizer = own_optimizer
        own = {id(weight) for weight in own_weights}
        self.common = [weight for weight in model.trainable_variables if id(weight) not in own]
        self.weights = [*self.common, *own_weights]
        self.active = self.common  # what is trained at the moment, the first of `weights`
        self.replicas = strategy.num_replicas_in_sync
        self.pending = 0  # batches whose gradients wait in the accumulators
        self.sums: dict[str, tuple[float, float]] = {}  # name -> (total, weight), since the epoch began
        first = tf.VariableAggregation.ONLY_FIRST_REPLICA  # what is assigned has been summed over the replicas already

        def variable(value, dtype):
            return tf.Variable(value, dtype=dtype, trainable=False, aggregation=first)

        with strategy.scope():
            self.bad_step = variable(NO_BAD_STEP, tf.int64)
            self.averages = [variable(w.numpy(), w.dtype) for w in self.weights] if options.ema else []
            self.gradients, self.gradient_weight = [], None
            if options.accumulate > 1:
                self.gradients = [variable(tf.zeros(w.shape, w.dtype), w.dtype) for w in self.weights]
                self.gradient_weight = variable(0.0, tf.float32)
        self._replica = None  # compiled by prepare

    def prepare(self, batch_spec, with_own: bool = False):
        """Traces the step, once, for batches of the given tf.TensorSpecs: a resumed run then runs the same graph,
        whatever the shape of the first batch it happens to see. (XLA compiles that graph anew for every shape.)

        Traces it anew when the weights that have their own optimizer begin (or cease) to be trained.
        """
        active = self.weights if with_own else self.common
        if self._replica is not None and len(active) == len(self.active):
            return
        self.active = active
        leaves = tf.nest.flatten(batch_spec)
        if self.options.xla and any(getattr(leaf, "dtype", None) == tf.string for leaf in leaves):
            raise ValueError(f"XLA cannot compile strings: make numbers of them in the data ({leaves})")
        signature = [batch_spec if self.replicas == 1 else tf.nest.map_structure(any_rows, batch_spec)]

        def function(python, jit, **more):
            return tf.function(python, jit_compile=jit or None, autograph=False, **more)

        xla = self.options.xla
        self._differentiate = function(self._differentiate_batch, xla, input_signature=signature)
        self._sum = function(add_sums, False)
        if self.replicas == 1:
            self._apply, self._add = function(self._apply_gradients, xla), function(self._add_gradients, xla)
            self._replica, self._flush = self._replica_step, self._apply_pending
            return
        # With several replicas the optimizer talks to the strategy, which it cannot do from within a compiled function.
        self._apply, self._add = self._apply_gradients, self._add_gradients
        steps = [batch_spec, tf.TensorSpec([], tf.int64)]
        compiled = {
            update: function(
                lambda batch, step, update=update: self.strategy.run(self._replica_step, (batch, step, update)),
                False,
                input_signature=steps,
            )
            for update in (False, True)
        }
        self._replica = lambda batch, step, update: compiled[update](batch, step)
        self._flush = function(lambda step: self.strategy.run(self._apply_pending, (step,)), False)

    # One step ---------------------------------------------------------------------------------------------------------

    def __call__(self, batch, step: int):
        """Trains on one batch, the step-th of the run (for the message about a loss that is not finite)."""
        self.pending += 1
        update = self.pending == self.options.accumulate
        if update:
            self.pending = 0
        new = self._replica(batch, tf.constant(step, tf.int64), update)
        if self.replicas > 1:
            new = tf.nest.map_structure(lambda value: self.strategy.experimental_local_results(value)[0], new)
        self.sums = self._sum(self.sums, new)

    def flush(self, step: int):
        """Applies what has been accumulated, if anything (an epoch's end leaves nothing behind)."""
        if self.pending:
            self.pending = 0
            self._flush(tf.constant(step, tf.int64))

    def _part(self, batch, replica: int):
        """This replica's run of rows of the global batch, and its share, 1. Where there are fewer rows than replicas,
        the replicas without rows compute the first row once more, and count for nothing: share 0."""
        rows = next(tf.shape(leaf)[0] for leaf in tf.nest.flatten(batch) if leaf.shape.rank)
        start, end = rows * replica // self.replicas, rows * (replica + 1) // self.replicas
        alone = end > start
        start, end = tf.where(alone, start, 0), tf.where(alone, end, 1)
        part = tf.nest.map_structure(lambda leaf: leaf[start:end] if leaf.shape.rank else leaf, batch)
        return part, tf.cast(alone, tf.float32)

    def _replica_step(self, batch, step, update: bool):
        context = tf.distribute.get_replica_context()
        if self.replicas > 1:
            batch, share = self._part(batch, context.replica_id_in_sync_group)
        gradients, new, assigned = self._differentiate(batch)
        if self.replicas > 1:
            shared = tf.nest.map_structure(lambda value: value * tf.cast(share, value.dtype), (gradients, new))
            gradients, new = context.all_reduce(tf.distribute.ReduceOp.SUM, shared)
            self._assign(assigned, context)
        if self.options.accumulate == 1:
            self._apply(gradients, new["loss"][1], new, step)
        else:
            self._add(gradients, new, step)
            if update:
                self._apply_pending(step)
        return new

    def _differentiate_batch(self, batch):
        """Summed gradients (dense, times the loss scale), the sums, and what the layers assigned."""
        if self.replicas == 1:
            return *self._tape(batch), {}
        # Keras assigns dropout seeds and moving averages without saying how replicas agree: catch them and agree later.
        moving = self.model.non_trainable_variables
        with keras.StatelessScope() as scope:
            gradients, sums = self._tape(batch)
            values = {str(i): scope.get_current_value(v) for i, v in enumerate(moving)}
        return gradients, sums, {i: value for i, value in values.items() if value is not None}

    def _tape(self, batch):
        variables = [weight.value for weight in self.active]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)  # these alone: nothing is kept for frozen weights
            sums = self.loss(batch, True)
            total = self.optimizer.scale_loss(sums["loss"][0])
        gradients = tape.gradient(total, variables, unconnected_gradients="zero")
        # Dense, because the norm of an embedding's gradient needs the rows of a repeated word summed first.
        gradients = [tf.cast(tf.convert_to_tensor(g), v.dtype) for g, v in zip(gradients, variables, strict=True)]
        return gradients, tf.nest.map_structure(lambda value: tf.cast(value, tf.float32), sums)

    def _assign(self, assigned, context):
        """What the layers assigned: the mean over replicas of moving averages, the first replica's of whole numbers."""
        moving = self.model.non_trainable_variables
        for i, value in assigned.items():
            if value.dtype.is_floating:
                value = context.all_reduce(tf.distribute.ReduceOp.MEAN, value)

            def assign(strategy, variable, value):
                strategy.extended.update(variable, lambda copy, new: copy.assign(new), args=(value,))

            context.merge_call(assign, args=(moving[int(i)].value, value))

    # From the sums to the weights -------------------------------------------------------------------------------------

    def _add_gradients(self, gradients, new, step):
        for kept, gradient in zip(self.gradients[: len(self.active)], gradients, strict=True):
            kept.assign_add(gradient)
        self.gradient_weight.assign_add(new["loss"][1])
        self._note_bad_step(finite(new), step)

    def _apply_pending(self, step):
        gradients = [kept.read_value() for kept in self.gradients[: len(self.active)]]
        self._apply(gradients, self.gradient_weight.read_value(), {}, step)
        for kept in [*self.gradients, self.gradient_weight]:
            kept.assign(tf.zeros(kept.shape, kept.dtype))

    def _apply_gradients(self, gradients, weight, new, step):
        """Mean gradient, global clipping, optimizer, running average."""
        scale = self.optimizer.scale_loss(tf.ones([]))  # a power of two, so that dividing and multiplying are exact
        divisor = scale * tf.where(weight > 0, weight, 1.0)  # a batch without any weight has no gradient
        gradients = [gradient / tf.cast(divisor, gradient.dtype) for gradient in gradients]
        norm = tf.sqrt(tf.add_n([tf.cast(tf.reduce_sum(tf.square(g)), tf.float32) for g in gradients]))
        # The optimizer of float16 skips a gradient that is not finite and goes on with a smaller scale.
        half = self.options.precision == "mixed_float16"
        self._note_bad_step(finite(new) & (half | tf.math.is_finite(norm)), step)
        factor = scale / self.replicas  # Keras's optimizer sums over the replicas once more
        if self.options.clip_norm:
            factor *= self.options.clip_norm / tf.maximum(norm, self.options.clip_norm)
        gradients = [gradient * tf.cast(factor, gradient.dtype) for gradient in gradients]
        count = len(self.common)
        self.optimizer.apply(gradients[:count], self.common)
        if len(self.active) > count:
            self.own_optimizer.apply(gradients[count:], self.active[count:])
        if self.averages:
            self._average()

    def _note_bad_step(self, good, step):
        """Remembers the first step that was not good; the loop reads it now and then, so that no step has to wait."""
        seen = self.bad_step.read_value()
        self.bad_step.assign(tf.where(~good & (seen == NO_BAD_STEP), step, seen))

    def _average(self):
        """a <- d a + (1 - d) w with d = min(ema, (1 + t) / (10 + t)): early averages forget the initial weights."""
        t = tf.cast(self.optimizer.iterations, tf.float32)
        keep = tf.minimum(self.options.ema, (1 + t) / (10 + t))
        for average, weight in zip(self.averages[: len(self.active)], self.active, strict=True):
            average.assign_add(tf.cast(1 - keep, average.dtype) * (tf.convert_to_tensor(weight.value) - average))

    # What the loop reads ----------------------------------------------------------------------------------------------

    def metrics(self) -> dict[str, float]:
        """Means since the epoch began (waits for the device)."""
        return {name: float(total) / (float(weight) or 1.0) for name, (total, weight) in self.sums.items()}

    def learning_rate(self) -> float:
        return float(self.optimizer.learning_rate)

    @contextlib.contextmanager
    def averaged_weights(self):
        """The running averages, where there are any, in the place of the weights."""
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
        """Everything that training changes, by part, in a fixed order."""
        kept = [self.gradient_weight] if self.gradients else []
        return {
            "model": [*self.model.variables, *raw_variables(self.model)],
            "optimizer": [*self.optimizer.variables, *(self.own_optimizer.variables if self.own_optimizer else [])],
            "average": self.averages,
            "gradient": [*self.gradients, *kept],
        }


def add_sums(sums, new):
    """Sums in float64: those of a long epoch outgrow the 24 bits of float32."""
    return {
        name: tuple(
            tf.cast(value, tf.float64) + (tf.cast(sums[name][i], tf.float64) if name in sums else 0.0)
            for i, value in enumerate(pair)
        )
        for name, pair in new.items()
    }


def any_rows(spec):
    """The spec of a part of the batch: any number of rows."""
    if not isinstance(spec, tf.TensorSpec) or not spec.shape.rank:
        return spec
    return tf.TensorSpec([None, *spec.shape[1:]], spec.dtype)


def finite(sums):
    """bool[]: whether every total is finite."""
    return tf.reduce_all([True, *(tf.math.is_finite(total) for total, _ in sums.values())])


def raw_variables(model) -> list[tf.Variable]:
    """Variables that layers hold without telling Keras (a stateful layer's carried state)."""
    return [
        value
        for layer in model._flatten_layers()
        for _, held in sorted(vars(layer).items(), key=lambda item: item[0])
        for value in (held if isinstance(held, list | tuple) else [held])
        if isinstance(value, tf.Variable)
    ]

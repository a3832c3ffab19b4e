"""Replicas of a model: their rows of the batch, random numbers and assigned variables, and the sum of their gradients.

Each replica has random numbers of its own: with the same ones, the dropout of two rows of a batch would be the same.
The variables of the seeds are equal at all replicas; each adds its own offset while it computes.

The gradient of an embedding is zero except for the rows of the words of a batch. With a large vocabulary, only these
rows are exchanged: each replica sums the rows of a repeated word, and the rows of all replicas are gathered and summed.
This is the dense sum, with less traffic.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

SEED = "seed_generator_state"  # name of the variable of a keras.random.SeedGenerator: int64[2], seed and counter
SEED_DISTANCE = 15_485_863  # a prime: the seeds of a replica are not those of other layers of another one
SPARSE_FROM = 16_384  # rows of a weight. A batch has most words of a smaller vocabulary, whose dense sum is faster.


def rows_of(batch, replica, replicas: int):
    """Returns the rows of the global batch that a replica trains on, and whether it has any: 1.0, or 0.0 for a replica
    without rows. That one gets the first row instead, and its gradients and sums do not count."""
    rows = next(tf.shape(leaf)[0] for leaf in tf.nest.flatten(batch) if leaf.shape.rank)
    start, end = rows * replica // replicas, rows * (replica + 1) // replicas
    has_rows = end > start
    start, end = tf.where(has_rows, start, 0), tf.where(has_rows, end, 1)
    part = tf.nest.map_structure(lambda leaf: leaf[start:end] if leaf.shape.rank else leaf, batch)
    return part, tf.cast(has_rows, tf.float32)


def any_rows(spec):
    """Returns the spec with any number of rows: that of a replica's part of the batch."""
    if not isinstance(spec, tf.TensorSpec) or not spec.shape.rank:
        return spec
    return tf.TensorSpec([None, *spec.shape[1:]], spec.dtype)


def scope_of(replica, variables: Sequence[keras.Variable]) -> keras.StatelessScope:
    """Returns the scope in which a replica computes, with its own seeds. What the layers assign stays in the scope."""
    seeds = [variable for variable in variables if variable.name == SEED]
    return keras.StatelessScope([(seed, seed.value + offset(replica, seed.dtype)) for seed in seeds])


def assigned(scope: keras.StatelessScope, replica, variables: Sequence[keras.Variable]) -> dict:
    """Returns what the layers assigned in a scope: index of the variable -> value."""
    found = {str(i): scope.get_current_value(variable) for i, variable in enumerate(variables)}
    for i, variable in enumerate(variables):
        if variable.name == SEED:
            found[str(i)] -= offset(replica, variable.dtype)
    return {i: value for i, value in found.items() if value is not None}


def offset(replica, dtype):
    return tf.cast(tf.stack([replica * SEED_DISTANCE, tf.zeros([], tf.int64)]), dtype)


def assign(values: dict, variables: Sequence[keras.Variable]):
    """Assigns the mean over the replicas to floating-point variables (moving averages), and the first replica's value
    to integers (seeds). Keras itself does not say how replicas aggregate them."""
    context = tf.distribute.get_replica_context()
    for i, value in values.items():
        if value.dtype.is_floating:
            value = context.all_reduce(tf.distribute.ReduceOp.MEAN, value)

        def update(strategy, variable, value):
            strategy.extended.update(variable, lambda copy, new: copy.assign(new), args=(value,))

        context.merge_call(update, args=(variables[int(i)].value, value))


def dense(gradient, weight):
    """Returns the gradient of a weight as a tensor in its dtype; the rows of a repeated word are summed."""
    return tf.cast(tf.convert_to_tensor(gradient), weight.dtype)


def sparse(gradient, weight):
    """Returns the gradient of a weight, in its dtype: tf.IndexedSlices with each row once if the gradient is sparse and
    the weight has SPARSE_FROM rows or more, else a tensor."""
    if not isinstance(gradient, tf.IndexedSlices) or weight.shape[0] < SPARSE_FROM:
        return dense(gradient, weight)
    ids, places = tf.unique(gradient.indices)
    rows = tf.math.unsorted_segment_sum(gradient.values, places, tf.size(ids))
    return tf.IndexedSlices(tf.cast(rows, weight.dtype), ids, tf.constant(weight.shape.as_list()))


def all_reduce(context: tf.distribute.ReplicaContext, gradients, others, has_rows, compress: str):
    """Returns (gradients, others), summed over the replicas. The summed gradients are dense.

    Args:
        gradients: list of tensors and tf.IndexedSlices, which are multiplied by `has_rows` before.
        others: any structure of tensors, such as the sums of the loss.
        has_rows: float[], 1 for a replica with rows of the batch, 0 for one without.
        compress: "float16" sends and sums the gradients in float16, scaled so that no sum is too large for it; "none"
            leaves them as they are. (TensorFlow cannot sum bfloat16 over processes.)
    """
    scale, inverse = float16_scale(context, gradients) if compress == "float16" else (1.0, 1.0)

    def sent(gradient):
        if isinstance(gradient, tf.IndexedSlices):
            return tf.IndexedSlices(sent(gradient.values), gradient.indices, gradient.dense_shape)
        gradient *= tf.cast(has_rows * scale, gradient.dtype)
        return tf.cast(gradient, tf.float16) if compress == "float16" else gradient

    def received(gradient, dtype):
        if isinstance(gradient, tf.IndexedSlices):
            rows = received(gradient.values, dtype)
            return tf.math.unsorted_segment_sum(rows, gradient.indices, gradient.dense_shape[0])
        return tf.cast(gradient, dtype) * tf.cast(inverse, dtype)

    # Two sums, because TensorFlow packs the tensors of one, which need the same dtype.
    summed = context.all_reduce(tf.distribute.ReduceOp.SUM, [sent(gradient) for gradient in gradients])
    others = context.all_reduce(tf.distribute.ReduceOp.SUM, others)
    return [received(gradient, own.dtype) for gradient, own in zip(summed, gradients, strict=True)], others


def float16_scale(context: tf.distribute.ReplicaContext, gradients):
    """Returns a power of two, and its inverse. Multiplied by it, no sum of the gradients over the replicas exceeds
    2^15, which float16 can represent."""
    values = [gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient for gradient in gradients]
    largest = tf.reduce_max([tf.cast(tf.reduce_max(tf.abs(value)), tf.float32) for value in values])
    bound = tf.maximum(context.all_reduce(tf.distribute.ReduceOp.SUM, largest), 2.0**-100)
    exponent = tf.math.ceil(tf.math.log(bound) / tf.math.log(2.0)) - 15
    return 2.0**-exponent, 2.0**exponent

"""The differences between the replicas of a model: rows of the batch, random numbers, what its layers assign.

Each replica has random numbers of its own: with the same ones, the dropout of two rows of a batch would be the same.
The variables of the seeds are equal at all replicas; each adds its own offset while it computes.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

SEED = "seed_generator_state"  # name of the variable of a keras.random.SeedGenerator: int64[2], seed and counter
SEED_DISTANCE = 15_485_863  # a prime: the seeds of a replica are not those of other layers of another one


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

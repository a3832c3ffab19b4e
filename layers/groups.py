"""Units in groups that go side by side.

A step of a recurrence is a small product and a few element-wise operations behind it, which make poor use of two cores.
Where the weights are small, the units go in two groups: each has its own columns of every gate, and its own c, and
reads all of h. So two short chains of operations run at the same time, and meet where h is put together. A product of
large weights has work enough for both; there, in a large batch, its two halves go side by side (`unfold_halves`).
"""

import tensorflow as tf

LARGE = 2**20  # weights of a recurrence, beyond which one product has work enough for two cores
ROWS = 128  # of a batch from which on half of it still makes a product of full speed


def small(units, gates):
    """Whether W_hh, float[units, gates units], is small."""
    return gates * units**2 <= LARGE


def grouped(weights, gates, count):
    """The columns of each group of units: float[..., gates units] -> a list of float[..., gates units / count]."""
    if count == 1:
        return [weights]
    rows, columns = weights.shape[:-1], weights.shape[-1]
    by_group = tf.unstack(tf.reshape(weights, [*rows, gates, count, columns // (gates * count)]), axis=-2)
    return [tf.reshape(group, [*rows, columns // count]) for group in by_group]


def join(groups):
    """What the groups say, side by side again: a list of [..., units / count] -> [..., units]."""
    return groups[0] if len(groups) == 1 else tf.concat(groups, axis=-1)


def transposed(W_hh):
    """W_hh^T as the columns that give each group its errors: a list of float[units, gates units / count] -> a list of
    float[gates units, units / count], its rows in the order in which the groups' errors are joined."""
    return tf.split(tf.concat([tf.transpose(group) for group in W_hh], axis=0), len(W_hh), axis=-1)

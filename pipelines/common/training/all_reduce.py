"""The sum of the gradients over the replicas.

The gradient of an embedding is zero except for the rows of the words of a batch. With a large vocabulary, only these
rows are exchanged: each replica sums the rows of a repeated word, and the rows of all replicas are gathered and summed.
This is the dense sum, with less traffic.
"""

import tensorflow as tf

SPARSE_FROM = 16_384  # rows of a weight. A batch has most words of a smaller vocabulary, whose dense sum is faster.


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


def all_reduce(context: tf.distribute.ReplicaContext, gradients, others, share, compress: str):
    """Returns (gradients, others), summed over the replicas. The summed gradients are dense.

    Args:
        gradients: list of tensors and tf.IndexedSlices, which are multiplied by `share` before.
        others: any structure of tensors, such as the sums of the loss.
        share: float[], 1 for a replica with rows of the batch, 0 for one without.
        compress: "bfloat16" rounds the gradients to it, and sends and sums them so; "none" leaves them as they are.
    """

    def sent(gradient):
        if isinstance(gradient, tf.IndexedSlices):
            return tf.IndexedSlices(sent(gradient.values), gradient.indices, gradient.dense_shape)
        gradient *= tf.cast(share, gradient.dtype)
        return tf.cast(gradient, tf.bfloat16) if compress == "bfloat16" else gradient

    def received(gradient, dtype):
        if isinstance(gradient, tf.IndexedSlices):
            rows = tf.cast(gradient.values, dtype)
            return tf.math.unsorted_segment_sum(rows, gradient.indices, gradient.dense_shape[0])
        return tf.cast(gradient, dtype)

    values = ([sent(gradient) for gradient in gradients], others)
    summed, others = context.all_reduce(tf.distribute.ReduceOp.SUM, values)
    return [received(gradient, own.dtype) for gradient, own in zip(summed, gradients, strict=True)], others

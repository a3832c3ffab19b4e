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

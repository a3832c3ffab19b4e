"""Cross-entropy of a softmax over a large vocabulary, without the [rows, vocabulary] tensor.

A decoder returns one hidden vector per step; all steps of all sentences are the rows here. With 128 sentences of 30
words and a vocabulary of 80,000 the logits take 1.2 GB, and automatic differentiation keeps several such tensors.

    z = hidden kernel^T + bias,  p = softmax(z)

* `cross_entropy` computes the logits of one block of rows at a time. Their gradient is known in closed form, so each
  block also adds its part of all gradients before it is freed: three matrix products in all.
* `negative_log_likelihood` is the forward pass only, with a value for every row.
* `sampled_cross_entropy` (sampled_softmax.py) estimates the sum over the vocabulary from a few words.

The kernel is float[vocabulary, units], like an embedding, which may be tied to the softmax.
"""

import tensorflow as tf

BLOCK_BYTES = 2**24  # of logits: large enough for fast products, small compared with the rest of a model
FEWEST_ROWS = 512  # of a block in training: adding up the kernel's gradient takes a fraction of computing it


def cross_entropy(
    hidden,
    kernel,
    bias,
    targets,
    weights=None,
    *,
    label_smoothing=0.0,
    training=True,
    xla=False,
    block_bytes=BLOCK_BYTES,
):
    """Returns the summed cross-entropy of the true words; differentiable by `hidden`, `kernel` and `bias`.

        q = (1 - s) onehot(target) + s / vocabulary
        total = sum of weight * (log sum exp z - q z)
        d total / d z = weight * (p - q)

    with the label smoothing s of Szegedy et al. 2016, "Rethinking the Inception architecture for computer vision",
    section 7. The gradients are computed together with the value; the backward pass only scales them.

    Rows of weight 0 (padding) are removed before the products. Products run in the type of `hidden`; softmax, sums and
    the gradient of the kernel are at least float32. With float16, whose smallest number is 6e-8, so are the products of
    the gradients, since a loss scale is applied only afterwards.

    Args:
        hidden: float[rows, units].
        kernel: float[vocabulary, units]; its type may have more bits than that of `hidden`.
        bias: float[vocabulary] or None.
        targets: int[rows], the true words; an id out of range is an error, except under XLA and on GPUs.
        weights: float[rows], the weight of each row, constant for the gradient. None: 1 each.
        label_smoothing: the probability s that is spread evenly over the vocabulary.
        training: False computes no gradients: a third of the work, and an error if one is requested.
        xla: True when this is compiled by XLA, which needs a fixed number of rows: it then skips blocks in which all
            weights are 0, not single rows.
        block_bytes: the size of a block of logits. In training a block has at least FEWEST_ROWS rows, unless it would
            then be larger than the kernel, whose gradient is kept in memory anyway.

    Returns:
        (total float[], nll float[]): the weighted sums of the cross-entropy and of the negative log-likelihood
        -log p(target). The latter has no smoothing and no gradient; perplexity is computed from it.

    Raises:
        ValueError: incompatible shapes, `label_smoothing` outside of [0, 1), `block_bytes` below 1.
    """
    hidden, kernel, bias, targets, weights = checked(hidden, kernel, bias, targets, weights)
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing is {label_smoothing}, expected a number from 0 up to, but not, 1")
    exact = exact_type(hidden)
    if weights is None:
        weights, order, real = tf.ones(tf.shape(hidden)[:1], exact), None, None
    elif xla:
        order, real = (
            tf.argsort(tf.cast(weights == 0, tf.int32), stable=True),
            tf.math.count_nonzero(weights, dtype=tf.int32),
        )
    else:
        order, real = tf.cast(tf.where(weights != 0)[:, 0], tf.int32), None
    weights = tf.cast(weights, exact)
    options = {"smoothing": label_smoothing, "order": order, "real": real}
    options["size"] = _block_rows(kernel, block_bytes, exact, training)

    def totals(hidden, kernel, bias, nll, at_target):
        smooth = 0.0
        if label_smoothing:
            mean = tf.linalg.matvec(tf.cast(hidden, exact), _mean_word(kernel, exact))  # of z, by row
            mean += 0 if bias is None else tf.reduce_mean(tf.cast(bias, exact))
            smooth = label_smoothing * (at_target - mean)
        return tf.reduce_sum(weights * (nll + smooth)), tf.reduce_sum(weights * nll)

    if not training:
        found = totals(hidden, kernel, bias, *_by_blocks(hidden, kernel, bias, targets, None, **options))
        return tuple(_without_gradient(value) for value in found)

    @tf.custom_gradient
    def differentiated(hidden, kernel, *biases):
        given = hidden, kernel, *biases
        bias = biases[0] if biases else None
        nll, at_target, *gradients = _by_blocks(hidden, kernel, bias, targets, weights, **options)

        def backward(scale, _):
            return tuple(tf.cast(scale * g, value.dtype) for g, value in zip(gradients, given, strict=True))

        return totals(hidden, kernel, bias, nll, at_target), backward

    total, nll = differentiated(hidden, kernel, *([] if bias is None else [bias]))
    return total, tf.stop_gradient(nll)


def negative_log_likelihood(hidden, kernel, bias, targets, *, block_bytes=BLOCK_BYTES):
    """Returns -log p(target) of every row, computed in blocks; requesting its gradient is an error.

    Args:
        hidden, kernel, bias, targets: as in `cross_entropy`.
        block_bytes: the size of a block of logits.

    Returns:
        float[rows], at least float32.

    Raises:
        ValueError: as `cross_entropy`.
    """
    hidden, kernel, bias, targets, _ = checked(hidden, kernel, bias, targets, None)
    size = _block_rows(kernel, block_bytes, exact_type(hidden), training=False)
    nll, _ = _by_blocks(hidden, kernel, bias, targets, None, size=size)
    return _without_gradient(nll)


def _by_blocks(hidden, kernel, bias, targets, weights, *, size, smoothing=0.0, order=None, real=None) -> list:
    """Runs over blocks of at most `size` rows, with the gradients or without.

    Args:
        weights: float[rows], for the gradients; None: compute no gradients.
        order: int[chosen], the rows to use, in this order; None: all.
        real: int[], how many of these have a weight; the blocks after them are skipped; None: all.

    Returns:
        [-log p(target), z of the target]: float[rows] each, zero in a row that is not used. With weights followed by
        the gradients of the weighted sum by hidden, kernel and, if there is one, bias, in the exact type.
    """
    exact = exact_type(hidden)
    rows = hidden.shape[0] if hidden.shape[0] is not None else tf.shape(hidden)[0]
    chosen = rows if order is None else order.shape[0] if order.shape[0] is not None else tf.shape(order)[0]
    real = chosen if real is None else real
    # As few blocks as possible, all of the same size, as XLA requires.
    blocks = -(-chosen // size)
    blocks = max(blocks, 1) if isinstance(blocks, int) else tf.maximum(blocks, 1)
    size = -(-chosen // blocks)
    size = max(size, 1) if isinstance(size, int) else tf.maximum(size, 1)
    W = tf.cast(kernel, hidden.dtype)
    product_type = exact if hidden.dtype == tf.float16 else hidden.dtype

    def in_blocks(values):
        values = values if order is None else tf.gather(values, order)
        values = tf.pad(values, [[0, blocks * size - chosen], *[[0, 0]] * (values.shape.rank - 1)])
        return tf.reshape(values, tf.concat([[blocks, size], values.shape[1:]], axis=0))

    def in_rows(values):
        values = tf.reshape(values, tf.concat([[blocks * size], values.shape[2:]], axis=0))[:chosen]
        if order is None:
            return values
        return tf.scatter_nd(order[:, tf.newaxis], values, tf.concat([[rows], values.shape[1:]], axis=0))

    xs, ts = in_blocks(hidden), in_blocks(targets)
    ws = None if weights is None else in_blocks(weights)[..., tf.newaxis]  # [blocks, size, 1]
    known = size if isinstance(size, int) else None
    shapes = [[known], [known], *([[known, hidden.shape[-1]]] if weights is not None else [])]
    written = tuple(tf.TensorArray(exact, blocks, element_shape=shape) for shape in shapes)
    summed = () if weights is None else (tf.zeros_like(kernel, exact),)
    summed += () if weights is None or bias is None else (tf.zeros_like(bias, exact),)

    def body(n, written, summed):
        x, t = xs[n], ts[n]
        z = tf.cast(tf.matmul(x, W, transpose_b=True), exact)
        if bias is not None:
            z = tf.nn.bias_add(z, tf.cast(bias, exact))
        largest, at_target = tf.reduce_max(z, axis=1), tf.gather(z, t, batch_dims=1)
        if ws is None:
            nll = tf.reduce_logsumexp(z, axis=1) - at_target
            return n + 1, tuple(a.write(n, v) for a, v in zip(written, (nll, at_target), strict=True)), ()
        # The largest entry of the softmax is 1 / sum exp(z - largest), which is cheaper to find than the sum. Each
        # operation waits for the readers of the tensor it replaces, so that it can reuse its memory.
        with tf.control_dependencies([largest, at_target]):
            p = tf.nn.softmax(z)
        nll = largest - tf.math.log(tf.reduce_max(p, axis=1)) - at_target
        with tf.control_dependencies([nll]):
            places = tf.stack([tf.range(size), tf.cast(t, tf.int32)], axis=1)
            d = tf.tensor_scatter_nd_sub(p, places, tf.fill([size], tf.constant(1 - smoothing, exact)))
        w = ws[n]
        narrow = tf.cast(d, product_type)
        dx = tf.cast(tf.matmul(narrow, tf.cast(W, product_type)), exact)
        weighted = tf.cast(tf.cast(x, exact) * w, product_type)  # x has fewer columns than d
        more = [tf.cast(tf.matmul(narrow, weighted, transpose_a=True), exact)]
        if bias is not None:
            more.append(tf.matmul(w, d, transpose_a=True)[0])
        written = tuple(a.write(n, v) for a, v in zip(written, (nll, at_target, dx * w), strict=True))
        return n + 1, written, tuple(a + b for a, b in zip(summed, more, strict=True))

    # One block at a time: the loop would otherwise start on the logits of the next blocks, which depend on nothing. The
    # first is computed even if no row has a weight, since a TensorArray without any entry cannot be read.
    _, written, summed = tf.while_loop(
        lambda n, *_: (n == 0) | (n * size < real), body, (tf.constant(0), written, summed), parallel_iterations=1
    )
    found = [in_rows(array.stack()) for array in written]
    if weights is None or not smoothing:
        return [*found, *summed]
    # The smoothed part of q is the same for every word, so it needs no logits.
    nll, at_target, dx = found
    mean = _mean_word(kernel, exact)
    vocabulary = kernel.shape[0]
    dx -= smoothing * weights[:, tf.newaxis] * mean
    total_x = tf.reduce_sum(tf.cast(hidden, exact) * weights[:, tf.newaxis], axis=0)  # float[units]
    dW, *db = summed
    dW -= smoothing / vocabulary * total_x
    db = [value - smoothing / vocabulary * tf.reduce_sum(weights) for value in db]
    return [nll, at_target, dx, dW, *db]


def _mean_word(kernel, exact):
    """Returns the mean of the words' vectors in the kernel, float[units]."""
    return tf.reduce_mean(tf.cast(kernel, exact), axis=0)


def exact_type(hidden):
    """Returns the type of the sums and of the softmax."""
    return tf.float64 if hidden.dtype == tf.float64 else tf.float32


def _without_gradient(value):
    return tf.raw_ops.PreventGradient(
        input=value, message="this cross-entropy was computed without gradients: use cross_entropy with training=True"
    )


def _block_rows(kernel, block_bytes, exact, training):
    """Returns the largest number of rows of logits in a block."""
    if block_bytes < 1:
        raise ValueError(f"block_bytes is {block_bytes}, expected at least 1")
    vocabulary, units = kernel.shape
    return max(int(block_bytes) // (exact.size * vocabulary), min(units, FEWEST_ROWS) if training else 1)


def checked(hidden, kernel, bias, targets, weights):
    """Returns the arguments as tensors, after a check that their shapes are compatible."""
    given = {"hidden": hidden, "kernel": kernel, "bias": bias, "targets": targets, "weights": weights}
    given = {name: None if value is None else tf.convert_to_tensor(value) for name, value in given.items()}
    shapes = {name: value.shape for name, value in given.items() if value is not None}
    wanted = {"hidden": ["rows", "units"], "kernel": ["vocabulary", "units"], "bias": ["vocabulary"]}
    wanted |= {"targets": ["rows"], "weights": ["rows"]}
    sizes: dict[str, int] = {}
    for name, shape in shapes.items():
        expected = f"expected [{', '.join(wanted[name])}]"
        if shape.rank != len(wanted[name]):
            raise ValueError(f"{name} has the shape {shape}, {expected}")
        for axis, size in zip(wanted[name], shape, strict=True):
            if size is None and axis != "rows":
                raise ValueError(f"{name} has the shape {shape}, {expected}, with only the rows unknown")
            if size is not None and sizes.setdefault(axis, size) != size:
                raise ValueError(f"{name} has the shape {shape}, {expected} with {sizes[axis]} {axis}")
    if not given["targets"].dtype.is_integer:
        raise ValueError(f"targets are {given['targets'].dtype.name}, expected whole numbers")
    return tuple(given.values())

"""The inputs of a decoder in training: the true previous tokens, or some of its own predictions in their place."""

import math

import keras
import tensorflow as tf

from layers.text import PADDING

SCHEDULES = ("constant", "linear", "inverse_sigmoid")


def teacher_forcing(ids, start: int, end: int):
    """Returns the inputs and targets of a decoder, and the weights of its loss, for given sentences.

    At every step the decoder reads the true previous token, whatever it predicted (Williams and Zipser 1989, "A
    learning algorithm for continually running fully recurrent neural networks"):

        ids      a     b     c     0
        inputs   start a     b     c     0
        targets  a     b     c     end   0
        weights  1     1     1     1     0

    Args:
        ids: int[batch, time], with PADDING after the end of a sentence. A sentence may be empty: its only target is
            `end`.
        start, end: the ids of the tokens that begin and end a sentence.

    Returns:
        (inputs int32[batch, time + 1], targets int32[batch, time + 1], weights float32[batch, time + 1]).
    """
    ids = tf.cast(ids, tf.int32)
    inputs = tf.pad(ids, [[0, 0], [1, 0]], constant_values=start)
    targets = tf.pad(ids, [[0, 0], [0, 1]], constant_values=PADDING)
    lengths = tf.math.count_nonzero(ids != PADDING, axis=1, dtype=tf.int32)[:, tf.newaxis]
    steps = tf.range(tf.shape(targets)[1])
    targets = tf.where(steps == lengths, tf.cast(end, tf.int32), targets)
    return inputs, targets, tf.cast(steps <= lengths, tf.float32)


def shifted(ids, start: int):
    """Returns the inputs of a decoder that is to explain given tokens, int32[batch, time]: `start`, then all but the
    last."""
    return tf.concat([tf.fill([tf.shape(ids)[0], 1], start), ids[:, :-1]], axis=1)


def scheduled_inputs(step, state, inputs, probability, seed):
    """Replaces some of the inputs by tokens drawn from the model: scheduled sampling (Bengio et al. 2015, "Scheduled
    sampling for sequence prediction with recurrent neural networks").

    The decoder runs step by step. At each step and in each row, the next input is the true token with `probability`,
    and otherwise drawn from the model's prediction at the step before.

    No gradient flows through a draw, neither here nor in the paper. So this run need not be differentiated: training
    the fast whole-sequence pass on the returned inputs has exactly the gradient of the step-by-step network.

    PADDING is never drawn, since it means the end of the sentence, and an input that is PADDING is never replaced.

    Args:
        step: `step(token_ids int32[batch], state) -> (logits float[batch, vocabulary], state)`, as for decoding, with
            the dropout of the whole-sequence pass in training.
        state: any structure of tensors, the state before the first step.
        inputs: int32[batch, time], those of `teacher_forcing`; the first column, the start token, is never replaced.
        probability: float or float[], of the true token; see `teacher_probability`.
        seed: int[2], of TensorFlow's stateless random numbers, or a `keras.random.SeedGenerator` of the model. The
            draws depend on nothing else, so training resumed from a checkpoint draws the same tokens.

    Returns:
        int32[batch, time].
    """
    inputs = tf.cast(inputs, tf.int32)
    batch, time = (known or tf.shape(inputs)[axis] for axis, known in enumerate(inputs.shape))
    seed = seed.next() if isinstance(seed, keras.random.SeedGenerator) else seed
    keep_seed, draw_seed = tf.unstack(tf.random.split(tf.cast(seed, tf.int64), 2))
    keep = tf.random.stateless_uniform([batch, time], keep_seed) < probability
    keep |= inputs == PADDING
    true = tf.transpose(inputs)  # [time, batch]
    keep = tf.transpose(keep)

    def draw(logits, t):
        words = tf.range(tf.shape(logits)[-1])
        logits = tf.where(words == PADDING, tf.constant(-math.inf, logits.dtype), logits)
        return tf.random.stateless_categorical(logits, 1, tf.random.fold_in(draw_seed, t), dtype=tf.int32)[:, 0]

    def body(t, token, state, tokens):
        logits, state = step(token, state)
        token = tf.where(keep[t], true[t], draw(logits, t))
        return t + 1, token, state, tokens.write(t, token)

    tokens = tf.TensorArray(tf.int32, time, element_shape=true.shape[1:]).write(0, true[0])
    _, _, _, tokens = tf.while_loop(
        lambda t, *_: t < time, body, (tf.constant(1), true[0], state, tokens), parallel_iterations=1
    )
    mixed = tf.transpose(tokens.stack())
    mixed.set_shape(inputs.shape)
    return tf.stop_gradient(mixed)


def teacher_probability(kind: str, update, *, k: float = 1.0, c: float = 0.0, eps: float = 0.0):
    """Returns the probability of the true token after i = `update` updates (Bengio et al. 2015, section 2.4).

        constant         k
        linear           max(eps, k - c i)
        inverse_sigmoid  k / (k + exp(i / k))

    Args:
        kind: one of the names above.
        update: int[], the number of updates so far, a number or a tensor.
        k, c, eps: the constants of the equations. A result above 1 (linear, k > 1) becomes 1.

    Returns:
        float32[].

    Raises:
        ValueError: an unknown kind, or a constant for which the result is not a decreasing probability.
    """
    if kind not in SCHEDULES:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(SCHEDULES)}")
    ranges = {
        "constant": (0 <= k <= 1, "0 <= k <= 1"),
        "linear": (k > 0 and c >= 0 and 0 <= eps <= 1, "k > 0, c >= 0 and 0 <= eps <= 1"),
        "inverse_sigmoid": (k >= 1, "k >= 1"),
    }
    fits, wanted = ranges[kind]
    if not fits:
        raise ValueError(f"the {kind} schedule has k = {k}, c = {c}, eps = {eps}, expected {wanted}")
    i = tf.cast(update, tf.float32)
    if kind == "constant":
        return tf.fill(tf.shape(i), tf.cast(k, tf.float32))
    if kind == "linear":
        return tf.clip_by_value(k - c * i, eps, 1)
    return tf.sigmoid(tf.math.log(tf.cast(k, tf.float32)) - i / k)  # equal, but exp cannot overflow

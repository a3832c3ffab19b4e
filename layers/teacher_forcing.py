"""What a decoder is fed in training: the true words before, or some of the words that it would have said itself."""

import math

import keras
import tensorflow as tf

from layers.text import PADDING

SCHEDULES = ("constant", "linear", "exponential", "inverse_sigmoid")


def teacher_forcing(ids, start: int, end: int):
    """Sentences to what the decoder reads, what it is to answer, and what counts.

    At every step the decoder is given the true token before, whatever it would have said (Williams and Zipser 1989, "A
    learning algorithm for continually running fully recurrent neural networks"):

        ids      a     b     c     0
        inputs   start a     b     c     0
        targets  a     b     c     end   0
        weights  1     1     1     1     0

    Args:
        ids: int[batch, time], with PADDING behind the end of a sentence. A sentence may be empty: its one target is
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


def scheduled_inputs(step, state, inputs, probability, seed, *, argmax: bool = False):
    """Inputs of which some are the model's own words: scheduled sampling (Bengio et al. 2015, "Scheduled sampling for
    sequence prediction with recurrent neural networks").

    The decoder runs freely, step by step, and before each step a coin is thrown for every row: with `probability` the
    next input is the true token, otherwise one drawn from what the model answered at the step before.

    A token is a whole number: no gradient goes through the draw, neither here nor in the paper. So nothing of this run
    is needed on the way back, and training the fast whole-sequence pass on the mixed inputs gives exactly the gradient
    of the network that drew them step by step.

    PADDING is never drawn, as it would read as the end of the sentence, and an input that is PADDING stays it.

    Args:
        step: `step(token_ids int32[batch], state) -> (logits float[batch, vocabulary], state)`, as for decoding; run it
            as in training's whole-sequence pass (the same dropout, or none).
        state: any structure of tensors, the state before the first step.
        inputs: int32[batch, time], those of `teacher_forcing`; the first column, the start token, always stays.
        probability: float or float[], of the true token; see `teacher_probability`.
        seed: int[2], of TensorFlow's stateless random numbers, or a `keras.random.SeedGenerator` that the model holds:
            the same seed gives the same coins and draws, so a training that goes on from a checkpoint repeats itself.
        argmax: take the likeliest token instead of drawing one.

    Returns:
        int32[batch, time].
    """
    inputs = tf.cast(inputs, tf.int32)
    batch, time = (known or tf.shape(inputs)[axis] for axis, known in enumerate(inputs.shape))
    seed = seed.next() if isinstance(seed, keras.random.SeedGenerator) else seed
    coin_seed, draw_seed = tf.unstack(tf.random.split(tf.cast(seed, tf.int64), 2))
    keep = tf.random.stateless_uniform([batch, time], coin_seed) < probability
    keep |= inputs == PADDING
    true = tf.transpose(inputs)  # [time, batch]
    keep = tf.transpose(keep)

    def draw(logits, t):
        words = tf.range(tf.shape(logits)[-1])
        logits = tf.where(words == PADDING, tf.constant(-math.inf, logits.dtype), logits)
        if argmax:
            return tf.argmax(logits, axis=-1, output_type=tf.int32)
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
    """How likely the true token is after i = `update` updates of the weights (Bengio et al. 2015, section 2.4).

        constant         k
        linear           max(eps, k - c i)
        exponential      k^i
        inverse_sigmoid  k / (k + exp(i / k))

    Args:
        kind: one of the names above.
        update: int[], the updates made so far, a number or a tensor.
        k, c, eps: the constants of the equations. Above 1 (linear, k > 1) the probability is 1.

    Returns:
        float32[].

    Raises:
        ValueError: another kind, or a constant with which the equation gives no probability that falls.
    """
    if kind not in SCHEDULES:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(SCHEDULES)}")
    ranges = {
        "constant": (0 <= k <= 1, "0 <= k <= 1"),
        "linear": (k > 0 and c >= 0 and 0 <= eps <= 1, "k > 0, c >= 0 and 0 <= eps <= 1"),
        "exponential": (0 < k <= 1, "0 < k <= 1"),
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
    if kind == "exponential":
        return tf.pow(tf.cast(k, tf.float32), i)
    return tf.sigmoid(tf.math.log(tf.cast(k, tf.float32)) - i / k)  # the same, and exp cannot overflow

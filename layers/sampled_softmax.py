"""Cross-entropy of a softmax over a large vocabulary, estimated from a few words sampled for each batch."""

import math

import keras
import numpy as np
import tensorflow as tf

from layers.losses import checked, exact_type


def sampled_cross_entropy(hidden, kernel, bias, targets, weights=None, *, samples, seed):
    """Returns the summed cross-entropy, its sum over the vocabulary estimated from words sampled at every call.

        Z = exp z(target) + sum over the other words drawn of exp z / expected
        total = sum of weight * (log Z - z(target))

    where `expected` is how often a word is drawn on average. Z is an unbiased estimate of the sum of exp z: the
    importance sampling of Bengio and Senecal 2008, "Adaptive importance sampling to accelerate training of a neural
    probabilistic language model", with one sample for the whole batch as in Jean et al. 2015, "On using very large
    target vocabulary for neural machine translation". With more words, value and gradient come closer to the exact
    ones; with the whole vocabulary they are exact. Use it for training only: the value is biased, since log Z is too
    small on average, so report `negative_log_likelihood`.

    The ids must be in the order of decreasing frequency (`log_uniform_candidates`).

    Args:
        hidden, kernel, bias, targets, weights: as in `cross_entropy`.
        samples: number of words to draw.
        seed: int[2], of TensorFlow's stateless random numbers, or a `keras.random.SeedGenerator` of the model. The draw
            depends on nothing else, so training resumed from a checkpoint draws the same words.

    Returns:
        total: float[].

    Raises:
        ValueError: incompatible shapes, `samples` outside of 1 to the size of the vocabulary.
    """
    hidden, kernel, bias, targets, weights = checked(hidden, kernel, bias, targets, weights)
    exact = exact_type(hidden)
    drawn, expected = log_uniform_candidates(kernel.shape[0], samples, seed)
    z = tf.matmul(hidden, tf.cast(tf.gather(kernel, drawn), hidden.dtype), transpose_b=True)
    z = tf.cast(z, exact) - tf.math.log(tf.cast(expected, exact))
    true = tf.cast(tf.gather(kernel, targets), exact)
    at_target = tf.reduce_sum(tf.cast(hidden, exact) * true, axis=1)
    if bias is not None:
        z += tf.cast(tf.gather(bias, drawn), exact)
        at_target += tf.cast(tf.gather(bias, targets), exact)
    hit = drawn == tf.cast(targets, drawn.dtype)[:, tf.newaxis]
    z = tf.where(hit, tf.constant(exact.min / 2, exact), z)  # infinity would make the gradient NaN
    loss = tf.nn.softplus(tf.reduce_logsumexp(z, axis=1) - at_target)  # log Z - z(target)
    return tf.reduce_sum(loss if weights is None else loss * tf.cast(weights, exact))


def log_uniform_candidates(vocabulary: int, samples: int, seed):
    """Draws words, the frequent ones more often, by Zipf's law: without counts.

        q(word n) = log((n + 2) / (n + 1)) / log(vocabulary + 1),  n = 0, 1, ... in the order of decreasing frequency

    The most frequent words, those expected at least once, are each taken exactly once. For the other samples, the
    probability of the other words is divided into strata of equal size, and one word is drawn in each by the inverse of
    the cumulative distribution: the mean is that of independent draws, the variance is never larger, and a word is
    rarely drawn twice.

    Args:
        vocabulary: number of words.
        samples: number of words to draw.
        seed: as in `sampled_cross_entropy`.

    Returns:
        (words int32[samples], expected float64[samples]): a word is drawn `expected` times on average.

    Raises:
        ValueError: `samples` outside of 1 to `vocabulary`.
    """
    if not 1 <= samples <= vocabulary:
        raise ValueError(f"samples is {samples}, expected a number from 1 to {vocabulary}, the size of the vocabulary")
    seed = tf.cast(seed.next() if isinstance(seed, keras.random.SeedGenerator) else seed, tf.int64)
    # The smallest number of certain words for which the most frequent other word is expected at most once.
    n = np.arange(samples + 1)
    certain = int(np.argmax((samples - n) * np.log((n + 2) / (n + 1)) <= np.log((vocabulary + 1) / (n + 1))))
    strata = samples - certain
    if not strata:
        return tf.range(samples), tf.ones([samples], tf.float64)
    ratio = math.log((vocabulary + 1) / (certain + 1))
    # Philox explicitly: the default may differ between the CPU and XLA.
    uniform = tf.random.stateless_uniform([strata], seed, dtype=tf.float64, alg="philox")
    place = (tf.range(strata, dtype=tf.float64) + uniform) / strata  # in the cumulative distribution
    word = tf.cast((certain + 1) * tf.exp(place * ratio), tf.int32) - 1
    word = tf.clip_by_value(word, certain, vocabulary - 1)  # rounding
    n = tf.cast(word, tf.float64)
    expected = strata / ratio * tf.math.log((n + 2) / (n + 1))
    return (
        tf.concat([tf.range(certain), word], axis=0),
        tf.concat([tf.ones([certain], tf.float64), expected], axis=0),
    )

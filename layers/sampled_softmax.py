"""Cross-entropy of a softmax over a large vocabulary, estimated from a few words drawn for each batch."""

import math

import keras
import numpy as np
import tensorflow as tf

from layers.losses import checked, exact_type


def sampled_cross_entropy(hidden, kernel, bias, targets, weights=None, *, samples, seed, transposed=False):
    """Summed cross-entropy with the sum over the vocabulary estimated from a few words, drawn anew at every call.

        Z = exp z(target) + sum over the other words drawn of exp z / expected
        total = sum of weight * (log Z - z(target))

    where `expected` is how often a word is drawn on average: Z is an unbiased estimate of the sum of exp z, the
    importance sampling of Bengio and Senecal 2008, "Adaptive importance sampling to accelerate training of a neural
    probabilistic language model", with one sample for the whole batch as in Jean et al. 2015, "On using very large
    target vocabulary for neural machine translation". The more words are drawn the closer value and gradient come to
    the exact ones; with the whole vocabulary they are exact. For training alone: the value is biased (log Z is too
    small on average), so report `negative_log_likelihood`.

    The words are in the order of falling frequency (`log_uniform_candidates`). A kernel float[vocabulary, units]
    (`transposed`) is much the faster: a word is a row there, and its gradient has the rows of the words drawn alone.

    Args:
        hidden, kernel, bias, targets, weights, transposed: as in `cross_entropy`.
        samples: how many words to draw.
        seed: int[2], of TensorFlow's stateless random numbers, or a `keras.random.SeedGenerator` that the model holds.
            The draw depends on nothing else, so that a training that goes on from a checkpoint draws as it would have.

    Returns:
        total: float[].

    Raises:
        ValueError: shapes that do not fit together, `samples` outside of 1 to the size of the vocabulary.
    """
    hidden, kernel, bias, targets, weights = checked(hidden, kernel, bias, targets, weights, transposed)
    exact = exact_type(hidden)
    words = 0 if transposed else 1  # the axis of the vocabulary
    drawn, expected = log_uniform_candidates(kernel.shape[words], samples, seed)
    z = tf.matmul(hidden, tf.cast(tf.gather(kernel, drawn, axis=words), hidden.dtype), transpose_b=transposed)
    z = tf.cast(z, exact) - tf.math.log(tf.cast(expected, exact))
    true = tf.gather(kernel, targets, axis=words)
    true = tf.cast(true if transposed else tf.transpose(true), exact)
    at_target = tf.reduce_sum(tf.cast(hidden, exact) * true, axis=1)
    if bias is not None:
        z += tf.cast(tf.gather(bias, drawn), exact)
        at_target += tf.cast(tf.gather(bias, targets), exact)
    hit = drawn == tf.cast(targets, drawn.dtype)[:, tf.newaxis]
    z = tf.where(hit, tf.constant(exact.min / 2, exact), z)  # far enough down; infinity would make NaN of the gradient
    loss = tf.nn.softplus(tf.reduce_logsumexp(z, axis=1) - at_target)  # log Z - z(target)
    return tf.reduce_sum(loss if weights is None else loss * tf.cast(weights, exact))


def log_uniform_candidates(vocabulary: int, samples: int, seed):
    """Draws words, the frequent ones more often, by what is known of languages (Zipf's law) alone.

        q(word n) = log((n + 2) / (n + 1)) / log(vocabulary + 1),  n = 0, 1, ... in the order of falling frequency

    The most frequent words, those that would be expected once or more, are taken once each and for certain. The rest of
    the samples divides the probability of the other words into strata of equal size and draws one word in each, by the
    inverse of the cumulative distribution: the mean is that of independent draws, the variance is never larger, and
    hardly a word is drawn twice.

    Args:
        vocabulary: number of words.
        samples: number of words to draw.
        seed: as in `sampled_cross_entropy`.

    Returns:
        (words int32[samples], expected float64[samples]): a word comes up `expected` times on average.

    Raises:
        ValueError: `samples` outside of 1 to `vocabulary`.
    """
    if not 1 <= samples <= vocabulary:
        raise ValueError(f"samples is {samples}, expected a number from 1 to {vocabulary}, the size of the vocabulary")
    seed = tf.cast(seed.next() if isinstance(seed, keras.random.SeedGenerator) else seed, tf.int64)
    # The smallest number of certain words with which the most frequent of the others is expected once at the most.
    n = np.arange(samples + 1)
    certain = int(np.argmax((samples - n) * np.log((n + 2) / (n + 1)) <= np.log((vocabulary + 1) / (n + 1))))
    strata = samples - certain
    if not strata:
        return tf.range(samples), tf.ones([samples], tf.float64)
    ratio = math.log((vocabulary + 1) / (certain + 1))
    # Philox by name: the default may differ between the processor and XLA.
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

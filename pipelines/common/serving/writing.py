"""Sentences that a decoder writes: what evaluation measures and what an export holds, for one model or several."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from layers import decoding
from layers.text import END, PADDING, START, UNKNOWN, pad

FORBIDDEN = (PADDING, UNKNOWN, START)  # never written by a decoder
PREFIX = tf.TensorSpec([None], tf.string, name="prefix")


def scalars(**dtypes: tf.DType) -> list[tf.TensorSpec]:
    return [tf.TensorSpec([], dtype, name=name) for name, dtype in dtypes.items()]


# What the signatures `beam` and `sample` of an export take behind what they are to say something of.
SEARCH = [PREFIX, *scalars(beam_size=tf.int32, length_penalty=tf.float32, min_length=tf.int32, max_length=tf.int32)]
DRAW = [
    PREFIX,
    *scalars(temperature=tf.float32, top_k=tf.int32, top_p=tf.float32, seed=tf.int32, max_length=tf.int32),
]


class Writer:
    """Searches for sentences, or draws them, by the mean of the probabilities of models that share a vocabulary.

    Args:
        steps: of every model, its step of decoding (see `layers.decoding`).
        encode: string[batch] -> (int32[batch, (tokens)], …).
        decode: int32[batch, time] -> string[batch].
        name: what the answers call a sentence, such as "caption".
        missing: the score of an answer that is missing.

    The methods take `states`, the state of every model before the first token, and `valid` bool[batch]: where it is
    False, there is nothing to say anything of, and the sentence is "". They give a dict of the sentence string[batch],
    `score` float[batch] and `candidates` string[batch, candidates], best first. `prefix`, string[batch] or string[1]
    for all, are the true words that sentences begin with (the lecture's warm start).
    """

    def __init__(self, steps: Sequence[Callable], encode: Callable, decode: Callable, *, name: str, missing: float):
        self.step = steps[0] if len(steps) == 1 else decoding.ensemble(steps)
        self.single = len(steps) == 1
        self.encode, self.decode, self.name, self.missing = encode, decode, name, missing

    def greedy(self, states, valid, max_length) -> dict:
        """The likeliest token at every step; one candidate."""
        return self._write(decoding.greedy, states, valid, max_length=max_length)

    def beam(self, states, valid, prefix, beam_size, length_penalty, min_length, max_length) -> dict:
        """The best `beam_size` candidates that beam search finds."""
        options = {"beam_size": beam_size, "length_penalty": length_penalty, "min_length": min_length}
        prefix = self._read(prefix, valid)
        return self._write(decoding.beam_search, states, valid, prefix=prefix, max_length=max_length, **options)

    def sample(self, states, valid, prefix, temperature, top_k, top_p, seed, max_length) -> dict:
        """One candidate, drawn at random."""
        options = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
        prefix = self._read(prefix, valid)
        return self._write(decoding.sample, states, valid, prefix=prefix, max_length=max_length, **options)

    def _read(self, prefix, valid):
        ids = pad(self.encode(prefix)[0])
        return tf.broadcast_to(ids, [tf.size(valid), tf.shape(ids)[1]])

    def _write(self, search, states, valid, **options) -> dict:
        state = states[0] if self.single else tuple(states)
        found = search(self.step, state, start=START, end=END, forbidden=FORBIDDEN, **options)
        batch, count = tf.unstack(tf.shape(found.scores))
        texts = self.decode(tf.reshape(found.ids, [batch * count, -1]))
        exists = tf.math.is_finite(found.scores) & valid[:, None]
        candidates = tf.where(exists, tf.reshape(texts, [batch, count]), "")
        score = tf.where(valid, found.scores[:, 0], self.missing)
        return {self.name: candidates[:, 0], "score": score, "candidates": candidates}

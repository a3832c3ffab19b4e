"""Strings in, strings out: what evaluation measures and what the export holds, for one model or several."""

from collections.abc import Sequence

import tensorflow as tf

from layers import decoding
from layers.text import END, PADDING, START, UNKNOWN, pad
from pipelines.translation.model import Trained

FORBIDDEN = (PADDING, UNKNOWN, START)  # never written by a decoder


class Translation:
    """Translates with the mean of the probabilities of its members, which share vocabularies and limits of text."""

    def __init__(self, members: Sequence[Trained]):
        self.members = list(members)
        self.preprocessing = self.members[0].preprocessing
        self.models = [member.model for member in self.members]

    @property
    def resources(self) -> list:
        """All that the functions use."""
        return [*self.models, self.preprocessing]

    # Reading and writing ----------------------------------------------------------------------------------------------

    def read(self, source):
        """string[batch] -> (ids int32[batch, time], bool[batch]: has the sentence any token)."""
        ids, _ = self.preprocessing.source.encode(source)
        return pad(ids), ids.row_lengths() > 0

    def read_prefix(self, prefix, count):
        """The true tokens that translations begin with: string[batch], or string[1] for all -> int32[batch, time]."""
        ids, _ = self.preprocessing.target.encode(prefix)
        return tf.broadcast_to(pad(ids), tf.stack([count, tf.shape(pad(ids))[1]]))

    def write(self, decoded: decoding.Decoded, some) -> dict:
        """The answers as strings; an empty sentence has an empty translation of score 0."""
        batch, beam = tf.unstack(tf.shape(decoded.scores))
        flat = tf.reshape(decoded.ids, [batch * beam, -1])
        exists = tf.reshape(tf.math.is_finite(decoded.scores) & some[:, None], [-1])
        texts = tf.where(exists, self.preprocessing.target.decode(flat), "")
        candidates = tf.reshape(texts, [batch, beam])
        return {
            "translation": candidates[:, 0],
            "score": tf.where(some, decoded.scores[:, 0], 0.0),
            "candidates": candidates,
        }

    # Searching --------------------------------------------------------------------------------------------------------

    def start(self, ids):
        """(the step of decoding, the state it begins with) for source ids int32[batch, time]."""
        states = tuple(model.encode(ids) for model in self.models)
        if len(self.models) == 1:
            return self.models[0].step, states[0]
        return decoding.ensemble([model.step for model in self.models]), states

    def greedy(self, source, max_length) -> dict:
        """Sources string[batch] -> translation, score, candidates [batch, 1]: the likeliest token at every step."""
        ids, some = self.read(source)
        step, state = self.start(ids)
        found = decoding.greedy(step, state, start=START, end=END, max_length=max_length, forbidden=FORBIDDEN)
        return self.write(found, some)

    def beam(self, source, prefix, beam_size, length_penalty, min_length, max_length) -> dict:
        """Sources string[batch] and the tokens to begin with, string[batch] or string[1] -> translation, score,
        candidates string[batch, beam], best first."""
        ids, some = self.read(source)
        step, state = self.start(ids)
        found = decoding.beam_search(
            step,
            state,
            start=START,
            end=END,
            beam_size=beam_size,
            length_penalty=length_penalty,
            min_length=min_length,
            max_length=max_length,
            prefix=self.read_prefix(prefix, tf.shape(ids)[0]),
            forbidden=FORBIDDEN,
        )
        return self.write(found, some)

    def sample(self, source, prefix, temperature, top_k, top_p, seed, max_length) -> dict:
        """As `beam`, but a translation drawn at random."""
        ids, some = self.read(source)
        step, state = self.start(ids)
        found = decoding.sample(
            step,
            state,
            start=START,
            end=END,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            max_length=max_length,
            prefix=self.read_prefix(prefix, tf.shape(ids)[0]),
            forbidden=FORBIDDEN,
        )
        return self.write(found, some)

"""Images in, captions out: what evaluation measures and what the export holds, for one model or several."""

from collections.abc import Sequence

import tensorflow as tf

from layers import decoding
from layers.text import END, PADDING, START, UNKNOWN, pad
from pipelines.captioning.model import Trained
from pipelines.common import encoders

FORBIDDEN = (PADDING, UNKNOWN, START)  # never written by a decoder


class Description:
    """Describes images with the mean of the probabilities of its members, which share their vocabulary.

    The features of an image are a tuple, float32[batch, units] of every member's CNN. An image that could not be read,
    False in `valid` bool[batch], has the caption "" and the score -inf.
    """

    def __init__(self, members: Sequence[Trained]):
        self.members = list(members)
        self.preprocessing = self.members[0].preprocessing
        self.models = [member.model for member in self.members]

    @property
    def resources(self) -> list:
        """All that the functions use."""
        return [*self.models, *(member.preprocessing for member in self.members)]

    def see(self, encoded):
        """The bytes of images string[batch] -> (features, valid)."""
        features, valid, seen = [], tf.ones(tf.shape(encoded), tf.bool), {}
        for member in self.members:
            how = member.preprocessing
            key = how.image_size, how.fit, how.pixel_limit
            if key not in seen:
                seen[key] = how.pixels(encoded)
            pixels, good = seen[key]
            features.append(encoders.see(member.model.see, pixels))
            valid &= good
        return tuple(features), valid

    def read_prefix(self, prefix, count):
        """The true words that captions begin with: string[batch], or string[1] for all -> int32[batch, time]."""
        ids = pad(self.preprocessing.encode(prefix)[0])
        return tf.broadcast_to(ids, tf.stack([count, tf.shape(ids)[1]]))

    def write(self, decoded: decoding.Decoded, valid) -> dict:
        """The answers as strings."""
        batch, beam = tf.unstack(tf.shape(decoded.scores))
        flat = tf.reshape(decoded.ids, [batch * beam, -1])
        exists = tf.reshape(tf.math.is_finite(decoded.scores) & valid[:, None], [-1])
        candidates = tf.reshape(tf.where(exists, self.preprocessing.decode(flat), ""), [batch, beam])
        return {
            "caption": candidates[:, 0],
            "score": tf.where(valid, decoded.scores[:, 0], decoding.NEVER),
            "candidates": candidates,
        }

    # Searching --------------------------------------------------------------------------------------------------------

    def start(self, features):
        """(the step of decoding, the state it begins with)."""
        states = tuple(model.start(each) for model, each in zip(self.models, features, strict=True))
        if len(self.models) == 1:
            return self.models[0].step, states[0]
        return decoding.ensemble([model.step for model in self.models]), states

    def greedy(self, features, valid, max_length) -> dict:
        """caption string[batch], score float[batch], candidates string[batch, 1]: the likeliest word at every step."""
        step, state = self.start(features)
        found = decoding.greedy(step, state, start=START, end=END, max_length=max_length, forbidden=FORBIDDEN)
        return self.write(found, valid)

    def beam(self, features, valid, prefix, beam_size, length_penalty, min_length, max_length) -> dict:
        """caption, score, candidates string[batch, beam], best first; `prefix` are the words to begin with,
        string[batch] or string[1]."""
        step, state = self.start(features)
        found = decoding.beam_search(
            step,
            state,
            start=START,
            end=END,
            beam_size=beam_size,
            length_penalty=length_penalty,
            min_length=min_length,
            max_length=max_length,
            prefix=self.read_prefix(prefix, tf.size(valid)),
            forbidden=FORBIDDEN,
        )
        return self.write(found, valid)

    def sample(self, features, valid, prefix, temperature, top_k, top_p, seed, max_length) -> dict:
        """As `beam`, but a caption drawn at random."""
        step, state = self.start(features)
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
            prefix=self.read_prefix(prefix, tf.size(valid)),
            forbidden=FORBIDDEN,
        )
        return self.write(found, valid)

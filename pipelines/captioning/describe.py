"""Images in, captions out: what evaluation measures and what the export holds, for one model or several."""

from collections.abc import Sequence

import tensorflow as tf

from layers import decoding
from pipelines.captioning.model import Trained
from pipelines.common.serving.writing import Writer
from pipelines.common.vision import encoders


class Description:
    """Describes images with the mean of the probabilities of its members, which share their vocabulary.

    The features of an image are a tuple, float32[batch, units] of every member's CNN. An image that could not be read,
    False in `valid` bool[batch], has the caption "" and the score -inf. Answers are those of
    `pipelines.common.serving.writing.Writer`: caption, score, candidates.
    """

    def __init__(self, members: Sequence[Trained]):
        self.members = list(members)
        self.models = [member.model for member in self.members]
        text = self.members[0].preprocessing
        steps = [model.step for model in self.models]
        self.writer = Writer(steps, text.encode, text.decode, name="caption", missing=decoding.NEVER)

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
            features.append(encoders.see(member.model.encode_images, pixels))
            valid &= good
        return tuple(features), valid

    def start(self, features) -> list:
        """The state of every member before the first word."""
        return [model.initial_state(each) for model, each in zip(self.models, features, strict=True)]

    def greedy(self, features, valid, max_length) -> dict:
        return self.writer.greedy(self.start(features), valid, max_length)

    def beam(self, features, valid, prefix, beam_size, length_penalty, min_length, max_length) -> dict:
        search = (prefix, beam_size, length_penalty, min_length, max_length)
        return self.writer.beam(self.start(features), valid, *search)

    def sample(self, features, valid, prefix, temperature, top_k, top_p, seed, max_length) -> dict:
        draw = (prefix, temperature, top_k, top_p, seed, max_length)
        return self.writer.sample(self.start(features), valid, *draw)

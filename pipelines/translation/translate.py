"""Strings in, strings out: what evaluation measures and what the export holds, for one model or several."""

from collections.abc import Sequence

from layers.text import pad
from pipelines.common.serving.writing import Writer
from pipelines.translation.model import Trained


class Translation:
    """Translates with the mean of the probabilities of its members, which share vocabularies and limits of text.

    Sources are string[batch]; an empty one has an empty translation of score 0. Answers are those of
    `pipelines.common.serving.writing.Writer`: translation, score, candidates.
    """

    def __init__(self, members: Sequence[Trained]):
        self.members = list(members)
        self.preprocessing = self.members[0].preprocessing
        self.models = [member.model for member in self.members]
        text, steps = self.preprocessing.target, [model.step for model in self.models]
        self.writer = Writer(steps, text.encode, text.decode, name="translation", missing=0.0)

    @property
    def resources(self) -> list:
        """All that the functions use."""
        return [*self.models, self.preprocessing]

    def read(self, source):
        """string[batch] -> (ids int32[batch, time], bool[batch]: has the sentence any token)."""
        ids, _ = self.preprocessing.source.encode(source)
        return pad(ids), ids.row_lengths() > 0

    def start(self, source):
        """(the state of every member behind the source, which sources have any token)."""
        ids, some = self.read(source)
        return [model.encode(ids) for model in self.models], some

    def greedy(self, source, max_length) -> dict:
        return self.writer.greedy(*self.start(source), max_length)

    def beam(self, source, prefix, beam_size, length_penalty, min_length, max_length) -> dict:
        return self.writer.beam(*self.start(source), prefix, beam_size, length_penalty, min_length, max_length)

    def sample(self, source, prefix, temperature, top_k, top_p, seed, max_length) -> dict:
        return self.writer.sample(*self.start(source), prefix, temperature, top_k, top_p, seed, max_length)

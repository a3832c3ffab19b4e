"""The decoder of evaluation and of exports: source strings to translations."""

from collections.abc import Sequence

import tensorflow as tf

from layers.text import pad
from pipelines.common.serving.decoder import Decoder
from pipelines.translation.model import Trained


def make_decoder(members: Sequence[Trained]) -> Decoder:
    """Returns the decoder of source strings by one model or several, which share vocabularies and options of the text.

    A source without any token is invalid: its translation is empty, with the score 0.
    """
    config, preprocessing = members[0].config, members[0].preprocessing

    def initial_states(source):
        ids, _ = preprocessing.source.encode(source)
        return [member.model.encode(pad(ids)) for member in members], ids.row_lengths() > 0

    return Decoder(
        initial_states,
        tf.TensorSpec([None], tf.string, name="source"),
        steps=[member.model.step for member in members],
        tokenizer=preprocessing.target,
        output="translation",
        invalid_score=0.0,
        defaults={**vars(config.search), "max_length": config.text.max_tokens},
    )

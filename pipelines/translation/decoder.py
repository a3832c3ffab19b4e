"""The decoder of evaluation and of exports: source strings to translations."""

from collections.abc import Sequence

import tensorflow as tf

from layers.text import START, pad
from pipelines.common.serving.decoder import Decoder
from pipelines.translation.model import Trained


def make_decoder(members: Sequence[Trained]) -> Decoder:
    """Returns the decoder of source strings by one model or several, which share vocabularies and options of the text.

    A source without any token is invalid: its translation is empty, with the score 0. With `replace_unknown`, the
    models may predict the unknown word, and each is replaced by the source word that the first model attends to most at
    that time step (Luong et al. 2015).
    """
    config, preprocessing = members[0].config, members[0].preprocessing

    def initial_states(source):
        ids, _ = preprocessing.source.encode(source)
        return [member.model.encode(pad(ids)) for member in members], ids.row_lengths() > 0

    def most_attended(source, ids):
        """string[rows], int32[rows, time] -> string[rows, time]."""
        tokens, _ = preprocessing.source.tokens(source)
        model = members[0].model
        inputs = tf.concat([tf.fill([tf.shape(ids)[0], 1], START), ids[:, :-1]], axis=1)
        _, decoded = model.decode(inputs, model.encode(pad(preprocessing.source.vocabulary(tokens))))
        return tf.gather(tokens.to_tensor(""), tf.argmax(decoded.alignment, axis=-1), batch_dims=1)

    search = {**vars(config.search), "max_length": config.text.max_tokens}
    return Decoder(
        initial_states,
        tf.TensorSpec([None], tf.string, name="source"),
        steps=[member.model.step for member in members],
        tokenizer=preprocessing.target,
        output="translation",
        invalid_score=0.0,
        replace_unknown=most_attended if search.pop("replace_unknown") else None,
        defaults=search,
    )

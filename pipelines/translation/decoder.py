"""The decoder of evaluation and of exports: source strings to translations."""

from collections.abc import Sequence

import tensorflow as tf

from layers.teacher_forcing import shifted
from layers.text import START, pad
from pipelines.common.confidence import average
from pipelines.common.errors import UserError
from pipelines.common.serving.decoder import Decoder
from pipelines.translation.model import Trained
from pipelines.translation.sentences import SentenceDecoder
from pipelines.translation.source_words import SourceWords


def make_decoder(members: Sequence[Trained], replace_unknown: bool | None = None) -> Decoder:
    """Returns the decoder of source strings by one model or several, which share vocabularies and options of the text.

    A source without any token is invalid: its translation is empty, with the score 0.

    Args:
        replace_unknown: Whether the models may predict the unknown word, and each is replaced by the source word that
            the first model attends to most at that time step (Jean et al. 2015, "On using very large target vocabulary
            for neural machine translation"; Luong et al. 2015). None: as the configuration of the first run says.

    Raises:
        UserError: `replace_unknown` for subwords or without attention.
    """
    config, preprocessing = members[0].config, members[0].preprocessing

    def initial_states(source):
        ids, _ = preprocessing.source.encode(source)
        return [member.model.encode(pad(ids)) for member in members], ids.row_lengths() > 0

    def most_attended(source, ids):
        """string[rows], int32[rows, time] -> string[rows, time]."""
        tokens, _ = preprocessing.source.tokens(source)
        model = members[0].model
        _, decoded = model.decode(shifted(ids, START), model.encode(pad(preprocessing.source.vocabulary(tokens))))
        rows, _, width = tf.unstack(tf.shape(decoded.alignment, tf.int64))  # one or more wide, if only of padding
        return tf.gather(tokens.to_tensor("", shape=[rows, width]), tf.argmax(decoded.alignment, axis=-1), batch_dims=1)

    search = {**vars(config.search), "max_length": config.text.max_tokens}
    by_config, decoder = search.pop("replace_unknown"), SentenceDecoder if search.pop("split_sentences") else Decoder
    replaces = by_config if replace_unknown is None else replace_unknown
    if replaces and not config.can_replace_unknown:
        raise UserError("--replace-unknown needs a model of words (--level word) that has --attention")
    return decoder(
        initial_states,
        tf.TensorSpec([None], tf.string, name="source"),
        steps=[member.model.step for member in members],
        tokenizer=preprocessing.target,
        output="translation",
        invalid_score=0.0,
        replace_unknown=most_attended if replaces else None,
        defaults=search,
        confidence=average([member.confidence for member in members]),
        examine=SourceWords(preprocessing.source, members[0].seen),
    )

"""The decoder of evaluation and of exports: source strings to translations.

A text of several sentences is decoded as a whole, or (--split-sentences) each sentence by itself.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from layers.teacher_forcing import shifted
from layers.text import START, pad
from pipelines.common.confidence import average
from pipelines.common.errors import UserError
from pipelines.common.serving.decoder import Decoder
from pipelines.translation.model import Trained
from pipelines.translation.source_words import SourceWords

# A sentence ends at its punctuation, closing quotation marks included, if white space and a capital letter follow. RE2
# has no look-ahead: what follows is kept by a group.
SENTENCE_END = r"([.!?…](?:[\s\x{a0}\x{202f}]?»)?[\"'”’“»)\]]*)\s+([\"'“‘„«‹¿¡(\[]*\p{Lu})"
LINE_END = r"\s*[\r\n]\s*"
ABBREVIATION = (
    r"\b(Dr|Hr|Fr|Mr|Mrs|Ms|Prof|St|Nr|No|Mme|Mlle|bzw|ca|evtl|inkl|\p{Lu}|\p{N}+)\.\s+"  # titles, initials, ordinals
)
NO_END = "\x01"  # in place of the white space behind an abbreviation


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


class SentenceDecoder(Decoder):
    """A Decoder of texts that decodes each sentence of a text by itself.

    The first candidate of a text joins the first candidates of its sentences with spaces, and so on; its score,
    confidence and evidence are the means of theirs. A prefix belongs to the first sentence.
    """

    def _decode(self, method: Callable, inputs, prefix=None, **options) -> tuple[dict, dict]:
        sentences = split_sentences(inputs)
        if prefix is not None:
            is_first = tf.scatter_nd(
                sentences.row_starts()[:, tf.newaxis],
                tf.fill(tf.shape(inputs), True),
                tf.shape(sentences.flat_values, tf.int64),
            )
            beginnings = tf.gather(tf.broadcast_to(prefix, tf.shape(inputs)), sentences.value_rowids())
            prefix = tf.where(is_first, beginnings, "")
        decoded, evidence = super()._decode(method, sentences.flat_values, prefix, **options)
        candidates = decoded["candidates"]  # [sentences of all texts, candidates]
        joined = tf.strings.reduce_join(sentences.with_flat_values(candidates), axis=1, separator=" ")
        lacking = tf.reduce_any(sentences.with_flat_values(candidates == ""), axis=1)
        best = tf.strings.strip(joined[:, :1])
        candidates = tf.concat([best, tf.where(lacking[:, 1:], "", joined[:, 1:])], axis=1)

        def mean(numbers):
            return tf.reduce_mean(sentences.with_flat_values(numbers), axis=1)

        outputs = {name: mean(decoded[name]) for name in ("score", "scores", "confidence") if name in decoded}
        if "unknown" in decoded:
            words = tf.strings.reduce_join(sentences.with_flat_values(decoded["unknown"]), axis=1, separator=" ")
            outputs["unknown"] = tf.strings.strip(tf.strings.regex_replace(words, " +", " "))
        evidence = {name: mean(numbers) for name, numbers in evidence.items()}
        return {self.output: candidates[:, 0], "candidates": candidates, **outputs}, evidence


def split_sentences(texts) -> tf.RaggedTensor:
    """Splits texts, string[batch], into sentences, string[batch, (sentences)]: at least one, which may be empty."""
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
    texts = tf.strings.regex_replace(tf.strings.strip(texts), ABBREVIATION, rf"\1.{NO_END}")
    texts = tf.strings.regex_replace(texts, LINE_END, "\n")
    texts = tf.strings.regex_replace(texts, SENTENCE_END, r"\1" + "\n" + r"\2")
    return tf.strings.split(tf.strings.regex_replace(texts, NO_END, " "), "\n")

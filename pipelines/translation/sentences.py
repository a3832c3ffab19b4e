"""Texts of several sentences: each is translated by itself, and the translations are joined again."""

from collections.abc import Callable

import tensorflow as tf

from pipelines.common.serving.decoder import Decoder

# A sentence ends at its punctuation, closing quotation marks included, if white space and a capital letter follow. RE2
# has no look-ahead: what follows is kept by a group.
SENTENCE_END = r"([.!?…](?:[\s\x{a0}\x{202f}]?»)?[\"'”’“»)\]]*)\s+([\"'“‘„«‹¿¡(\[]*\p{Lu})"
LINE_END = r"\s*[\r\n]\s*"
ABBREVIATION = (
    r"\b(Dr|Hr|Fr|Mr|Mrs|Ms|Prof|St|Nr|No|Mme|Mlle|bzw|ca|evtl|inkl|\p{Lu}|\p{N}+)\.\s+"  # titles, initials, ordinals
)
NO_END = "\x01"  # in place of the white space behind an abbreviation


def split_sentences(texts) -> tf.RaggedTensor:
    """Splits texts, string[batch], into sentences, string[batch, (sentences)]: at least one, which may be empty."""
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
    texts = tf.strings.regex_replace(tf.strings.strip(texts), ABBREVIATION, rf"\1.{NO_END}")
    texts = tf.strings.regex_replace(texts, LINE_END, "\n")
    texts = tf.strings.regex_replace(texts, SENTENCE_END, r"\1" + "\n" + r"\2")
    return tf.strings.split(tf.strings.regex_replace(texts, NO_END, " "), "\n")


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

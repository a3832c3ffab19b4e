"""Texts to token ids and back, for models that generate text, in core TensorFlow operations.

    "Two dogs."  ->  ▁Two ▁dogs .  ->  [57, 112, 5]  ->  "Two dogs."

Spaces are part of the tokens (MARK), so generated text needs no rules for typography.
"""

from collections.abc import Iterable
from typing import Literal

import tensorflow as tf

from layers.subwords import learn_subwords
from layers.text import (
    END,
    GENERATION,
    MARK,
    PADDING,
    START,
    UNKNOWN,
    Vocabulary,
    count_words,
    join_pieces,
    normalize,
    split_pieces,
)

LEVELS = ("word", "subword")
UNKNOWN_SHOWN = "⁇"  # U+2047


class Tokenizer(tf.Module):
    """string[batch] <-> int32[batch, (tokens)], by words or by subwords.

    The vocabulary file and the arguments are sufficient to restore a tokenizer.

    To continue training on other data, extend the vocabulary, `vocabulary.extend(learned_from_the_new_data)`: known
    tokens keep their ids. With subwords, a new one may be the longest match in a known word, which is then cut
    differently than before; the model learns the new cuts in the further training.

    Args:
        vocabulary: starts with GENERATION.
        level: a token is a "word" (a piece of `split_pieces`) or a "subword" (a part of a piece, by the longest match
            from the left).
        lower_case: convert to lower case.
        max_characters: maximum number of characters of a text; 0: no limit.
        max_tokens: maximum number of tokens of a text; 0: no limit.
        restore_case: read a piece in another case, in lower case or capitalized, if it then has fewer tokens, or is
            known: "HUND" as "Hund". A piece that is a known token remains as it is.

    Raises:
        ValueError: the vocabulary does not start with GENERATION, or the level is unknown.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        level: Literal["word", "subword"],
        lower_case: bool = False,
        max_characters: int = 0,
        max_tokens: int = 0,
        restore_case: bool = False,
    ):
        super().__init__(name="tokenizer")
        check_level(level)
        first = tuple(vocabulary.words[: len(GENERATION)])
        if first != GENERATION:
            raise ValueError(f"a tokenizer's vocabulary begins with {', '.join(GENERATION)}, but this one with {first}")
        self.vocabulary = vocabulary
        self.level = level
        self.lower_case = lower_case
        self.max_characters = max_characters
        self.max_tokens = max_tokens
        self.restore_case = restore_case

    def tokens(self, texts):
        """Returns the tokens as strings, including unknown ones.

        Args:
            texts: string[batch].

        Returns:
            (string[batch, (tokens)], bool[batch]: whether the text was truncated to max_characters or max_tokens).
        """
        pieces, cut = pieces_of(texts, lower_case=self.lower_case, max_characters=self.max_characters)
        tokens = self._tokens_of(pieces).merge_dims(1, 2)
        if self.max_tokens:
            cut |= tokens.row_lengths() > self.max_tokens
            tokens = tokens[:, : self.max_tokens]
        return tokens, cut

    def words(self, texts):
        """Returns the words of texts, string[batch, (words)], as they are written (the pieces of `split_pieces`), and
        the tokens of each, string[batch, (words), (tokens)], including unknown ones and those above max_tokens."""
        pieces, _ = pieces_of(texts, lower_case=self.lower_case, max_characters=self.max_characters)
        return pieces, self._tokens_of(pieces)

    def _tokens_of(self, pieces):
        """Returns the tokens of pieces, string[batch, (pieces)], as string[batch, (pieces), (tokens)]."""
        unique, index = tf.unique(pieces.flat_values)  # most pieces of a batch are repeated
        if self.restore_case:
            unique = self._with_restored_case(unique)
        if self.level == "subword":
            return pieces.with_flat_values(tf.gather(self._cut(unique), index))
        starts = tf.range(tf.size(index, tf.int64) + 1)  # one token each
        return pieces.with_flat_values(
            tf.RaggedTensor.from_row_splits(tf.gather(unique, index), starts, validate=False)
        )

    def _with_restored_case(self, pieces):
        """Returns pieces, string[pieces], each in the case that has the fewest tokens; see `restore_case`."""
        rows = tf.where(~self.vocabulary.is_known(pieces))
        given = tf.gather_nd(pieces, rows)
        cases = [given, tf.strings.lower(given, encoding="utf-8"), capitalized(given)]
        if self.level == "subword":
            counts = [self._cut(case).row_lengths() for case in cases]
        else:
            counts = [tf.cast(self.vocabulary(case) == UNKNOWN, tf.int64) for case in cases]
        best = tf.argmin(tf.stack(counts, axis=1), axis=1)  # the first of equal ones
        return tf.tensor_scatter_nd_update(pieces, rows, tf.gather(tf.stack(cases, axis=1), best, batch_dims=1))

    def _cut(self, pieces):
        """Cuts pieces, string[pieces], into subwords. A piece with an unknown part is cut in its other spelling."""
        subwords = cut_pieces(pieces, self.vocabulary)
        unknown = ~tf.reduce_all(self.vocabulary.is_known(subwords), axis=1)
        rows = tf.where(unknown)
        other, _ = self.vocabulary.other_spellings(tf.gather_nd(pieces, rows))
        pieces = tf.tensor_scatter_nd_update(pieces, rows, other)
        return tf.cond(tf.reduce_any(unknown), lambda: cut_pieces(pieces, self.vocabulary), lambda: subwords)

    def encode(self, texts):
        """string[batch] to (int32[batch, (tokens)] without START and END, bool[batch]: whether the text was cut)."""
        tokens, cut = self.tokens(texts)
        return self.vocabulary(tokens), cut

    def decode(self, ids, unknown=None):
        """Token ids, int32[..., time] (or ragged [batch, (time)]), to texts, string[...].

        Tokens after the first END are removed, as are PADDING and START. An unknown token is replaced by the one in
        `unknown`, string[..., time]; by default it is shown as "⁇". An id out of range is an error.
        """
        if isinstance(ids, tf.RaggedTensor):
            ids = ids.to_tensor(PADDING)
        ids = tf.convert_to_tensor(ids)
        over = tf.cumsum(tf.cast(ids == END, tf.int32), axis=-1) > 0
        tokens = self.vocabulary.to_words(ids)
        if unknown is None:
            unknown = MARK + UNKNOWN_SHOWN if self.level == "word" else UNKNOWN_SHOWN  # a subword's space is before it
        tokens = tf.where(ids == UNKNOWN, unknown, tokens)
        return join_pieces(tf.where(over | (ids == PADDING) | (ids == START), "", tokens))


def capitalized(pieces):
    """Returns pieces, string[pieces], with a capital first letter, and the others in lower case."""
    first = tf.where(tf.strings.regex_full_match(pieces, f"(?s){MARK}.*"), 2, 1)  # characters
    head = tf.strings.substr(pieces, tf.zeros_like(first), first, unit="UTF8_CHAR")
    size = tf.strings.length(pieces, unit="UTF8_CHAR")
    tail = tf.strings.substr(pieces, tf.minimum(first, size), size, unit="UTF8_CHAR")
    return tf.strings.join([tf.strings.upper(head, encoding="utf-8"), tf.strings.lower(tail, encoding="utf-8")])


def cut_pieces(pieces, vocabulary: Vocabulary) -> tf.RaggedTensor:
    """Cuts non-empty pieces, string[pieces], into subwords, string[pieces, (subwords)]; joined, they are the piece.

    Each subword is the longest in the vocabulary that the rest of the piece starts with; if there is none, it is one
    unknown character.
    """
    longest = max(map(len, vocabulary.words))
    lengths = tf.range(longest, 0, -1)[None]

    def cut_once(turn, rests, rows, subwords, owners):
        sizes = tf.strings.length(rests, unit="UTF8_CHAR")
        starts = tf.strings.substr(rests[:, None], tf.zeros_like(lengths), lengths, unit="UTF8_CHAR")
        known = vocabulary.is_known(starts)  # [rests, lengths]
        found = longest - tf.argmax(known, axis=1, output_type=tf.int32)
        taken = tf.minimum(tf.where(tf.reduce_any(known, axis=1), found, 1), sizes)
        subwords = subwords.write(turn, tf.strings.substr(rests, tf.zeros_like(taken), taken, unit="UTF8_CHAR"))
        owners = owners.write(turn, rows)
        rests = tf.strings.substr(rests, taken, sizes - taken, unit="UTF8_CHAR")
        more = taken < sizes
        return turn + 1, tf.boolean_mask(rests, more), tf.boolean_mask(rows, more), subwords, owners

    def turns(dtype):  # each turn cuts one subword off every unfinished piece
        return tf.TensorArray(dtype, 0, dynamic_size=True, infer_shape=False, element_shape=[None])

    count = tf.size(pieces, out_type=tf.int64)
    rows = tf.range(count)
    whole = vocabulary.is_known(pieces)  # most are; not searching for their parts saves half of the time
    subwords = turns(tf.string).write(0, tf.boolean_mask(pieces, whole))
    owners = turns(tf.int64).write(0, tf.boolean_mask(rows, whole))
    rests, rows = tf.boolean_mask(pieces, ~whole), tf.boolean_mask(rows, ~whole)
    _, _, _, subwords, owners = tf.while_loop(
        lambda turn, rests, *_: tf.size(rests) > 0, cut_once, (1, rests, rows, subwords, owners)
    )
    owners = owners.concat()
    order = tf.argsort(owners, stable=True)
    return tf.RaggedTensor.from_value_rowids(
        tf.gather(subwords.concat(), order), tf.gather(owners, order), nrows=count, validate=False
    )


def pieces_of(texts, *, lower_case: bool, max_characters: int):
    """string[batch] to (string[batch, (pieces)], bool[batch]: whether the text was truncated to max_characters)."""
    texts, cut = normalize(texts, lower_case=lower_case, html_breaks=False, max_characters=max_characters)
    return split_pieces(texts), cut


def learn_vocabulary(
    batches: Iterable,
    level: Literal["word", "subword"],
    size: int,
    min_count: int = 1,
    lower_case: bool = False,
    max_characters: int = 0,
) -> Vocabulary:
    """Returns the vocabulary of a Tokenizer, learned from texts.

    Args:
        batches: several texts at a time, string[batch].
        level, lower_case, max_characters: those of the Tokenizer.
        size: maximum number of tokens, including the reserved ones; for words 0 is no limit.
        min_count: less frequent tokens are unknown.

    Raises:
        ValueError: the level is unknown, or `size` is less than the number of characters that must be subwords.
    """
    check_level(level)
    pieces = tf.function(
        lambda texts: pieces_of(texts, lower_case=lower_case, max_characters=max_characters)[0].flat_values,
        reduce_retracing=True,
        autograph=False,
    )
    if level == "word":
        return Vocabulary.learn(map(pieces, batches), size=size, min_count=min_count, reserved=GENERATION)
    return Vocabulary(
        [*GENERATION, *learn_subwords(count_words(map(pieces, batches)), size - len(GENERATION), min_count)]
    )


def check_level(level: str):
    if level not in LEVELS:
        raise ValueError(f"level is {level!r}, expected one of {', '.join(LEVELS)}")

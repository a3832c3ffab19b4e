"""Strings to words, words to ids and ids to words, in core TensorFlow operations only.

All of it runs inside the graph, with the vocabulary in it. So training, evaluation and an exported SavedModel share one
preprocessing, and an export needs no other file. XLA cannot compile operations on strings: call them outside of
`jit_compile`.
"""

import collections
import functools
import pathlib
import unicodedata
from collections.abc import Iterable, Sequence

import tensorflow as tf

PADDING = 0
UNKNOWN = 1
START = 2
END = 3
RESERVED = ("<pad>", "<unk>")  # cannot occur in text: both ways to split separate the brackets
GENERATION = (*RESERVED, "<s>", "</s>")  # the first words of a vocabulary whose ids are generated, not only read
MARK = "▁"  # U+2581, at the start of a piece that follows a space

# Unicode classes in RE2: L letters, M combining marks, N numbers, Cc control characters, Cf format characters.
BREAK = r"(?i)<br\s*/?>"
SPACE = r"[\p{Cc}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]"
INVISIBLE = r"\p{Cf}+"
UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
WITHOUT_SPACES = rf"([{UNSPACED}]\pM*)"
SYMBOL = r"([^\pL\pM\pN' ])"
SPACES = rf"(?: |{SPACE})+"
ALONE = rf"({MARK}?(?:[^\pL\pM\pN{MARK} ]|[{UNSPACED}])\pM*)"
INNER_APOSTROPHE = r"([\pL\pM\pN]) (['’]) ([\pL\pM\pN])"
LONG = r"([^ ]{100})"
APOSTROPHES = "['’ʼ]"
SPELT_OTHERWISE = rf"(?s).*(?:\pM|[\x{{1160}}-\x{{11ff}}]|{APOSTROPHES}).*"  # combining marks, Hangul vowels
LAST_COMPOSED = 0x1193F  # no later character is composed of two
COMPOSING_PASSES = 3  # a character decomposes into at most four


def normalize(texts, lower_case: bool = True, html_breaks: bool = True, max_characters: int = 0):
    """Returns cleaned texts, ready to be split.

    Args:
        texts: string[batch], UTF-8; each invalid byte becomes U+FFFD.
        lower_case: convert to lower case, in every script that has it.
        html_breaks: replace the tag `<br />` by a space.
        max_characters: truncate each text to this many characters; 0: never.

    Returns:
        (string[batch] in valid UTF-8, bool[batch]: whether the text was truncated).
    """
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
    cut = tf.zeros_like(texts, tf.bool)
    if max_characters:
        cut = tf.strings.length(texts, unit="UTF8_CHAR") > max_characters
        texts = tf.strings.substr(texts, 0, max_characters, unit="UTF8_CHAR")
    if html_breaks:
        texts = tf.strings.regex_replace(texts, BREAK, " ")
    if lower_case:
        texts = tf.strings.lower(texts, encoding="utf-8")
    return texts, cut


def split_words(texts) -> tf.RaggedTensor:
    """Splits normalized texts, string[batch], into words, string[batch, (words)].

    Letters, marks and digits form words; an apostrophe inside a word (don't), typographic or not, is part of it; any
    other symbol is a word of its own. In scripts without spaces between words, each character is a word.
    """
    texts = tf.strings.regex_replace(texts, SPACE, " ")
    texts = tf.strings.regex_replace(texts, INVISIBLE, "")
    texts = tf.strings.regex_replace(texts, "’", "'")
    texts = tf.strings.regex_replace(texts, SYMBOL, r" \1 ")
    texts = tf.strings.regex_replace(texts, WITHOUT_SPACES, r" \1 ")
    texts = tf.strings.join([" ", texts, " "])
    texts = tf.strings.regex_replace(texts, r" ('+)", r" \1 ")  # an apostrophe at the edge of a word is a quote
    texts = tf.strings.regex_replace(texts, r"('+) ", r" \1 ")
    return tf.strings.split(texts)


def split_pieces(texts) -> tf.RaggedTensor:
    """Splits normalized texts, string[batch], into pieces, string[batch, (pieces)], which `join_pieces` reverses.

    The words are those of `split_words`, but no character is changed; an apostrophe at the edge of a word is a piece
    like any other symbol, and combining marks stay with their symbol. A piece at the start or after a space begins with
    MARK. Joining restores everything but white space (including control characters): each run of it becomes one space,
    and it is removed at the ends. A MARK in the text becomes `_`. A piece longer than 100 characters is cut.
    """
    texts = tf.strings.regex_replace(texts, MARK, "_")
    texts = tf.strings.regex_replace(tf.strings.join([" ", texts]), SPACES, " ")
    texts = tf.strings.regex_replace(texts, " $", "")
    texts = tf.strings.regex_replace(texts, " ", f" {MARK}")
    texts = tf.strings.regex_replace(texts, ALONE, r" \1 ")
    # an apostrophe inside a word now has one space on either side, one next to another symbol has two
    texts = tf.strings.regex_replace(texts, INNER_APOSTROPHE, r"\1\2\3")
    texts = tf.strings.regex_replace(texts, INNER_APOSTROPHE, r"\1\2\3")  # rock'n'roll: matches do not overlap
    texts = tf.strings.regex_replace(texts, LONG, r"\1 ")
    return tf.strings.split(texts)


def join_pieces(pieces):
    """Pieces, string[..., pieces] (or ragged), to texts, string[...]: inner MARKs become spaces."""
    return tf.strings.strip(tf.strings.regex_replace(tf.strings.reduce_join(pieces, axis=-1), MARK, " "))


def count_words(batches: Iterable) -> collections.Counter[str]:
    """Returns the count of each word; `batches` yields the words of several texts at a time, string[words]."""
    counts: collections.Counter[str] = collections.Counter()
    for batch in batches:
        unique, _, times = tf.unique_with_counts(batch)  # ten times faster than counting Python objects
        for word, count in zip(unique.numpy().tolist(), times.numpy().tolist(), strict=True):
            counts[word.decode()] += count
    return counts


class Vocabulary(tf.Module):
    """A two-way table of words and ids: 0 is padding, 1 an unknown word, and `words[n]` has the id n.

    A word that is unknown as it is spelt has the id of its other spelling, if that is known: composed (NFC), and with a
    straight or a typographic apostrophe.

    Args:
        words: the words in the order of their ids, starting with RESERVED, without duplicates.

    Raises:
        ValueError: a word is empty or occurs twice, or the reserved words do not come first.
    """

    def __init__(self, words: Sequence[str]):
        super().__init__(name="vocabulary")
        words = tuple(words)
        if words[: len(RESERVED)] != RESERVED:
            raise ValueError(f"a vocabulary begins with {', '.join(RESERVED)}, but this one with {words[:2]}")
        seen = set()
        for number, word in enumerate(words, start=1):
            if not word or word in seen:
                raise ValueError(f"word {number} of the vocabulary, {word!r}, is {'there twice' if word else 'empty'}")
            seen.add(word)
        self.words = list(words)
        keys = tf.constant([word.encode() for word in words])
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(keys, tf.range(len(words), dtype=tf.int32)), default_value=UNKNOWN
        )
        self.by_id = keys  # string[size]
        self.compose = Composition()
        straight, typographic = (sum(each in word for word in words) for each in "'’")
        self.apostrophes = "'’" if straight >= typographic else "’'"

    @classmethod
    def learn(
        cls, batches: Iterable, size: int = 0, min_count: int = 1, reserved: Sequence[str] = RESERVED
    ) -> "Vocabulary":
        """Returns the vocabulary of the most frequent words, ties in alphabetical order.

        Args:
            batches: the words of several texts at a time, string[words].
            size: maximum number of ids, including the reserved ones; 0: no limit.
            min_count: less frequent words are unknown.
            reserved: the words of the first ids: RESERVED, or GENERATION.
        """
        counts = count_words(batches)
        known = sorted((word for word, count in counts.items() if count >= min_count), key=lambda w: (-counts[w], w))
        words = [word for word in known if word not in reserved]
        return cls([*reserved, *words[: size - len(reserved) if size else None]])

    def extend(self, other: "Vocabulary") -> "Vocabulary":
        """Returns this vocabulary followed by the words of `other` that it lacks: known words keep their ids."""
        known = set(self.words)
        return Vocabulary([*self.words, *(word for word in other.words if word not in known)])

    @classmethod
    def load(cls, path) -> "Vocabulary":
        """Reads a text file with one word per line: line n has the word of id n - 1.

        Raises:
            ValueError: the file is not UTF-8 or not a vocabulary.
        """
        words = pathlib.Path(path).read_bytes().decode().split("\n")
        return cls(words[:-1] if words[-1] == "" else words)

    def to_text(self) -> str:
        """The content of the file that `load` reads."""
        return "".join(word + "\n" for word in self.words)

    def __len__(self) -> int:
        return len(self.words)

    def __call__(self, words):
        """Words to ids: string[...] (dense or ragged) to int32[...]; unknown words become UNKNOWN."""
        if isinstance(words, tf.RaggedTensor):
            return words.with_flat_values(self(words.flat_values))
        flat = tf.reshape(words, [-1])
        ids = self.table.lookup(flat)
        unknown = tf.where((ids == UNKNOWN) & tf.strings.regex_full_match(flat, SPELT_OTHERWISE))
        spellings = self.other_spellings(tf.gather_nd(flat, unknown))
        found = [self.table.lookup(each) for each in spellings]
        found = tf.where(found[0] == UNKNOWN, found[1], found[0])
        ids = tf.tensor_scatter_nd_update(ids, unknown, found)
        return tf.ensure_shape(tf.reshape(ids, tf.shape(words)), tf.convert_to_tensor(words).shape)

    def is_known(self, words):
        """Returns whether words are known exactly as they are spelt: string[...] (dense or ragged) to bool[...]."""
        if isinstance(words, tf.RaggedTensor):
            return words.with_flat_values(self.is_known(words.flat_values))
        return self.table.lookup(words) != UNKNOWN

    def other_spellings(self, words) -> list:
        """Returns words composed (NFC), with each apostrophe of "'’" in turn, that of the vocabulary first."""
        words = self.compose(words)
        return [tf.strings.regex_replace(words, APOSTROPHES, apostrophe) for apostrophe in self.apostrophes]

    def to_words(self, ids):
        """Ids to words: int32[...] (dense or ragged) to string[...]; an id out of range is an error."""
        return tf.gather(self.by_id, ids)


def pad(ids: tf.RaggedTensor):
    """int32[batch, (time)] to int32[batch, time], filled with PADDING; at least one step, which layers need."""
    longest = tf.maximum(tf.reduce_max(tf.concat([[0], tf.cast(ids.row_lengths(), tf.int32)], axis=0)), 1)
    return ids.to_tensor(PADDING, shape=tf.stack([-1, longest]))


@functools.cache
def composed_pairs() -> dict[int, int]:
    """Returns the character that each pair is composed to, by `pair_key` of the pair; without Hangul."""
    found = {}
    for code in range(0xC0, LAST_COMPOSED):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and parts[0][0] != "<" and unicodedata.normalize("NFC", chr(code)) == chr(code):
            found[pair_key(*(int(part, 16) for part in parts))] = code
    return found


def pair_key(first, second):
    return first * 2**21 + second


class Composition(tf.Module):
    """Composes characters, such as "e" and a combining acute accent to "é": string[words] in NFD or NFC -> NFC."""

    def __init__(self):
        super().__init__(name="composition")
        pairs = composed_pairs()
        keys, values = (tf.constant(list(each), tf.int64) for each in (pairs.keys(), pairs.values()))
        self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), default_value=0)

    def __call__(self, words):
        characters = tf.strings.unicode_decode(words, "UTF-8")
        values, rows = tf.cast(characters.values, tf.int64), characters.value_rowids()
        for _ in range(COMPOSING_PASSES):
            following = tf.concat([values[1:], [0]], axis=0)[: tf.size(values)]
            same_word = rows == tf.concat([rows[1:], [-1]], axis=0)[: tf.size(rows)]
            pairs = pair_key(values, following)
            composed = tf.where(same_word, self.table.lookup(pairs) + hangul(values, following), 0)
            kept = tf.concat([[True], composed[:-1] == 0], axis=0)[: tf.size(values)]
            values = tf.boolean_mask(tf.where(composed > 0, composed, values), kept)
            rows = tf.boolean_mask(rows, kept)
        characters = tf.RaggedTensor.from_value_rowids(tf.cast(values, tf.int32), rows, nrows=characters.nrows())
        return tf.strings.unicode_encode(characters, "UTF-8")


def hangul(first, second):
    """Returns the Hangul syllable that two characters are composed to, or 0: leading consonants begin at U+1100, vowels
    at U+1161, trailing consonants after U+11A7, syllables at U+AC00."""
    lead, vowel, syllable, trail = first - 0x1100, second - 0x1161, first - 0xAC00, second - 0x11A7
    open_syllable = (lead >= 0) & (lead < 19) & (vowel >= 0) & (vowel < 21)
    closed = (syllable >= 0) & (syllable < 19 * 21 * 28) & (syllable % 28 == 0) & (trail > 0) & (trail < 28)
    zero = tf.zeros_like(first)
    return tf.where(open_syllable, 0xAC00 + (lead * 21 + vowel) * 28, zero) + tf.where(closed, first + trail, zero)

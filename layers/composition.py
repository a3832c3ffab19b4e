"""Canonical composition of Unicode in core TensorFlow operations: "e" and a combining acute accent become "é"."""

import functools
import unicodedata

import tensorflow as tf

LAST = 0x1193F  # no later character is composed of two
PASSES = 3  # a character decomposes into at most four


@functools.cache
def pairs() -> dict[int, int]:
    """Returns the character that each pair is composed to, by `key` of the pair; without Hangul."""
    found = {}
    for code in range(0xC0, LAST):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and parts[0][0] != "<" and unicodedata.normalize("NFC", chr(code)) == chr(code):
            found[key(*(int(part, 16) for part in parts))] = code
    return found


def key(first, second):
    return first * 2**21 + second


class Composition(tf.Module):
    """string[words] -> string[words] in the form NFC, if they are in NFD (or in NFC)."""

    def __init__(self):
        super().__init__(name="composition")
        keys, values = (tf.constant(list(each), tf.int64) for each in (pairs().keys(), pairs().values()))
        self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), default_value=0)

    def __call__(self, words):
        characters = tf.strings.unicode_decode(words, "UTF-8")
        values, rows = tf.cast(characters.values, tf.int64), characters.value_rowids()
        for _ in range(PASSES):
            following = tf.concat([values[1:], [0]], axis=0)[: tf.size(values)]
            same_word = rows == tf.concat([rows[1:], [-1]], axis=0)[: tf.size(rows)]
            composed = tf.where(same_word, self.table.lookup(key(values, following)) + hangul(values, following), 0)
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

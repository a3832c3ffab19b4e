"""What a source says about itself: which of its words, and pairs of neighbouring words, training has never seen."""

import pathlib
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from layers.bloom import BloomFilter
from layers.text import MARK, UNKNOWN
from layers.tokenizer import Tokenizer
from pipelines.common.confidence import FILE
from pipelines.common.errors import UserError
from pipelines.common.files import atomic_write

SEEN_FILE = "seen_words.npy"  # of a run
MAX_SENTENCES = 200_000  # of training, whose words and pairs are stored
MANY_TOKENS = 3  # of a word that is unknown unless training has seen it
BETWEEN = "\x02"  # the words of a pair


class SourceWords(tf.Module):
    """Examines sources: see `__call__`.

    Args:
        tokenizer: of the source.
        seen: the words and pairs of training, see `learn_seen`. None: they are not known.
    """

    def __init__(self, tokenizer: Tokenizer, seen: BloomFilter | None):
        super().__init__(name="source_words")
        self.tokenizer, self.seen = tokenizer, seen

    def __call__(self, source) -> tuple[dict, dict]:
        """Examines string[batch].

        Returns:
            Evidence for a `Confidence`, float32[batch] each, none without `seen`: unseen_words and unseen_pairs, the
            shares of words and of pairs of neighbours that training has not seen; log_words, the logarithm of the
            number of words plus one.

            `unknown` string[batch, words], then "": the words with a token outside the vocabulary; with `seen`, also
            those that training has not seen and that have MANY_TOKENS or more.
        """
        words, tokens = self.tokenizer.words(source)
        outside = words.with_flat_values(tf.reduce_any(self.tokenizer.vocabulary(tokens.values) == UNKNOWN, axis=1))
        if self.seen is None:
            return {}, {"unknown": chosen(words, outside)}
        keys = self.keys(words)
        new = ~self.seen(keys).flat_values
        many = tokens.values.row_lengths() >= MANY_TOKENS
        unknown = words.with_flat_values(outside.flat_values | (new & many))
        evidence = {
            "unseen_words": share(words.with_flat_values(new)),
            "unseen_pairs": share(self.seen(pairs_of(keys)), of=False),
            "log_words": tf.math.log(tf.cast(words.row_lengths(), tf.float32) + 1),
        }
        return evidence, {"unknown": chosen(words, unknown)}

    def keys(self, words):
        """Returns words as they are stored: in lower case and one spelling, without the MARK of a space."""
        flat = tf.strings.regex_replace(words.flat_values, MARK, "")
        flat, _ = self.tokenizer.vocabulary.other_spellings(flat)
        return words.with_flat_values(tf.strings.lower(flat, encoding="utf-8"))

    def learn_seen(self, batches: Iterable) -> BloomFilter:
        """Returns the words and pairs of batches of training sources, string[batch], added to those that are seen."""

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
        def strings_of(source):
            keys = self.keys(self.tokenizer.words(source)[0])
            return tf.unique(tf.concat([keys.flat_values, pairs_of(keys).flat_values], axis=0)).y

        found: set[bytes] = set()
        for batch in batches:
            found.update(strings_of(batch).numpy().tolist())
        strings = sorted(found)
        return self.seen.with_strings(strings) if self.seen else BloomFilter.of(strings)


def save_seen(run: pathlib.Path, seen: BloomFilter):
    """Writes the file into the folder of a run."""
    with atomic_write(run / SEEN_FILE, "wb") as file:
        np.save(file, seen.table, allow_pickle=False)


def load_seen(run: pathlib.Path) -> BloomFilter | None:
    """Returns the words that the training of the run in a folder has seen; None if there is no file. Raises UserError
    for a damaged file."""
    path = run / SEEN_FILE
    if not path.is_file():
        return None
    try:
        return BloomFilter(np.load(path, allow_pickle=False))
    except (ValueError, EOFError) as error:
        raise UserError(
            f"{path} is damaged: expected an array of bytes; delete it and {FILE}, and evaluate makes new ones"
        ) from error


def pairs_of(words):
    """Returns the pairs of neighbours, string[batch, (pairs)], of string[batch, (words)]."""
    first, second = words[:, :-1], words[:, 1:]
    return first.with_flat_values(tf.strings.join([first.flat_values, second.flat_values], separator=BETWEEN))


def share(flags, of: bool = True):
    """Returns the share of flags, bool[batch, (words)], that are `of`, float32[batch]; 0 where there is none."""
    found = flags.with_flat_values(tf.cast(flags.flat_values == of, tf.float32))
    return tf.math.divide_no_nan(tf.reduce_sum(found, axis=1), tf.cast(flags.row_lengths(), tf.float32))


def chosen(words, flags):
    """Returns the words whose flag is set, without the MARK of a space: string[batch, most of them], then ""."""
    shown = words.with_flat_values(tf.strings.regex_replace(words.flat_values, MARK, ""))
    return tf.ragged.boolean_mask(shown, flags).to_tensor("")

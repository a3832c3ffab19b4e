"""A set of strings in a few bits each, inside the graph: which words and word pairs occurred in a training text.

Bloom, "Space/time trade-offs in hash coding with allowable errors", 1970. A string sets k bits, at the places

    (h1 + i h2) mod m        for i = 0 … k - 1        (Kirsch and Mitzenmacher 2006, "Less hashing, same performance")

and is found if all of them are set. A string of the set is always found. Another one is found with a probability of
about (1 - exp(-k n / m))^k, for n strings in m bits: 2 % with 8 bits for each string and k = 5.
"""

import numpy as np
import tensorflow as tf

BITS_PER_STRING = 8
HASHES = 5
LARGEST = 2**31  # of a hash


class BloomFilter(tf.Module):
    """A set of strings, which finds 2 % of other strings as well.

    Args:
        table: uint8[bytes], eight bits each, the lowest first, such as the attribute `table` of another filter.

    Raises:
        ValueError: The table is not uint8[bytes], or it is empty.
    """

    def __init__(self, table: np.ndarray):
        super().__init__(name="bloom_filter")
        if table.dtype != np.uint8 or table.ndim != 1 or not len(table):
            raise ValueError(f"the table is {table.dtype}{list(table.shape)}, expected uint8[bytes]")
        self.table = table
        self.bytes = tf.constant(table)

    @classmethod
    def of(cls, strings) -> "BloomFilter":
        """Returns the filter of string[strings]."""
        strings = tf.unique(tf.reshape(strings, [-1])).y
        return cls(np.zeros(max(BITS_PER_STRING * len(strings) // 8, 8), np.uint8)).with_strings(strings)

    def with_strings(self, strings) -> "BloomFilter":
        """Returns a filter of the same size that has string[strings] as well."""
        bits = np.unpackbits(self.table, bitorder="little")
        bits[self._places(strings).numpy().ravel()] = 1
        return BloomFilter(np.packbits(bits, bitorder="little"))

    def __call__(self, strings):
        """Returns whether the set has each string: string[...] (dense or ragged) to bool[...]."""
        if isinstance(strings, tf.RaggedTensor):
            return strings.with_flat_values(self(strings.flat_values))
        places = self._places(strings)
        bits = tf.bitwise.right_shift(tf.gather(self.bytes, places // 8), tf.cast(places % 8, tf.uint8))
        return tf.reduce_all(tf.bitwise.bitwise_and(bits, tf.constant(1, tf.uint8)) == 1, axis=-1)

    def _places(self, strings):
        """Returns the places of the bits, int64[..., HASHES]."""
        first, second = (
            tf.strings.to_hash_bucket_fast(tf.strings.join([strings, salt]), LARGEST)[..., tf.newaxis]
            for salt in ("", "\x01")
        )
        return (first + tf.range(HASHES, dtype=tf.int64) * second) % (8 * len(self.table))

"""The softmax over the words of a vocabulary, at the end of every network that writes."""

import keras
import numpy as np
import tensorflow as tf

from layers.text import END


class WordSoftmax(keras.layers.Layer):
    """z = W x + b, the logits of all words, in float32 whatever the precision of the layers below: a softmax over many
    words needs it.

    `kernel` and `bias` are for a loss that never makes all logits at once, see `layers.losses`.

    Args:
        words: number of words.
        embedding: ties W to the word vectors of an Embedding, one row a word, so that x must be as wide as they are
            (Press & Wolf 2017, "Using the output embedding to improve language models"); None: W is its own.
        kernel_initializer: of a W of its own.
    """

    def __init__(
        self,
        words: int,
        embedding: keras.layers.Embedding | None = None,
        *,
        kernel_initializer="glorot_uniform",
        name="softmax",
        **kwargs,
    ):
        super().__init__(dtype="float32", name=name, **kwargs)
        self.words, self.embedding = words, embedding
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        self.own_kernel = None
        if self.embedding is None:
            self.own_kernel = self.add_weight(
                shape=(self.words, input_shape[-1]), initializer=self.kernel_initializer, name="softmax_kernel"
            )
        self.bias = self.add_weight(shape=(self.words,), initializer="zeros", name="softmax_bias")

    @property
    def kernel(self):
        """W, float32[words, width]: a row for every word, as in an embedding."""
        return tf.convert_to_tensor(self.own_kernel if self.embedding is None else self.embedding.embeddings)

    def begin_with(self, ids, texts: int):
        """Sets b to the log of each word's share of all words, so that a network that knows nothing yet, x = 0, gives
        the frequencies of the words. Otherwise its first updates make a constant of x to say them: gradients that are
        all alike drive an LSTM's units to +-1, where it hardly learns any more.

        Args:
            ids: int[n], the words of the texts to be written, one after the other.
            texts: how many texts these are; each ends with END, which `ids` does not have.
        """
        counts = np.bincount(ids, minlength=self.words) + 1.0  # a word that the texts lack may come all the same
        counts[END] += texts
        self.bias.assign(np.log(counts / counts.sum()).astype(np.float32))

    def call(self, x):
        """float[..., width] -> float32[..., words]."""
        return tf.matmul(x, self.kernel, transpose_b=True) + self.bias

"""The softmax over a vocabulary, the last layer of every network that generates text."""

import keras
import numpy as np
import tensorflow as tf

from layers.text import END


class WordSoftmax(keras.layers.Layer):
    """Returns the logits of all words, z = W x + b, in float32 for any precision of the layers below, as a softmax over
    many words needs.

    `kernel` and `bias` are for the losses in `layers.losses`, which never compute all logits at once.

    Args:
        words: number of words.
        embedding: ties W to the word vectors of this Embedding, one row per word, which x must be as wide as
            (Press & Wolf 2017, "Using the output embedding to improve language models"); None: W is
            a weight of this layer.
        kernel_initializer: of W, if it is not tied.
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
        """W, float32[words, width]: one row per word, as in an embedding."""
        return tf.convert_to_tensor(self.own_kernel if self.embedding is None else self.embedding.embeddings)

    def initialize_bias(self, ids, texts: int):
        """Sets b to the log frequency of each word, so that an untrained network, with x = 0, predicts the frequencies.

        Otherwise the first updates teach x a constant that predicts them: all gradients then point the same way and
        drive the units of an LSTM to +-1, where they hardly learn any more.

        Args:
            ids: int[n], the words of the training texts, concatenated; or an iterable of such arrays, for more of them
                than fit into memory.
            texts: number of these texts; each is followed by END, which `ids` does not contain.
        """
        counts = np.ones(self.words)  # words that the texts lack are possible, too
        for part in [ids] if isinstance(ids, np.ndarray) else ids:
            counts += np.bincount(part, minlength=self.words)
        counts[END] += texts
        self.bias.assign(np.log(counts / counts.sum()).astype(np.float32))

    def call(self, x):
        """float[..., width] -> float32[..., words]."""
        return tf.matmul(x, self.kernel, transpose_b=True) + self.bias

"""Encoder-decoder of recurrent layers (Sutskever et al. 2014, "Sequence to sequence learning with neural networks").

    source ids -> (reversed) -> embeddings -> encoder layers 1 … N -> final state of every layer
                                                                             |
    target ids -> embeddings (and context) -> decoder layers 1 … N, starting from these states -> (readout) -> softmax

With attention, the decoder also computes a context c at every time step, a weighted mean of the outputs of the encoder
(`layers/recurrent_decoder.py`). A dense layer before the softmax, the readout, combines the output h of the last
decoder layer, c and the embedding e of the previous token: tanh(W [h, c, e] + b). (Luong et al. 2015: tanh(W [c, h]).)

The decoder runs in two ways. `decode` runs it over a whole given sequence of tokens: in training, with teacher forcing.
`step` runs it for one token: in greedy search, sampling and beam search, which choose the next token.
"""

import dataclasses

import keras
import tensorflow as tf

from layers.attention import Attention
from layers.bloom import BloomFilter
from layers.cells import CELLS
from layers.pooling import pool_over_time
from layers.recurrent_decoder import RecurrentDecoder
from layers.text import PADDING, UNKNOWN
from layers.word_softmax import WordSoftmax
from pipelines.common import confidence
from pipelines.common.confidence import Confidence
from pipelines.common.config import from_json
from pipelines.common.runs import Run
from pipelines.common.seeds import Seeds
from pipelines.translation import source_words
from pipelines.translation.config import Config
from pipelines.translation.preprocessing import Preprocessing, load_vocabularies


@keras.saving.register_keras_serializable(package="unfold")
class TranslationModel(keras.Model):
    """Encoder-decoder of recurrent layers, see the top of this file.

    A sentence is a row of token ids, with PADDING (id 0) behind its last token.

    Args:
        source_vocabulary, target_vocabulary: Vocabulary sizes.
        cell: "lstm" or "rnn".
        layers: Number of encoder layers, which is also that of decoder layers.
        units: Units of each layer.
        embedding_units: Size of the token embeddings.
        reverse: Read the source backwards.
        bidirectional: Read the source in both directions, with half of the units for each direction.
        residual: Add a layer's input to its output, from the second layer on (He et al. 2016; Wu et al. 2016).
        context: A vector that the decoder and the readout read at every time step, besides the previous token (Cho et
            al. 2014, "Learning phrase representations using RNN encoder-decoder"): the "last", "mean" or "max" of the
            outputs of the encoder over time; or "none".
        attention: The score of `layers.attention.Attention`, "dot", "general" or "additive"; or "none".
        attention_input: Feed the attention's context into the first decoder layer at the next time step, see
            `layers/recurrent_decoder.py`.
        tied: Use the target embeddings as the weights of the softmax (Press & Wolf 2017).
        dropout: Fraction of the units to drop between layers and before the softmax.
        embedding_dropout: Fraction of each token embedding to drop.
        recurrent_dropout: Fraction of the hidden state to drop before a layer reads it, one mask per sentence.
        variational: Drop the same units at every time step of a sentence (Gal and Ghahramani 2016).
        word_dropout: Fraction of the decoder's input tokens to replace by UNKNOWN in training (Bowman et al. 2016).
        initial_range: Draw all initial weights, except the biases of dense layers, from the uniform distribution from
            -initial_range to initial_range. 0: embeddings are normally distributed, kernels Glorot uniform, recurrent
            kernels orthogonal.
        seed: Makes initial weights and dropout reproducible.
    """

    def __init__(
        self,
        *,
        source_vocabulary: int,
        target_vocabulary: int,
        cell: str = "lstm",
        layers: int = 4,
        units: int = 256,
        embedding_units: int = 256,
        reverse: bool = True,
        bidirectional: bool = False,
        residual: bool = False,
        context: str = "none",
        attention: str = "none",
        attention_input: bool = False,
        tied: bool = False,
        dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        variational: bool = False,
        word_dropout: float = 0.0,
        initial_range: float = 0.0,
        seed: int | None = None,
        **kwargs,
    ):
        arguments = {name: value for name, value in locals().items() if name not in ("self", "kwargs", "__class__")}
        super().__init__(**kwargs)
        if context not in ("none", "last", "mean", "max"):
            raise ValueError(f"context is {context!r}, expected 'none', 'last', 'mean' or 'max'")
        if attention != "none" and context != "none":
            raise ValueError(f"context is {context!r}, expected 'none' with attention")
        self.arguments = arguments
        self.reverse, self.residual, self.context = reverse, residual, context
        seeds = Seeds(seed)

        def initializer(kind=None, **options):
            if initial_range:
                return keras.initializers.RandomUniform(-initial_range, initial_range, seed=seeds())
            return kind(seed=seeds(), **options)

        def kernel_initializer():
            return initializer(keras.initializers.GlorotUniform)

        def embedding(tokens, name):
            normal = initializer(keras.initializers.RandomNormal, stddev=embedding_units**-0.5)
            return keras.layers.Embedding(tokens, embedding_units, embeddings_initializer=normal, name=name)

        def recurrent(width, name, **options):
            if initial_range:  # Sutskever et al. draw the biases as well, that of the forget gate included
                options["bias_initializer"] = initializer()
                if cell == "lstm":
                    options["unit_forget_bias"] = False
            return CELLS[cell](
                width,
                return_sequences=True,
                return_state=True,
                kernel_initializer=kernel_initializer(),
                recurrent_initializer=initializer(keras.initializers.Orthogonal),
                recurrent_dropout=recurrent_dropout,
                seed=seeds() if recurrent_dropout else None,
                name=name,
                **options,
            )

        def dense(width, name, **options):
            return keras.layers.Dense(width, kernel_initializer=kernel_initializer(), name=name, **options)

        def drop(rate, name):
            shape = (None, 1, None) if variational else None  # one mask for all time steps
            return keras.layers.Dropout(rate, noise_shape=shape, seed=seeds(), name=name)

        numbers = range(1, layers + 1)
        self.source_embedding = embedding(source_vocabulary, "source_embedding")
        self.target_embedding = embedding(target_vocabulary, "target_embedding")
        self.source_dropout = drop(embedding_dropout, "source_dropout")
        self.target_dropout = drop(embedding_dropout, "target_dropout")
        width = units // 2 if bidirectional else units
        self.encoder = [recurrent(width, f"encoder_{n}") for n in numbers]
        self.backward = [recurrent(width, f"backward_{n}", go_backwards=True) for n in numbers if bidirectional]
        states = 2 if cell == "lstm" else 1  # h and c, or h
        # For each layer and state: from the final states of both directions to the initial state of the decoder.
        self.bridges = [[dense(units, f"bridge_{n}_{s}") for s in range(states)] for n in numbers if bidirectional]
        self.encoder_dropouts = [drop(dropout, f"encoder_dropout_{n}") for n in numbers]
        self.decoder = [recurrent(units, f"decoder_{n}") for n in numbers]
        # With attention, the dropout behind the last layer is behind the readout instead.
        rates = [dropout if n < layers or attention == "none" else 0.0 for n in numbers]
        self.decoder_dropouts = [drop(rate, f"decoder_dropout_{n}") for n, rate in zip(numbers, rates, strict=True)]
        self.attention = None
        if attention != "none":
            self.readout_dropout = drop(dropout, "readout_dropout")
            self.attention = Attention(attention, units, initializer=kernel_initializer, name="attention")
        # With attention or a context the readout combines it with h and e, without tanh in the second case (Cho et al.
        # 2014). It also makes h as wide as the embeddings for a tied softmax.
        self.readout = None
        if self.attention:
            self.readout = dense(embedding_units if tied else units, "readout", activation="tanh")
        elif context != "none" or (tied and units != embedding_units):
            self.readout = dense(embedding_units, "readout")
        self.readout_width = self.readout.units if self.readout else units
        self.word_dropout = word_dropout
        self.random = keras.random.SeedGenerator(seeds())
        self.recurrent_decoder = RecurrentDecoder(
            self.decoder,
            self.decoder_dropouts,
            residual=residual,
            attend=self.attention,
            attention_input=attention_input,
        )
        embedding_of_softmax = self.target_embedding if tied else None
        self.softmax = WordSoftmax(target_vocabulary, embedding_of_softmax, kernel_initializer=kernel_initializer())

    def build(self, input_shape=None):
        if self.built:
            return
        # The number of batches of training with scheduled sampling, whose probability depends on it.
        self.sampled_batches = self.add_weight(
            shape=(), initializer="zeros", dtype="int32", trainable=False, name="batches_trained_on"
        )
        self.built = True

    def encode(self, source, training=False) -> dict:
        """Encodes source sentences, int32[batch, time]; returns the initial state of the decoder.

        It is a state of `RecurrentDecoder`: the final states of all encoder layers, and the context or the memory of
        the attention, if there is one.
        """
        mask = source != PADDING
        lengths = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
        if self.reverse:
            source = tf.reverse_sequence(source, lengths, seq_axis=1)
        x = self.source_dropout(self.source_embedding(source), training=training)
        states = []
        for number, layer in enumerate(self.encoder):
            y, *state = layer(x, mask=mask, training=training)
            if self.backward:
                y_backward, *state_backward = self.backward[number](x, mask=mask, training=training)
                y = tf.concat([y, tf.reverse(y_backward, [1])], axis=-1)
                both = [tf.concat(pair, axis=-1) for pair in zip(state, state_backward, strict=True)]
                state = [bridge(value) for bridge, value in zip(self.bridges[number], both, strict=True)]
            x = self.encoder_dropouts[number](y, training=training) + (x if self.residual and number else 0)
            states.append(state)
        if self.attention:
            if self.reverse:  # back to the order of the source, for the alignment
                x = tf.reverse_sequence(x, lengths, seq_axis=1)
            return self.recurrent_decoder.start(states, self.attention.memory(x, mask))
        if self.context == "none":
            return {"layers": states}
        return {"layers": states, "context": pool_over_time(x, mask, self.context)}

    def decode(self, tokens, state, training=False):
        """Runs the decoder over given tokens.

        Args:
            tokens: int32[batch, time], the inputs of the decoder: at each time step the token before the one to
                predict, first START. With teacher forcing they are those of the true sentence.
            state: what `encode` returned.

        Returns:
            The inputs of the softmax, float[batch, time, readout_width], and the `DecoderOutputs`.
        """
        if training and self.word_dropout:
            draws = keras.random.uniform(tf.shape(tokens), seed=self.random)
            tokens = tf.where((draws < self.word_dropout) & (tokens != PADDING), UNKNOWN, tokens)
        embeddings = self.target_dropout(self.target_embedding(tokens), training=training)
        decoded = self.recurrent_decoder.decode(embeddings, state, training)
        return self.apply_readout(decoded.h, decoded.context, embeddings, training), decoded

    def step(self, tokens, state):
        """Runs the decoder for one time step: the `step` of `layers.decoding`.

        Args:
            tokens: int32[rows], the previous tokens.
            state: what `encode` or the previous step returned, each tensor [rows, ...].

        Returns:
            (logits float32[rows, vocabulary], the new state).
        """
        embeddings = self.target_embedding(tokens)
        decoded, state = self.recurrent_decoder.advance(embeddings, state)
        return self.softmax(self.apply_readout(decoded.h, decoded.context, embeddings)), state

    def apply_readout(self, h, context, embeddings, training=False):
        """Returns the inputs of the softmax, float[..., readout_width], from h, c and e as at the top of this file."""
        if self.readout is None:
            return h
        outputs = self.readout(h if context is None else tf.concat([h, context, embeddings], axis=-1))
        return self.readout_dropout(outputs, training=training) if self.attention else outputs

    def call(self, inputs, training=False):
        """Returns logits float32[batch, steps, vocabulary] for `encode`'s source and `decode`'s tokens, a pair."""
        source, tokens = inputs
        return self.softmax(self.decode(tokens, self.encode(source, training), training)[0])

    def get_config(self):
        return {**super().get_config(), **self.arguments}


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained run. `confidence` is None if it was not fitted; `seen`, the words and pairs of words of the training
    sources, is None if they were not stored (see source_words.py)."""

    config: Config
    preprocessing: Preprocessing
    model: TranslationModel
    confidence: Confidence | None = None
    seen: BloomFilter | None = None


def load_trained(run: Run) -> Trained:
    """Loads a trained run; raises UserError if it has no weights yet, or a file is missing or damaged."""
    run.require_weights()
    config = from_json(Config, run.config)
    preprocessing = Preprocessing(*load_vocabularies(run), **vars(config.text))
    model = make_model(config, preprocessing)
    run.load_weights(model)
    return Trained(config, preprocessing, model, confidence.load(run.path), source_words.load_seen(run.path))


def make_model(config: Config, preprocessing: Preprocessing) -> TranslationModel:
    """Returns a built TranslationModel."""
    model = TranslationModel(
        source_vocabulary=len(preprocessing.source.vocabulary),
        target_vocabulary=len(preprocessing.target.vocabulary),
        **vars(config.model),
        **vars(config.regularization),
        seed=config.training.seed,
        name="translator",
    )
    model((tf.ones([1, 2], tf.int32), tf.ones([1, 2], tf.int32)))  # creates the weights
    return model

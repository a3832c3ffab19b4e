"""Encoder-decoder of recurrent layers, as in Sutskever et al. 2014.

    source ids -> (reversed) -> embeddings -> encoder layers 1 … N -> final state of every layer
                                                                             |
    target ids -> embeddings (and context) -> decoder layers 1 … N, starting from these states -> softmax

With attention, the decoder also reads c, a weighted mean of the outputs of the encoder (`layers/recurrent_decoder.py`).
A layer before the softmax, the readout, then computes tanh(W [h, c, e] + b) from the decoder's output h, from c and
from the embedding e of the previous token. (Luong et al. 2015 compute tanh(W [c, h]).)

`decode` reads a whole sequence of tokens at once (training, with teacher forcing); `step` reads one token (decoding).
"""

import dataclasses
import functools

import keras
import tensorflow as tf

from layers.attention import Attention
from layers.bloom import BloomFilter
from layers.cells import CELLS
from layers.pooling import pool_over_time
from layers.recurrent_decoder import RecurrentDecoder
from layers.text import PADDING, UNKNOWN, Vocabulary
from layers.word_softmax import WordSoftmax
from pipelines.common import confidence
from pipelines.common.confidence import Confidence
from pipelines.common.config import from_json
from pipelines.common.data.loading import load_vocabulary
from pipelines.common.runs import Run
from pipelines.common.seeds import Seeds
from pipelines.translation import source_words
from pipelines.translation.config import Config
from pipelines.translation.preprocessing import Preprocessing

SOURCE_VOCABULARY_FILE = "vocabulary.source.txt"
TARGET_VOCABULARY_FILE = "vocabulary.target.txt"


@keras.saving.register_keras_serializable(package="unfold")
class TranslationModel(keras.Model):
    """Encoder-decoder of recurrent layers.

    Sutskever et al. 2014, "Sequence to sequence learning with neural networks".

    Sentences are rows of token ids; PADDING, id 0, follows the last token of a row.

    Args:
        source_vocabulary, target_vocabulary: Vocabulary sizes.
        cell: "lstm" or "rnn".
        layers: Number of layers of the encoder, and of the decoder.
        units: Units of each layer.
        embedding_units: Size of the token embeddings.
        reverse: Read the source backwards.
        bidirectional: Read the source in both directions, with half of the units each.
        residual: Add a layer's input to its output, from the second layer on (He et al. 2016; Wu et al. 2016).
        context: The vector that the decoder reads at every time step besides the previous token (Cho et al. 2014,
            "Learning phrase representations using RNN encoder-decoder"): the "last", "mean" or "max" of the outputs of
            the encoder over time; or "none".
        attention: "none", "dot", "general" or "additive": how the decoder scores the outputs of the encoder.
        attention_input: The result of the attention is an input of the decoder at the next time step, see
            `layers/recurrent_decoder.py`.
        tied: Use the target embeddings as the weights of the softmax (Press & Wolf 2017).
        dropout: Fraction of the units to drop between layers and before the softmax.
        embedding_dropout: Fraction of each token embedding to drop.
        recurrent_dropout: Fraction of the hidden state to drop before a layer reads it, one mask per sentence.
        variational: Drop the same units at every time step of a sentence (Gal and Ghahramani 2016).
        word_dropout: Fraction of the decoder's input tokens to replace by UNKNOWN in training (Bowman et al. 2016).
        initial_range: The r of U(-r, r), from which all initial weights are drawn, except the biases of dense layers.
            0: embeddings are drawn from a normal distribution, kernels by Glorot, recurrent kernels are orthogonal.
        seed: Makes initial weights and dropout repeatable.
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

        def embedding(tokens, name):
            start = initializer(keras.initializers.RandomNormal, stddev=embedding_units**-0.5)
            return keras.layers.Embedding(tokens, embedding_units, embeddings_initializer=start, name=name)

        def recurrent(width, name, **options):
            if initial_range:  # Sutskever et al. draw the biases as well, that of the forget gate included
                options["bias_initializer"] = initializer()
                if cell == "lstm":
                    options["unit_forget_bias"] = False
            return CELLS[cell](
                width,
                return_sequences=True,
                return_state=True,
                kernel_initializer=initializer(keras.initializers.GlorotUniform),
                recurrent_initializer=initializer(keras.initializers.Orthogonal),
                recurrent_dropout=recurrent_dropout,
                seed=seeds() if recurrent_dropout else None,
                name=name,
                **options,
            )

        def dense(width, name, **options):
            start = initializer(keras.initializers.GlorotUniform)
            return keras.layers.Dense(width, kernel_initializer=start, name=name, **options)

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
        # Linear maps from the final states of both directions to the first state of the decoder, for each layer.
        self.bridges = [[dense(units, f"bridge_{n}_{s}") for s in range(states)] for n in numbers if bidirectional]
        self.encoder_dropouts = [drop(dropout, f"encoder_dropout_{n}") for n in numbers]
        self.decoder = [recurrent(units, f"decoder_{n}") for n in numbers]
        # With attention, dropout follows the readout instead of the last layer.
        rates = [dropout if n < layers or attention == "none" else 0.0 for n in numbers]
        self.decoder_dropouts = [drop(rate, f"decoder_dropout_{n}") for n, rate in zip(numbers, rates, strict=True)]
        self.attention = None
        if attention != "none":
            self.readout_dropout = drop(dropout, "readout_dropout")
            start = functools.partial(initializer, keras.initializers.GlorotUniform)
            self.attention = Attention(attention, units, initializer=start, name="attention")
        # The readout makes the inputs of a tied softmax as wide as the embeddings. With a context, it reads the output
        # of the last layer, the context and the embedding of the previous token, as in Cho et al. 2014.
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
        self.softmax = WordSoftmax(
            target_vocabulary,
            self.target_embedding if tied else None,
            kernel_initializer=initializer(keras.initializers.GlorotUniform),
        )

    def build(self, input_shape=None):
        if self.built:
            return
        # The number of training batches so far, counted only with scheduled sampling, for its schedule.
        self.sampled_batches = self.add_weight(
            shape=(), initializer="zeros", dtype="int32", trainable=False, name="batches_trained_on"
        )
        self.built = True

    def encode(self, source, training=False) -> dict:
        """Returns the initial state of the decoder.

        Args:
            source: int32[batch, time].

        Returns:
            The state of a `RecurrentDecoder`: the final states of all encoder layers, and the context or what attention
            reads.
        """
        mask = source != PADDING
        if self.reverse:
            source = tf.reverse_sequence(source, tf.reduce_sum(tf.cast(mask, tf.int32), axis=1), seq_axis=1)
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
                x = tf.reverse_sequence(x, tf.math.count_nonzero(mask, axis=1), seq_axis=1)
            return self.recurrent_decoder.start(states, self.attention.memory(x, mask))
        if self.context == "none":
            return {"layers": states}
        return {"layers": states, "context": pool_over_time(x, mask, self.context)}

    def decode(self, tokens, state, training=False):
        """Runs the decoder over given tokens (with the true ones: teacher forcing).

        Args:
            tokens: int32[batch, time], the token before the one that is predicted at each time step: START, then the
                sentence.
            state: what `encode` returns.

        Returns:
            The inputs of the softmax, float[batch, time, width], and the outputs of the `RecurrentDecoder`.
        """
        if training and self.word_dropout:
            draws = keras.random.uniform(tf.shape(tokens), seed=self.random)
            tokens = tf.where((draws < self.word_dropout) & (tokens != PADDING), UNKNOWN, tokens)
        embeddings = self.target_dropout(self.target_embedding(tokens), training=training)
        decoded = self.recurrent_decoder.decode(embeddings, state, training)
        return self.apply_readout(decoded.h, decoded.context, embeddings, training), decoded

    def step(self, tokens, state):
        """Runs the decoder for one time step (decoding, see `layers.decoding`).

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
        """Returns the inputs of the softmax, float[..., width], from the outputs h of the last decoder layer."""
        if self.readout is None:
            return h
        outputs = self.readout(h if context is None else tf.concat([h, context, embeddings], axis=-1))
        return self.readout_dropout(outputs, training=training) if self.attention else outputs

    def call(self, inputs, training=False):
        """Returns logits [batch, steps, vocabulary] for (source int32[batch, time], tokens int32[batch, steps])."""
        source, tokens = inputs
        return self.softmax(self.decode(tokens, self.encode(source, training), training)[0])

    def get_config(self):
        return {**super().get_config(), **self.arguments}


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained run: its configuration, preprocessing and model; its confidence, and the words that training has seen
    (None: not fitted)."""

    config: Config
    preprocessing: Preprocessing
    model: TranslationModel
    confidence: Confidence | None = None
    seen: BloomFilter | None = None


def load_trained(run: Run) -> Trained:
    """Loads a trained run; raises UserError if it has no weights yet, or a file is missing or damaged."""
    run.require_weights()
    config = from_json(Config, run.config)
    preprocessing = make_preprocessing(config, *load_vocabularies(run))
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


def make_preprocessing(config: Config, source: Vocabulary, target: Vocabulary) -> Preprocessing:
    return Preprocessing(source, target, **vars(config.text))


def load_vocabularies(run: Run) -> tuple[Vocabulary, Vocabulary]:
    """Returns the source and target vocabularies of a run."""
    return load_vocabulary(run.path / SOURCE_VOCABULARY_FILE), load_vocabulary(run.path / TARGET_VOCABULARY_FILE)

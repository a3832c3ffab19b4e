"""The translator of Sutskever et al. 2014: a stack of recurrent layers reads the source, a second one writes.

source ids -> (reversed) -> vectors -> encoder layers 1 … N -> last state of every layer
                                                                        |
target ids -> vectors (and the context) -> decoder layers 1 … N, started from these states -> softmax over the words

The decoder runs in two ways, with the same cells: `decoder_outputs` takes all true tokens at once (teacher forcing),
`step` takes one token at a time (decoding).
"""

import dataclasses

import keras
import tensorflow as tf

from layers.lstm import LSTM
from layers.rnn import VanillaRNN
from layers.text import PADDING, UNKNOWN, Vocabulary
from layers.word_softmax import WordSoftmax
from pipelines.common.config import from_json
from pipelines.common.data.loading import load_vocabulary
from pipelines.common.runs import Run, load_weights
from pipelines.common.seeds import Seeds
from pipelines.translation.config import Config
from pipelines.translation.preprocessing import Preprocessing

CELLS = {"lstm": LSTM, "rnn": VanillaRNN}
SOURCE_VOCABULARY_FILE = "vocabulary.source.txt"
TARGET_VOCABULARY_FILE = "vocabulary.target.txt"


@keras.saving.register_keras_serializable(package="unfold")
class TranslationModel(keras.Model):
    """An encoder-decoder of recurrent layers (Sutskever et al. 2014, "Sequence to sequence learning with neural
    networks"). Id 0 is padding, behind the end of a sentence.

    Args:
        source_vocabulary, target_vocabulary: numbers of tokens.
        cell: "lstm" or "rnn".
        layers, units: of the encoder and of the decoder.
        embedding_units: of a token's vector.
        reverse: read the source from its end.
        bidirectional: read the source in both directions, with half the units in each.
        residual: from the second layer on, add a layer's input to its output (He et al. 2016; Wu et al. 2016).
        context: "none", "last", "mean" or "max": the vector of the source that the decoder gets at every step, made of
            the encoder's outputs (Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder").
        tied: the softmax takes the decoder's token vectors as its weights (Press & Wolf 2017).
        dropout: share of units dropped between layers and before the softmax.
        embedding_dropout: share of the units of token vectors dropped.
        word_dropout: share of the decoder's input tokens that training reads as unknown (Bowman et al. 2016).
        initial_range: draw all weights from U(-r, r); 0: Glorot for inputs, orthogonal for states.
        seed: makes initial weights and dropout repeatable.
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
        tied: bool = False,
        dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        word_dropout: float = 0.0,
        initial_range: float = 0.0,
        seed: int | None = None,
        **kwargs,
    ):
        arguments = {name: value for name, value in locals().items() if name not in ("self", "kwargs", "__class__")}
        super().__init__(**kwargs)
        if context not in ("none", "last", "mean", "max"):
            raise ValueError(f"context is {context!r}, expected 'none', 'last', 'mean' or 'max'")
        self.arguments = arguments
        self.reverse, self.residual, self.context = reverse, residual, context
        seeds = Seeds(seed)

        def initializer(kind, **options):
            if initial_range:
                return keras.initializers.RandomUniform(-initial_range, initial_range, seed=seeds())
            return kind(seed=seeds(), **options)

        def embedding(tokens, name):
            start = initializer(keras.initializers.RandomNormal, stddev=embedding_units**-0.5)
            return keras.layers.Embedding(tokens, embedding_units, embeddings_initializer=start, name=name)

        def recurrent(width, name, **options):
            # In the paper every weight is drawn from the same range, biases too; otherwise the forget gate begins open.
            own = {"bias_initializer": initializer(None)} if initial_range else {}
            if initial_range and cell == "lstm":
                own["unit_forget_bias"] = False
            return CELLS[cell](
                width,
                return_sequences=True,
                return_state=True,
                kernel_initializer=initializer(keras.initializers.GlorotUniform),
                recurrent_initializer=initializer(keras.initializers.Orthogonal),
                name=name,
                **own,
                **options,
            )

        def dense(width, name):
            start = initializer(keras.initializers.GlorotUniform)
            return keras.layers.Dense(width, kernel_initializer=start, name=name)

        def drop(rate, name):
            return keras.layers.Dropout(rate, seed=seeds(), name=name)

        numbers = range(1, layers + 1)
        self.source_embedding = embedding(source_vocabulary, "source_embedding")
        self.target_embedding = embedding(target_vocabulary, "target_embedding")
        self.source_dropout = drop(embedding_dropout, "source_dropout")
        self.target_dropout = drop(embedding_dropout, "target_dropout")
        width = units // 2 if bidirectional else units
        self.encoder = [recurrent(width, f"encoder_{n}") for n in numbers]
        self.backward = [recurrent(width, f"backward_{n}", go_backwards=True) for n in numbers if bidirectional]
        states = 2 if cell == "lstm" else 1  # h and c, or h
        self.bridges = [[dense(units, f"bridge_{n}_{s}") for s in range(states)] for n in numbers if bidirectional]
        self.encoder_dropouts = [drop(dropout, f"encoder_dropout_{n}") for n in numbers]
        self.decoder = [recurrent(units, f"decoder_{n}") for n in numbers]
        self.decoder_dropouts = [drop(dropout, f"decoder_dropout_{n}") for n in numbers]
        # A tied softmax multiplies with token vectors, so that what it reads must be as wide as they are; with the
        # context it reads the last layer, the context and the token before, as in Cho et al. 2014.
        narrow = tied and units != embedding_units
        self.readout = dense(embedding_units, "readout") if narrow or context != "none" else None
        self.readout_width = embedding_units if self.readout else units
        self.word_dropout = word_dropout
        self.random = keras.random.SeedGenerator(seeds())
        self.softmax = WordSoftmax(
            target_vocabulary,
            self.target_embedding if tied else None,
            kernel_initializer=initializer(keras.initializers.GlorotUniform),
        )

    def build(self, input_shape=None):
        if self.built:
            return
        self.batches = self.add_weight(
            shape=(), initializer="zeros", dtype="int32", trainable=False, name="batches_trained_on"
        )
        self.built = True

    # The encoder ------------------------------------------------------------------------------------------------------

    def encode(self, source, training=False) -> dict:
        """int32[batch, time] -> the decoder's first state: `layers`, for each layer [h, c] or [h] float[batch, units],
        and with a context `context` float[batch, units]."""
        kept = source != PADDING
        if self.reverse:
            source = tf.reverse_sequence(source, tf.reduce_sum(tf.cast(kept, tf.int32), axis=1), seq_axis=1)
        x = self.source_dropout(self.source_embedding(source), training=training)
        states = []
        for number, layer in enumerate(self.encoder):
            y, *state = layer(x, mask=kept, training=training)
            if self.backward:
                other, *other_state = self.backward[number](x, mask=kept, training=training)
                y = tf.concat([y, tf.reverse(other, [1])], axis=-1)
                both = [tf.concat(pair, axis=-1) for pair in zip(state, other_state, strict=True)]
                state = [bridge(part) for bridge, part in zip(self.bridges[number], both, strict=True)]
            x = self.encoder_dropouts[number](y, training=training) + (x if self.residual and number else 0)
            states.append(state)
        found = {"layers": states}
        if self.context != "none":
            found["context"] = summary(x, kept, self.context)
        return found

    # The decoder ------------------------------------------------------------------------------------------------------

    def decoder_outputs(self, tokens, state, training=False):
        """Teacher forcing: true tokens int32[batch, time] -> what the softmax reads, float[batch, time, width]."""
        if training and self.word_dropout:
            drawn = keras.random.uniform(tf.shape(tokens), seed=self.random)
            tokens = tf.where((drawn < self.word_dropout) & (tokens != PADDING), UNKNOWN, tokens)
        context = state.get("context")
        if context is not None:
            context = tf.repeat(context[:, None], tf.shape(tokens)[1], axis=1)
        vectors = self.target_dropout(self.target_embedding(tokens), training=training)
        x = vectors if context is None else tf.concat([vectors, context], axis=-1)
        for number, layer in enumerate(self.decoder):
            y, *_ = layer(x, initial_state=state["layers"][number], training=training)
            x = self.decoder_dropouts[number](y, training=training) + (x if self.residual and number else 0)
        return self.apply_readout(x, context, vectors)

    def step(self, tokens, state):
        """One step of decoding: token ids int32[rows] and the state -> (logits float32[rows, words], the new state)."""
        context = state.get("context")
        vectors = self.target_embedding(tokens)
        x = vectors if context is None else tf.concat([vectors, context], axis=-1)
        states = []
        for number, layer in enumerate(self.decoder):
            y, new = layer.cell(x, state["layers"][number])
            x = y + (x if self.residual and number else 0)
            states.append(list(new))
        return self.softmax(self.apply_readout(x, context, vectors)), {**state, "layers": states}

    def apply_readout(self, x, context, vectors):
        """What the softmax reads: float[..., width]."""
        if self.readout is None:
            return x
        return self.readout(x if context is None else tf.concat([x, context, vectors], axis=-1))

    def call(self, inputs, training=False):
        """(source int32[batch, time], target tokens int32[batch, steps]) -> logits float32[batch, steps, words]."""
        source, tokens = inputs
        return self.softmax(self.decoder_outputs(tokens, self.encode(source, training), training))

    def get_config(self):
        return {**super().get_config(), **self.arguments}


def summary(outputs, kept, how: str):
    """float[batch, time, units] over the steps that bool[batch, time] keeps -> float[batch, units], zeros for none."""
    if how == "last":
        last = tf.maximum(tf.reduce_sum(tf.cast(kept, tf.int32), axis=1) - 1, 0)
        return tf.gather(outputs, last, batch_dims=1) * tf.cast(
            tf.reduce_any(kept, axis=1, keepdims=True), outputs.dtype
        )
    kept = tf.cast(kept[:, :, None], outputs.dtype)
    if how == "mean":
        return tf.reduce_sum(outputs * kept, axis=1) / tf.maximum(tf.reduce_sum(kept, axis=1), 1)
    lowest = tf.reduce_min(outputs) * (1 - kept)  # below every step that is kept
    highest = tf.reduce_max(outputs * kept + lowest, axis=1)
    return highest * tf.reduce_max(kept, axis=1)


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a run learned: its config, how it reads and writes text, and the model."""

    config: Config
    preprocessing: Preprocessing
    model: TranslationModel


def load_trained(run: Run) -> Trained:
    """Reads a trained run; UserError when it is not trained yet, or a file is missing or damaged."""
    run.require_weights()
    config = from_json(Config, run.config)
    preprocessing = make_preprocessing(config, *load_vocabularies(run))
    model = make_model(config, preprocessing)
    load_weights(model, run.weights_file)
    return Trained(config, preprocessing, model)


def make_model(config: Config, preprocessing: Preprocessing) -> TranslationModel:
    """A built TranslationModel with the figures of a config."""
    model = TranslationModel(
        source_vocabulary=len(preprocessing.source.vocabulary),
        target_vocabulary=len(preprocessing.target.vocabulary),
        **vars(config.model),
        **vars(config.regularization),
        seed=config.training.seed,
        name="translator",
    )
    model((tf.ones([1, 2], tf.int32), tf.ones([1, 2], tf.int32)))  # makes the weights
    return model


def make_preprocessing(config: Config, source: Vocabulary, target: Vocabulary) -> Preprocessing:
    return Preprocessing(source, target, **vars(config.text))


def load_vocabularies(run: Run) -> tuple[Vocabulary, Vocabulary]:
    """The run's two vocabulary files."""
    return load_vocabulary(run.path / SOURCE_VOCABULARY_FILE), load_vocabulary(run.path / TARGET_VOCABULARY_FILE)

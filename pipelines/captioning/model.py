"""The captioning model of Vinyals et al. 2015, "Show and tell": a CNN encodes the image, an RNN writes the caption.

    pixels -> CNN -> features
    word ids -> embeddings -> decoder layers 1 … N -> softmax over the words

The argument `image` selects where the decoder reads the features: "first", as the input x(0) before the first word;
"state", as its initial state; "merge", concatenated with h(t) before the softmax. For these, the image is one vector.

With "attend", the image is a vector a(s) for each position s of the last map of the CNN (Xu et al. 2015, "Show, attend
and tell: neural image caption generation with visual attention"):

    m(s)    = tanh(W_m a(s) + b_m)                    a(s) after batch normalization; in the paper m(s) = a(s)
    h(0)    = tanh(W_0 mean of a(s) + b_0)            of each layer; likewise the initial cell state of an LSTM
    c(t)    = beta(t) * sum over s of alpha(t, s) m(s)    `layers/attention.py`, `layers/recurrent_decoder.py`
    beta(t) = sigmoid(w h(t) + b)                     with `attention_gate`; otherwise 1
    readout = tanh(W_r [h(t), c(t), e(t)] + b_r)      before the softmax; e(t) is the embedding of the previous word

c(t) is the context here, not the cell state. The decoder runs in two ways, with the same cells: `decode` takes all true
words at once (teacher forcing), `step` takes one word at a time (decoding).
"""

import dataclasses

import keras
import tensorflow as tf

from layers.attention import Attention
from layers.cells import CELLS
from layers.recurrent_decoder import RecurrentDecoder
from layers.text import Vocabulary
from layers.word_softmax import WordSoftmax
from pipelines.captioning.config import Config
from pipelines.captioning.preprocessing import Preprocessing
from pipelines.common import confidence
from pipelines.common.confidence import Confidence
from pipelines.common.config import from_json
from pipelines.common.data.loading import load_vocabulary
from pipelines.common.runs import Run
from pipelines.common.seeds import Seeds
from pipelines.common.vision.encoders import build_encoder

IMAGE_INPUTS = ("first", "state", "merge", "attend")
VOCABULARY_FILE = "vocabulary.txt"


@keras.saving.register_keras_serializable(package="unfold")
class CaptioningModel(keras.Model):
    """A CNN and a recurrent decoder (Vinyals et al. 2015, "Show and tell: a neural image caption generator").

    Args:
        vocabulary: Number of words. Id 0 is padding after the end of a caption.
        encoder, weights, image_size: The CNN; see `pipelines.common.vision.encoders.build_encoder`.
        image: "first": the decoder reads the image vector as if it were a word before the first one; "state": the
            initial state of the decoder is computed from the image features; "merge": the decoder does not read the
            image, and a layer combines both before the softmax (Tanti et al. 2017, "What is the role of recurrent
            neural networks in an image caption generator?"); "attend": attention over the positions of the map.
        attention: the score of the attention: "dot", "general" or "additive".
        attention_input: Whether the decoder reads the context of the word before.
        attention_gate: Whether a sigmoid of the decoder's output multiplies the context.
        cell: "lstm" or "rnn".
        layers: Number of layers of the decoder.
        units: Units of each layer.
        embedding_units: Size of the word embeddings and of the image vector.
        tied: Use the word embeddings as the weights of the softmax (Press & Wolf 2017).
        dropout: Share of units dropped of the features, between layers and before the softmax.
        embedding_dropout: Share of each word embedding dropped.
        seed: Makes initial weights (except those of the CNN) and dropout repeatable.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        encoder: str,
        weights: str = "none",
        image_size: int,
        image: str,
        cell: str,
        layers: int,
        units: int,
        embedding_units: int,
        tied: bool,
        attention: str = "additive",
        attention_input: bool = False,
        attention_gate: bool = False,
        dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs,
    ):
        arguments = {name: value for name, value in locals().items() if name not in ("self", "kwargs", "__class__")}
        super().__init__(**kwargs)
        if image not in IMAGE_INPUTS:
            raise ValueError(f"image is {image!r}, expected one of {', '.join(IMAGE_INPUTS)}")
        self.arguments = arguments
        self.image, self.units = image, units
        self.attends = image == "attend"
        seeds = Seeds(seed)
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy(
            "float32"
        )  # so that its features, which are cached, are the same for all precisions
        try:
            pooling = "none" if self.attends else "avg"
            self.encoder = build_encoder(encoder, weights=weights, image_size=image_size, pooling=pooling)
        finally:
            keras.config.set_dtype_policy(policy)

        def dense(width, name, **options):
            initializer = keras.initializers.GlorotUniform(seed=seeds())
            return keras.layers.Dense(width, kernel_initializer=initializer, name=name, **options)

        def drop(rate, name):
            return keras.layers.Dropout(rate, seed=seeds(), name=name)

        numbers = range(1, layers + 1)
        self.embedding = keras.layers.Embedding(
            vocabulary,
            embedding_units,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=embedding_units**-0.5, seed=seeds()),
            name="embedding",
        )
        # Without normalization, what all images have in common would dominate the features, above all those of a CNN
        # that is trained from random weights (a ratio of 25 to 1 was measured).
        self.image_norm = keras.layers.BatchNormalization(momentum=0.95, name="image_norm")
        self.image_dropout = drop(dropout, "image_dropout")
        self.embedding_dropout = drop(embedding_dropout, "embedding_dropout")
        if image in ("first", "merge"):
            self.image_vector = dense(embedding_units, "image_vector")
        states = 2 if cell == "lstm" else 1  # h and c, or h
        self.first_states = [
            [dense(units, f"state_{n}_{s}", activation="tanh") for s in range(states)] for n in numbers
        ] if image in ("state", "attend") else []  # fmt: skip
        if self.attends:
            self.locations = dense(units, "locations", activation="tanh")
            self.attention = Attention(attention, units, name="attention",
                                       initializer=lambda: keras.initializers.GlorotUniform(seed=seeds()))  # fmt: skip
            self.readout_dropout = drop(dropout, "readout_dropout")
        self.attention_gate = None
        if self.attends and attention_gate:
            self.attention_gate = dense(1, "attention_gate", activation="sigmoid")
        self.decoder = [
            CELLS[cell](
                units,
                return_sequences=True,
                return_state=True,
                kernel_initializer=keras.initializers.GlorotUniform(seed=seeds()),
                recurrent_initializer=keras.initializers.Orthogonal(seed=seeds()),
                name=f"decoder_{n}",
            )
            for n in numbers
        ]
        # With attention, the dropout behind the last layer is behind the readout instead.
        rates = [0.0 if self.attends and n == layers else dropout for n in numbers]
        self.dropouts = [drop(rate, f"dropout_{n}") for n, rate in zip(numbers, rates, strict=True)]
        self.recurrent_decoder = RecurrentDecoder(
            self.decoder,
            self.dropouts,
            attend=self.attend if self.attends else None,
            attention_input=self.attends and attention_input,
        )
        # The input of a tied softmax has the size of the word embeddings. With "merge" and "attend", this layer also
        # combines the image with the output of the decoder; its tanh makes the combination nonlinear.
        self.readout = None
        combines = image in ("merge", "attend")
        if combines or (tied and units != embedding_units):
            width = embedding_units if tied else units
            self.readout = dense(width, "readout", activation="tanh" if combines else None)
        self.readout_width = embedding_units if tied else units
        self.softmax = WordSoftmax(
            vocabulary,
            self.embedding if tied else None,
            kernel_initializer=keras.initializers.GlorotUniform(seed=seeds()),
        )
        self.sampling = keras.random.SeedGenerator(seeds())  # of self-critical training

    def build(self, input_shape=None):
        self.built = True

    def encode_images(self, pixels, training=False):
        """Returns the features float32[batch, features] of pixels, a number[batch, size, size, 3] from 0 to 255; with
        attention the map float32[batch, positions, channels].

        Except in training, maps are rounded to float16, as which they are cached.
        """
        features = self.encoder(tf.cast(pixels, tf.float32), training=training)
        if self.attends and not training:
            features = tf.cast(tf.saturate_cast(features, tf.float16), tf.float32)
        return features

    def initial_state(self, features, training=False) -> dict:
        """Returns the initial state of the `RecurrentDecoder` for features float[batch, features], or maps
        float[batch, positions, channels]; with "merge" also `image` float[batch, embedding_units]."""
        normal = self.image_norm(features, training=training)
        features = self.image_dropout(normal, training=training)
        if self.attends:
            memory = self.attention.memory(self.locations(features), tf.ones(tf.shape(features)[:2], tf.bool))
            mean = self.image_dropout(tf.reduce_mean(normal, axis=1), training=training)
            layers = [[dense(mean) for dense in layer] for layer in self.first_states]
            return self.recurrent_decoder.start(layers, memory)
        if self.image == "state":
            return {"layers": [[dense(features) for dense in layer] for layer in self.first_states]}
        image = self.image_vector(features)
        if self.image == "merge":
            zeros = tf.zeros([tf.shape(features)[0], self.units], image.dtype)
            return {"layers": [[zeros for _ in layer.state_size] for layer in self.decoder], "image": image}
        x, states = image[:, None], []
        for number, layer in enumerate(self.decoder):
            x, *state = layer(x, training=training)
            x = self.dropouts[number](x, training=training)
            states.append(state)
        return {"layers": states}

    def decode(self, words, state, training=False):
        """Runs the decoder over given words (with the true ones: teacher forcing).

        Args:
            words: int32[rows, time], START, then the caption: at each time step, the word before the one to predict.
            state: That of `initial_state`, or of `repeat_rows` for several captions of an image.

        Returns:
            The inputs of the softmax, float[rows, time, width], and what the `RecurrentDecoder` returned.
        """
        embeddings = self.embedding_dropout(self.embedding(words), training=training)
        decoded = self.recurrent_decoder.decode(embeddings, state, training)
        return self.apply_readout(decoded.h, decoded.context, embeddings, state, training), decoded

    def step(self, words, state):
        """Returns (logits float32[rows, words], the new state) for the previous word ids int32[rows] and the state."""
        embeddings = self.embedding(words)
        decoded, state = self.recurrent_decoder.advance(embeddings, state)
        return self.softmax(self.apply_readout(decoded.h, decoded.context, embeddings, state)), state

    def attend(self, h, memory):
        """Returns the context, multiplied by its gate if there is one, and the alignment; see `Attention`."""
        context, alignment = self.attention(h, memory)
        return context if self.attention_gate is None else context * self.attention_gate(h), alignment

    def apply_readout(self, h, context, embeddings, state, training=False):
        """Returns the inputs of the softmax, float[..., width], from the outputs h of the last layer, the context and
        the embeddings of the previous words."""
        if self.readout is None:
            return h
        if self.attends:
            outputs = self.readout(tf.concat([h, context, embeddings], axis=-1))
            return self.readout_dropout(outputs, training=training)
        if self.image == "merge":
            image = state["image"]
            if h.shape.rank == 3:
                image = tf.repeat(image[:, None], tf.shape(h)[1], axis=1)
            h = tf.concat([h, image], axis=-1)
        return self.readout(h)

    def call(self, inputs, training=False):
        """Returns logits float32[batch, time, words] for (pixels [batch, size, size, 3], words int32[batch, time])."""
        pixels, words = inputs
        state = self.initial_state(self.encode_images(pixels, training), training)
        return self.softmax(self.decode(words, state, training)[0])

    def get_config(self):
        return {**super().get_config(), **self.arguments, "weights": "none"}


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained run: its configuration, preprocessing, model and confidence (None: not fitted)."""

    config: Config
    preprocessing: Preprocessing
    model: CaptioningModel
    confidence: Confidence | None = None


def load_trained(run: Run) -> Trained:
    """Loads a trained run; raises UserError if it has no weights yet, or a file is missing or damaged."""
    run.require_weights()
    config = from_json(Config, run.config)
    preprocessing = make_preprocessing(config, load_vocabulary(run.path / VOCABULARY_FILE))
    model = make_model(config, preprocessing, weights="none")
    run.load_weights(model)
    return Trained(config, preprocessing, model, confidence.load(run.path))


def make_model(config: Config, preprocessing: Preprocessing, **changes) -> CaptioningModel:
    """Returns a built CaptioningModel; `changes` replace arguments of the model that the configuration has."""
    size = config.images.image_size
    arguments = {**vars(config.model), **vars(config.regularization), **changes}
    model = CaptioningModel(
        vocabulary=len(preprocessing.tokenizer.vocabulary),
        image_size=size,
        **arguments,
        seed=config.training.seed,
        name="captioner",
    )
    model((tf.zeros([1, size, size, 3]), tf.ones([1, 2], tf.int32)))  # creates the weights
    return model


def make_preprocessing(config: Config, vocabulary: Vocabulary) -> Preprocessing:
    return Preprocessing(vocabulary, **vars(config.images), **vars(config.text))

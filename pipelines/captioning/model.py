"""The captioning model of Vinyals et al. 2015, "Show and tell": a CNN encodes the image, an RNN writes the caption.

    pixels -> CNN -> features
    word ids -> embeddings -> decoder layers 1 … N -> softmax over the words

The argument `image` selects where the decoder reads the features: "first", as the input x(0) before the first word;
"state", as its initial state; "merge", concatenated with h(t) before the softmax.

The decoder runs in two ways, with the same cells: `decoder_outputs` takes all true words at once (teacher forcing),
`step` takes one word at a time (decoding). No attention: the image is one vector.
"""

import dataclasses

import keras
import tensorflow as tf

from layers.cells import CELLS
from layers.text import Vocabulary
from layers.word_softmax import WordSoftmax
from pipelines.captioning.config import Config
from pipelines.captioning.preprocessing import Preprocessing
from pipelines.common.config import from_json
from pipelines.common.data.loading import load_vocabulary
from pipelines.common.runs import Run, load_weights
from pipelines.common.seeds import Seeds
from pipelines.common.vision.encoders import build_encoder

IMAGE_INPUTS = ("first", "state", "merge")
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
            neural networks in an image caption generator?").
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
        dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs,
    ):
        arguments = {name: value for name, value in locals().items() if name not in ("self", "kwargs", "__class__")}
        super().__init__(**kwargs)
        if image not in IMAGE_INPUTS:
            raise ValueError(f"image is {image!r}, expected 'first', 'state' or 'merge'")
        self.arguments = arguments
        self.image, self.units = image, units
        seeds = Seeds(seed)
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy(
            "float32"
        )  # so that its features, which are cached, are the same for all precisions
        try:
            self.encoder = build_encoder(encoder, weights=weights, image_size=image_size)
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
        if image != "state":
            self.image_vector = dense(embedding_units, "image_vector")
        states = 2 if cell == "lstm" else 1  # h and c, or h
        self.first_states = [
            [dense(units, f"state_{n}_{s}", activation="tanh") for s in range(states)] for n in numbers
        ] if image == "state" else []  # fmt: skip
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
        self.dropouts = [drop(dropout, f"dropout_{n}") for n in numbers]
        # The input of a tied softmax has the size of the word embeddings. With "merge", this layer combines the image
        # with the output of the decoder; its tanh makes the combination nonlinear.
        self.readout = None
        if image == "merge" or (tied and units != embedding_units):
            width = embedding_units if tied else units
            self.readout = dense(width, "readout", activation="tanh" if image == "merge" else None)
        self.readout_width = embedding_units if tied else units
        self.softmax = WordSoftmax(
            vocabulary,
            self.embedding if tied else None,
            kernel_initializer=keras.initializers.GlorotUniform(seed=seeds()),
        )

    def build(self, input_shape=None):
        self.built = True

    def encode_images(self, pixels, training=False):
        """Returns the features float32[batch, features] of pixels, a number[batch, size, size, 3] from 0 to 255."""
        return self.encoder(tf.cast(pixels, tf.float32), training=training)

    def initial_state(self, features, training=False) -> dict:
        """Returns the initial state of the decoder for features float[batch, features].

        It is a dict of `layers`, [h, c] or [h] float[batch, units] for each layer, and with "merge" also `image`
        float[batch, embedding_units].
        """
        features = self.image_dropout(self.image_norm(features, training=training), training=training)
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

    def decoder_outputs(self, words, state, training=False):
        """Returns the inputs of the softmax, float[batch, time, width], for true words int32[batch, time]."""
        x = self.embedding_dropout(self.embedding(words), training=training)
        for number, layer in enumerate(self.decoder):
            x, *_ = layer(x, initial_state=state["layers"][number], training=training)
            x = self.dropouts[number](x, training=training)
        image = state.get("image")
        return self.apply_readout(x, None if image is None else tf.repeat(image[:, None], tf.shape(words)[1], axis=1))

    def step(self, words, state):
        """Returns (logits float32[rows, words], the new state) for the previous word ids int32[rows] and the state."""
        x, states = self.embedding(words), []
        for layer, before in zip(self.decoder, state["layers"], strict=True):
            x, after = layer.cell(x, before)
            states.append(list(after))
        return self.softmax(self.apply_readout(x, state.get("image"))), {**state, "layers": states}

    def apply_readout(self, x, image):
        """Returns the input of the softmax, float[..., width]."""
        if self.readout is None:
            return x
        return self.readout(x if image is None else tf.concat([x, image], axis=-1))

    def call(self, inputs, training=False):
        """Returns logits float32[batch, time, words] for (pixels [batch, size, size, 3], words int32[batch, time])."""
        pixels, words = inputs
        return self.softmax(
            self.decoder_outputs(words, self.initial_state(self.encode_images(pixels, training), training), training)
        )

    def get_config(self):
        return {**super().get_config(), **self.arguments, "weights": "none"}


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained run: its configuration, preprocessing and model."""

    config: Config
    preprocessing: Preprocessing
    model: CaptioningModel


def load_trained(run: Run) -> Trained:
    """Loads a trained run; raises UserError if it has no weights yet, or a file is missing or damaged."""
    run.require_weights()
    config = from_json(Config, run.config)
    preprocessing = make_preprocessing(config, load_vocabulary(run.path / VOCABULARY_FILE))
    model = make_model(config, preprocessing, weights="none")
    load_weights(model, run.weights_file)
    return Trained(config, preprocessing, model)


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

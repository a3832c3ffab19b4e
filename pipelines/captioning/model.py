"""The captioner of Vinyals et al. 2015, Show and Tell: a CNN sees the image, a recurrent network says what it sees.

pixels -> CNN -> features -> image vector
                                  |
                 first:  x(0), before the first word         state: the state to start from
                 merge:  beside h(t), on the way to the softmax
                                  |
word ids -> vectors -> decoder layers 1 … N -> softmax over the words

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
from pipelines.common.data.loading import load_vocabulary
from pipelines.common.runs import Run, load_weights
from pipelines.common.seeds import Seeds
from pipelines.common.vision.encoders import build_encoder

WAYS = ("first", "state", "merge")
VOCABULARY_FILE = "vocabulary.txt"


@keras.saving.register_keras_serializable(package="unfold")
class CaptioningModel(keras.Model):
    """A CNN and a recurrent decoder (Vinyals et al. 2015, "Show and tell: a neural image caption generator").

    Args:
        vocabulary: number of words. Id 0 is padding, behind the end of a caption.
        encoder, encoder_weights, image_size: the CNN, see `pipelines.common.vision.encoders.build_encoder`.
        image: "first": the image vector is read once, as if it were a word before the first one; "state": it makes the
            decoder's first state; "merge": the decoder does not see it, and a layer over both gives what the softmax
            reads (Tanti et al. 2017, "What is the role of recurrent neural networks in an image caption generator?").
        cell: "lstm" or "rnn".
        layers, units: of the decoder.
        embedding_units: of a word's vector, and of the image vector.
        tied: the softmax takes the words' vectors as its weights (Press & Wolf 2017).
        dropout: share of units dropped of the features, between layers and before the softmax.
        embedding_dropout: share of the units of words' vectors dropped.
        seed: makes initial weights (those of the CNN aside) and dropout repeatable.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        encoder: str = "mobilenet_v2",
        encoder_weights: str = "none",
        image_size: int = 224,
        image: str = "first",
        cell: str = "lstm",
        layers: int = 1,
        units: int = 512,
        embedding_units: int = 512,
        tied: bool = True,
        dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if image not in WAYS:
            raise ValueError(f"image is {image!r}, expected 'first', 'state' or 'merge'")
        self.options = {
            "vocabulary": vocabulary, "encoder": encoder, "image_size": image_size, "image": image, "cell": cell,
            "layers": layers, "units": units, "embedding_units": embedding_units, "tied": tied, "dropout": dropout,
            "embedding_dropout": embedding_dropout, "seed": seed,
        }  # fmt: skip
        self.image, self.units = image, units
        seeds = Seeds(seed)
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy("float32")  # its features are cached, and are to be the same for all precisions
        try:
            self.encoder = build_encoder(encoder, weights=encoder_weights, image_size=image_size)
        finally:
            keras.config.set_dtype_policy(policy)

        def dense(width, name, **options):
            start = keras.initializers.GlorotUniform(seed=seeds())
            return keras.layers.Dense(width, kernel_initializer=start, name=name, **options)

        def drop(rate, name):
            return keras.layers.Dropout(rate, seed=seeds(), name=name)

        numbers = range(1, layers + 1)
        self.embedding = keras.layers.Embedding(
            vocabulary,
            embedding_units,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=embedding_units**-0.5, seed=seeds()),
            name="embedding",
        )
        # What is the same in all images outweighs what differs, most of all in a CNN that learns from nothing (25 to 1
        # was measured), and would be all that the decoder hears.
        self.image_norm = keras.layers.BatchNormalization(momentum=0.95, name="image_norm")
        self.image_dropout = drop(dropout, "image_dropout")
        self.embedding_dropout = drop(embedding_dropout, "embedding_dropout")
        self.image_vector = dense(embedding_units, "image_vector") if image != "state" else None
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
        # A tied softmax multiplies with words' vectors, so that what it reads must be as wide as they are. Where the
        # image is merged, it meets the decoder here, and a tanh lets one change what the other means.
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
        """number[batch, size, size, 3] from 0 to 255 -> features float32[batch, units of the CNN]."""
        return self.encoder(tf.cast(pixels, tf.float32), training=training)

    def initial_state(self, features, training=False) -> dict:
        """float[batch, units of the CNN] -> the decoder's first state: `layers`, for each layer [h, c] or [h]
        float[batch, units], and to be merged `image` float[batch, embedding_units]."""
        features = self.image_dropout(self.image_norm(features, training=training), training=training)
        if self.image == "state":
            return {"layers": [[dense(features) for dense in layer] for layer in self.first_states]}
        image = self.image_vector(features)
        if self.image == "merge":
            nothing = tf.zeros([tf.shape(features)[0], self.units], image.dtype)
            return {"layers": [[nothing for _ in layer.state_size] for layer in self.decoder], "image": image}
        x, states = image[:, None], []
        for number, layer in enumerate(self.decoder):
            x, *state = layer(x, training=training)
            x = self.dropouts[number](x, training=training)
            states.append(state)
        return {"layers": states}

    def decoder_outputs(self, words, state, training=False):
        """Teacher forcing: true words int32[batch, time] -> what the softmax reads, float[batch, time, width]."""
        x = self.embedding_dropout(self.embedding(words), training=training)
        for number, layer in enumerate(self.decoder):
            x, *_ = layer(x, initial_state=state["layers"][number], training=training)
            x = self.dropouts[number](x, training=training)
        image = state.get("image")
        return self.apply_readout(x, None if image is None else tf.repeat(image[:, None], tf.shape(words)[1], axis=1))

    def step(self, words, state):
        """One step of decoding: word ids int32[rows] and the state -> (logits float32[rows, words], the new state)."""
        x, states = self.embedding(words), []
        for layer, before in zip(self.decoder, state["layers"], strict=True):
            x, after = layer.cell(x, before)
            states.append(list(after))
        return self.softmax(self.apply_readout(x, state.get("image"))), {**state, "layers": states}

    def apply_readout(self, x, image):
        """What the softmax reads: float[..., width]."""
        if self.readout is None:
            return x
        return self.readout(x if image is None else tf.concat([x, image], axis=-1))

    def call(self, inputs, training=False):
        """(pixels number[batch, size, size, 3], words int32[batch, steps]) -> logits float32[batch, steps, words]."""
        pixels, words = inputs
        return self.softmax(
            self.decoder_outputs(words, self.initial_state(self.encode_images(pixels, training), training), training)
        )

    def get_config(self):
        return {**super().get_config(), **self.options}


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a run learned: its config, how it reads images and writes captions, and the model."""

    config: Config
    preprocessing: Preprocessing
    model: CaptioningModel


def load_trained(run: Run) -> Trained:
    """Reads a trained run; UserError when it is not trained yet, or a file is missing or damaged."""
    run.require_weights()
    config = Config.from_json(run.config)
    preprocessing = make_preprocessing(config, load_vocabulary(run.path / VOCABULARY_FILE))
    model = make_model(config, preprocessing, encoder_weights="none")
    load_weights(model, run.weights_file)
    return Trained(config, preprocessing, model)


def make_model(config: Config, preprocessing: Preprocessing, encoder_weights: str) -> CaptioningModel:
    """A built CaptioningModel with the figures of a config."""
    model = CaptioningModel(
        vocabulary=len(preprocessing.tokenizer.vocabulary),
        encoder=config.encoder,
        encoder_weights=encoder_weights,
        image_size=config.image_size,
        image=config.image,
        cell=config.cell,
        layers=config.layers,
        units=config.units,
        embedding_units=config.embedding_units,
        tied=config.tied,
        dropout=config.dropout,
        embedding_dropout=config.embedding_dropout,
        seed=config.training.seed,
        name="captioner",
    )
    size = config.image_size
    model((tf.zeros([1, size, size, 3]), tf.ones([1, 2], tf.int32)))  # makes the weights
    return model


def make_preprocessing(config: Config, vocabulary: Vocabulary) -> Preprocessing:
    return Preprocessing(vocabulary, **config.reading)

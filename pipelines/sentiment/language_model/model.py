"""The language model: embedding, recurrent layers, and a softmax over the next word.

ids -> embedding -> channel dropout -> recurrent layers 1 … N -> dropout -> (linear map) -> softmax over the words

A second stack of recurrent layers may read the text from its end, with the same embedding and softmax. The model runs
in two ways, with the same cells: `outputs` takes a window of true words at once (training), `step` takes one word at a
time (generation).
"""

import dataclasses

import keras
import tensorflow as tf

from layers.cells import CELLS
from layers.text import GENERATION, Vocabulary
from layers.word_softmax import WordSoftmax
from pipelines.common.config import from_json
from pipelines.common.data.loading import load_vocabulary
from pipelines.common.errors import UserError
from pipelines.common.runs import Run
from pipelines.common.seeds import Seeds
from pipelines.sentiment.language_model.config import Config
from pipelines.sentiment.preprocessing import VOCABULARY_FILE, Preprocessing


@keras.saving.register_keras_serializable(package="unfold")
class LanguageModel(keras.Model):
    """A recurrent language model (Mikolov et al. 2010, "Recurrent neural network based language model"), in one
    direction or two.

    Args:
        vocabulary_size: number of words.
        cell: "lstm" or "rnn".
        units, layers: units and number of the recurrent layers of each direction.
        bidirectional: also read texts from their end.
        embedding_units: size of the word embeddings.
        tied: use the embeddings as the weights of the softmax, after a linear map to their size if it is not `units`.
        embedding_dropout: share of the channels of the embeddings dropped, the same ones at every word of a window.
        dropout: share of units dropped between recurrent layers and before the softmax.
        seed: makes initial weights and dropout repeatable.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        cell: str,
        units: int,
        layers: int,
        bidirectional: bool,
        embedding_units: int,
        tied: bool,
        embedding_dropout: float,
        dropout: float,
        seed: int | None = None,
        **kwargs,
    ):
        arguments = {name: value for name, value in locals().items() if name not in ("self", "kwargs", "__class__")}
        super().__init__(**kwargs)
        self.arguments = arguments
        self.vocabulary_size, self.units = vocabulary_size, units
        self.directions = ("forward", "backward")[: 1 + bidirectional]
        seeds = Seeds(seed)
        self.embedding = keras.layers.Embedding(
            vocabulary_size,
            embedding_units,
            embeddings_initializer=keras.initializers.RandomUniform(-0.05, 0.05, seed=seeds()),
            name="embedding",
        )
        self.embedding_dropout = keras.layers.SpatialDropout1D(
            embedding_dropout, seed=seeds(), name="embedding_dropout"
        )
        self.recurrent = {
            direction: [
                CELLS[cell](
                    units,
                    return_sequences=True,
                    return_state=True,
                    kernel_initializer=keras.initializers.GlorotUniform(seed=seeds()),
                    recurrent_initializer=keras.initializers.Orthogonal(seed=seeds()),
                    name=f"{direction}_{number}",
                )
                for number in range(1, layers + 1)
            ]
            for direction in self.directions
        }
        self.dropouts = {
            direction: [
                keras.layers.Dropout(dropout, seed=seeds(), name=f"{direction}_dropout_{number}")
                for number in range(1, layers + 1)
            ]
            for direction in self.directions
        }
        self.readouts = {}
        if tied and units != embedding_units:
            self.readouts = {
                direction: keras.layers.Dense(
                    embedding_units,
                    kernel_initializer=keras.initializers.GlorotUniform(seed=seeds()),
                    name=f"{direction}_readout",
                )
                for direction in self.directions
            }
        self.readout_width = embedding_units if tied else units
        self.states_per_layer = 2 if cell == "lstm" else 1  # h and c, or h
        self.random = keras.random.SeedGenerator(seeds())
        self.softmax = WordSoftmax(
            vocabulary_size,
            self.embedding if tied else None,
            kernel_initializer=keras.initializers.GlorotUniform(seed=seeds()),
        )

    def build(self, input_shape=None):
        self.softmax.build((None, self.readout_width))  # `call` does not use it
        self.built = True

    def initial_state(self, rows) -> dict:
        """Returns the state before a text: direction -> for each layer [h, c] or [h], zeros float32[rows, units]."""
        zeros = tf.zeros([rows, self.units])
        return {
            direction: [[zeros] * self.states_per_layer for _ in layers] for direction, layers in self.recurrent.items()
        }

    def outputs(self, words: dict, state: dict, training=False) -> tuple[dict, dict]:
        """Runs the model on a window of true words.

        Args:
            words: direction -> int32[batch, time].
            state: the state before the window, as `initial_state` returns it.

        Returns:
            The inputs of the softmax, direction -> float[batch, time, readout_width], and the state after the window.
        """
        outputs: dict = {}
        new_state: dict[str, list] = {}
        for direction in self.directions:
            x = self.embedding_dropout(self.embedding(words[direction]), training=training)
            new_state[direction] = []
            for number, layer in enumerate(self.recurrent[direction]):
                x, *layer_state = layer(x, initial_state=state[direction][number], training=training)
                x = self.dropouts[direction][number](x, training=training)
                new_state[direction].append(layer_state)
            outputs[direction] = self.apply_readout(x, direction)
        return outputs, new_state

    def step(self, words, state):
        """Runs the forward direction on one word: ids int32[rows] and the state of the forward layers -> (logits
        float32[rows, vocabulary_size], the new state)."""
        x, new_state = self.embedding(words), []
        for layer, layer_state in zip(self.recurrent["forward"], state, strict=True):
            x, layer_state = layer.cell(x, layer_state)
            new_state.append(list(layer_state))
        return self.softmax(self.apply_readout(x, "forward")), new_state

    def apply_readout(self, x, direction: str):
        """Returns the input of the softmax: float[..., units] -> float[..., readout_width]."""
        return self.readouts[direction](x) if self.readouts else x

    def call(self, words, training=False):
        """Returns the `outputs` from the initial state, without the new state."""
        return self.outputs(words, self.initial_state(tf.shape(words["forward"])[0]), training)[0]

    def get_config(self):
        return {**super().get_config(), **self.arguments}


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained language model: its configuration, preprocessing and model."""

    config: Config
    preprocessing: Preprocessing
    model: LanguageModel


def load_trained(run: Run) -> Trained:
    """Loads a run of the command pretrain; UserError if it is not trained yet, or if a file is missing or damaged."""
    run.require_weights()
    config = from_json(Config, run.config)
    path = run.path / VOCABULARY_FILE
    vocabulary = load_vocabulary(path)
    if tuple(vocabulary.words[: len(GENERATION)]) != GENERATION:
        raise UserError(f"{path} is not that of a language model: expected it to begin with {', '.join(GENERATION)}")
    model = make_model(config, vocabulary)
    run.load_weights(model)
    return Trained(config, Preprocessing(vocabulary, **vars(config.text)), model)


def make_model(config: Config, vocabulary: Vocabulary) -> LanguageModel:
    """Builds the model of a configuration."""
    model = LanguageModel(
        vocabulary_size=len(vocabulary),
        **vars(config.model),
        **vars(config.regularization),
        seed=config.training.seed,
        name="language_model",
    )
    model(dict.fromkeys(model.directions, tf.ones([1, 2], tf.int32)))  # makes the weights
    return model

"""The language model: word vectors, recurrent layers, a softmax over the next word.

ids -> embedding -> channel dropout -> recurrent layers 1 … N -> dropout -> (a linear map) -> softmax over the words

A second stack of recurrent layers may read the text from its end, with the same word vectors and softmax. Every stack
has two drivers: `read` takes a window of true words at once (training), `step` one word at a time (writing). Both run
the same cells.
"""

import dataclasses

import keras
import tensorflow as tf

from layers.text import GENERATION, Vocabulary
from layers.word_softmax import WordSoftmax
from pipelines.common.errors import UserError
from pipelines.common.runs import Run, load_weights
from pipelines.common.seeds import Seeds
from pipelines.sentiment.model import CELLS, VOCABULARY_FILE, load_vocabulary, make_preprocessing
from pipelines.sentiment.preprocessing import Preprocessing
from pipelines.sentiment.pretraining_config import LANGUAGE_MODEL, PretrainingConfig


@keras.saving.register_keras_serializable(package="unfold")
class LanguageModel(keras.Model):
    """A recurrent language model (Mikolov et al. 2010, "Recurrent neural network based language model"), in one
    direction or two.

    Args:
        vocabulary_size: number of words.
        cell: "lstm" or "rnn".
        units, layers: of the recurrent layers of each direction.
        bidirectional: read texts from their end as well.
        embedding_units: of a word's vector.
        tied: the softmax takes the word vectors as its weights; a linear map makes the state as wide as they are.
        embedding_dropout: share of the embedding's channels dropped over a whole window.
        dropout: share of units dropped between layers and before the softmax.
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
        super().__init__(**kwargs)
        self.options = {
            "vocabulary_size": vocabulary_size, "cell": cell, "units": units, "layers": layers,
            "bidirectional": bidirectional, "embedding_units": embedding_units, "tied": tied,
            "embedding_dropout": embedding_dropout, "dropout": dropout, "seed": seed,
        }  # fmt: skip
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
        self.states = 2 if cell == "lstm" else 1  # of a layer: h and c, or h
        self.random = keras.random.SeedGenerator(seeds())
        self.softmax = WordSoftmax(
            vocabulary_size,
            self.embedding if tied else None,
            kernel_initializer=keras.initializers.GlorotUniform(seed=seeds()),
        )

    def build(self, input_shape=None):
        self.softmax.build((None, self.readout_width))  # no call of the model reaches it
        self.built = True

    def initial_state(self, rows) -> dict:
        """direction -> for each layer [h, c] or [h], zeros float32[rows, units]: the state before a text."""
        zeros = tf.zeros([rows, self.units])
        return {
            direction: [[zeros] * self.states for _ in layers] for direction, layers in self.recurrent.items()
        }  # fmt: skip

    def read(self, words: dict, state: dict, training=False) -> tuple[dict, dict]:
        """A window of true words, direction -> int32[batch, time], from a state as initial_state gives it -> (what the
        softmax reads, direction -> float[batch, time, readout_width]; the state behind the window)."""
        found, behind = {}, {}
        for direction in self.directions:
            x = self.embedding_dropout(self.embedding(words[direction]), training=training)
            behind[direction] = []
            for number, layer in enumerate(self.recurrent[direction]):
                x, *new = layer(x, initial_state=state[direction][number], training=training)
                x = self.dropouts[direction][number](x, training=training)
                behind[direction].append(new)
            found[direction] = self.read_out(x, direction)
        return found, behind

    def step(self, words, state):
        """One step of writing: word ids int32[rows] and the state of the direction "forward" -> (logits
        float32[rows, words], the new state)."""
        x, behind = self.embedding(words), []
        for number, layer in enumerate(self.recurrent["forward"]):
            x, new = layer.cell(x, state[number])
            behind.append(list(new))
        return self.softmax(self.read_out(x, "forward")), behind

    def read_out(self, x, direction: str):
        return self.readouts[direction](x) if self.readouts else x

    def call(self, words, training=False):
        """`read` from the initial state, without the state behind."""
        return self.read(words, self.initial_state(tf.shape(words["forward"])[0]), training)[0]

    def get_config(self):
        return {**super().get_config(), **self.options}


@dataclasses.dataclass(frozen=True)
class TrainedLanguageModel:
    """What a run of pretrain learned: its config, how it reads text, and the model."""

    config: PretrainingConfig
    preprocessing: Preprocessing
    model: LanguageModel


def load_language_model(run: Run) -> TrainedLanguageModel:
    """Reads a run of pretrain; UserError when it is not trained yet, or a file is missing or damaged."""
    run.require_weights()
    config = PretrainingConfig.from_json(run.config)
    vocabulary = load_vocabulary(run)
    if tuple(vocabulary.words[: len(GENERATION)]) != GENERATION:
        raise UserError(
            f"{run.path / VOCABULARY_FILE} is not a language model's: expected it to begin with {', '.join(GENERATION)}"
        )
    model = make_language_model(config, vocabulary)
    load_weights(model, run.weights_file)
    return TrainedLanguageModel(config, make_preprocessing(config, vocabulary), model)


def open_language_model(path) -> Run:
    """The run of pretrain in a folder; UserError when it is none, or not trained."""
    return Run.open(path, LANGUAGE_MODEL).require_weights()


def make_language_model(config: PretrainingConfig, vocabulary: Vocabulary) -> LanguageModel:
    """A built LanguageModel with the figures of a config."""
    model = LanguageModel(
        vocabulary_size=len(vocabulary),
        cell=config.cell,
        units=config.units,
        layers=config.layers,
        bidirectional=config.bidirectional,
        embedding_units=config.embedding_units,
        tied=config.tied,
        embedding_dropout=config.embedding_dropout,
        dropout=config.dropout,
        seed=config.training.seed,
        name="language_model",
    )
    model(dict.fromkeys(model.directions, tf.ones([1, 2], tf.int32)))  # makes the weights
    return model

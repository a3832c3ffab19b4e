"""The classifier: word vectors, recurrent layers, pooling over time, one linear map to the labels.

ids -> word dropout -> embedding -> channel dropout -> recurrent layers -> pooling over time -> dropout -> logits
"""

import dataclasses
from collections.abc import Sequence

import keras

from layers.lstm import LSTM
from layers.rnn import VanillaRNN
from layers.text import PADDING, UNKNOWN, Vocabulary
from pipelines.common.errors import UserError
from pipelines.common.files import read_json
from pipelines.common.runs import Run, load_weights
from pipelines.common.seeds import Seeds
from pipelines.sentiment.config import Config
from pipelines.sentiment.preprocessing import Preprocessing
from pipelines.sentiment.text_options import TextOptions

CELLS = {"lstm": LSTM, "rnn": VanillaRNN}
VOCABULARY_FILE = "vocabulary.txt"
LABELS_FILE = "labels.json"


@keras.saving.register_keras_serializable(package="unfold")
class WordDropout(keras.layers.Layer):
    """In training, reads words as unknown at random: int32[batch, time] -> int32[batch, time]; padding stays padding.

    What an unknown word means is learned by the way (Dai & Le 2015 drop words likewise).
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, ids, training=False):
        if not training or not self.rate:
            return ids
        dropped = keras.random.uniform(keras.ops.shape(ids), seed=self.seed_generator) < self.rate
        return keras.ops.where(dropped & (ids != PADDING), UNKNOWN, ids)

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable(package="unfold")
class PoolOverTime(keras.layers.Layer):
    """Mean or maximum over the steps that the mask keeps: float[batch, time, units], bool[batch, time] ->
    float[batch, units]. Where the mask keeps no step, the result is zero."""

    def __init__(self, how: str, **kwargs):
        super().__init__(**kwargs)
        if how not in ("mean", "max"):
            raise ValueError(f"how is {how!r}, expected 'mean' or 'max'")
        self.how = how
        self.supports_masking = True

    def compute_mask(self, inputs, previous_mask=None):
        return None  # the result has no time

    def call(self, states, kept):
        kept = kept[:, :, None]
        if self.how == "mean":
            kept = keras.ops.cast(kept, "float32")  # in half precision, counts above 256 would be rounded
            total = keras.ops.sum(keras.ops.cast(states, "float32") * kept, axis=1)
            return keras.ops.cast(total / keras.ops.maximum(keras.ops.sum(kept, axis=1), 1), states.dtype)
        lowest = keras.ops.cast(-6e4, states.dtype)  # below any state, and finite in float16 too
        highest = keras.ops.max(keras.ops.where(kept, states, lowest), axis=1)
        return keras.ops.where(keras.ops.any(kept, axis=1), highest, keras.ops.zeros_like(highest))

    def get_config(self):
        return {**super().get_config(), "how": self.how}


@keras.saving.register_keras_serializable(package="unfold")
class NotPadding(keras.layers.Layer):
    """int32[batch, time] -> bool[batch, time]: where there is a word."""

    def call(self, ids):
        return keras.ops.not_equal(ids, PADDING)

    def compute_output_spec(self, ids):
        return keras.KerasTensor(ids.shape, dtype="bool")


def build_model(
    *,
    vocabulary_size: int,
    classes: int,
    cell: str,
    units: int,
    layers: int,
    bidirectional: bool,
    pooling: Sequence[str],
    embedding_units: int,
    embedding_dropout: float,
    word_dropout: float,
    recurrent_dropout: float,
    dropout: float,
    seed: int | None = None,
) -> keras.Model:
    """A model int32[batch, time] -> logits float32[batch, classes]; id 0 is padding, on whichever side.

    Args:
        cell: "lstm" or "rnn".
        units: of each direction of each recurrent layer.
        pooling: one or more of "last", "mean", "max", concatenated. "last" is the state after the last word read: for
            the backward direction that is the first word.
        embedding_dropout: share of channels dropped over the whole review (variational, Gal & Ghahramani 2016).
        word_dropout: share of words read as unknown.
        recurrent_dropout: share of the state's units dropped between steps.
        dropout: share of units dropped between recurrent layers and before the head.
        seed: makes initial weights and dropout repeatable.
    """
    seeds = Seeds(seed)
    ids = keras.Input((None,), dtype="int32", name="ids")
    kept = NotPadding(name="kept")(ids)
    read = WordDropout(word_dropout, seed=seeds(), name="word_dropout")(ids)
    embedding = keras.layers.Embedding(
        vocabulary_size,
        embedding_units,
        embeddings_initializer=keras.initializers.RandomUniform(-0.05, 0.05, seed=seeds()),
        name="embedding",
    )
    states = embedding(read)
    states = keras.layers.SpatialDropout1D(embedding_dropout, seed=seeds(), name="embedding_dropout")(states)
    for number in range(1, layers + 1):
        if number > 1:
            states = keras.layers.Dropout(dropout, seed=seeds(), name=f"dropout_{number - 1}")(states)
        directions = [
            CELLS[cell](
                units,
                return_sequences=True,
                return_state=True,
                go_backwards=backwards,
                recurrent_dropout=recurrent_dropout,
                kernel_initializer=keras.initializers.GlorotUniform(seed=seeds()),
                recurrent_initializer=keras.initializers.Orthogonal(seed=seeds()),
                seed=seeds(),
                name=f"{'backward' if backwards else 'forward'}_{number}",
            )
            for backwards in (False, True)[: 1 + bidirectional]
        ]  # both made here: a copy that Bidirectional makes would begin with the same seeds, hence the same weights
        layer = directions[0]
        if bidirectional:
            layer = keras.layers.Bidirectional(layer, backward_layer=directions[1], name=f"recurrent_{number}")
        states, *last = layer(states, mask=kept)
    hidden = last[:: len(last) // 2] if bidirectional else last[:1]  # h of each direction; an LSTM's c comes behind it
    pools = {
        "last": lambda: hidden,
        "mean": lambda: [PoolOverTime("mean", name="mean_over_time")(states, kept)],
        "max": lambda: [PoolOverTime("max", name="max_over_time")(states, kept)],
    }
    pooled = [part for how in pooling for part in pools[how]()]
    review = keras.layers.Concatenate(name="review")(pooled) if len(pooled) > 1 else pooled[0]
    review = keras.layers.Dropout(dropout, seed=seeds(), name="dropout")(review)
    head = keras.layers.Dense(
        classes,
        kernel_initializer=keras.initializers.GlorotUniform(seed=seeds()),
        dtype="float32",
        name="head",
    )
    return keras.Model(ids, head(review), name="sentiment")


def recurrent_layers(model: keras.Model) -> list[list[keras.layers.Layer]]:
    """The recurrent layers of build_model, from the first to the last: [forward], or [forward, backward], of each."""
    found = []
    for layer in model.layers:
        if layer.name.startswith("recurrent_"):
            found.append([layer.forward_layer, layer.backward_layer])
        elif layer.name.startswith("forward_"):
            found.append([layer])
    return found


def forward_layer(model: keras.Model) -> keras.layers.Layer:
    """The first recurrent layer, in reading direction."""
    return recurrent_layers(model)[0][0]


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a run learned: its config, how it reads text, the names of its labels, and the model."""

    config: Config
    preprocessing: Preprocessing
    names: tuple[str, ...]
    model: keras.Model


def load_trained(run: Run) -> Trained:
    """Reads a trained run; UserError when it is not trained yet, or a file is missing or damaged."""
    run.require_weights()
    config = Config.from_json(run.config)
    preprocessing = make_preprocessing(config, load_vocabulary(run))
    names = load_names(run)
    model = make_model(config, preprocessing.vocabulary, names)
    load_weights(model, run.weights_file)
    return Trained(config, preprocessing, names, model)


def make_model(config: Config, vocabulary: Vocabulary, names: Sequence[str]) -> keras.Model:
    """build_model with the figures of a config."""
    return build_model(
        vocabulary_size=len(vocabulary),
        classes=len(names),
        cell=config.cell,
        units=config.units,
        layers=config.layers,
        bidirectional=config.bidirectional,
        pooling=config.pooling,
        embedding_units=config.embedding_units,
        embedding_dropout=config.embedding_dropout,
        word_dropout=config.word_dropout,
        recurrent_dropout=config.recurrent_dropout,
        dropout=config.dropout,
        seed=config.training.seed,
    )


def make_preprocessing(config: TextOptions, vocabulary: Vocabulary) -> Preprocessing:
    return Preprocessing(vocabulary, **config.limits)


def load_vocabulary(run: Run) -> Vocabulary:
    """The run's vocabulary.txt."""
    path = run.path / VOCABULARY_FILE
    try:
        return Vocabulary.load(path)
    except OSError as error:
        raise UserError(f"{path} could not be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is no vocabulary: {error}") from error


def load_names(run: Run) -> tuple[str, ...]:
    """The run's labels.json: the names of the labels, in the order of their ids."""
    path = run.path / LABELS_FILE
    names = read_json(path)
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path} holds no labels: expected a list of two names or more")
    return tuple(names)

"""The classifier: embedding, recurrent layers, pooling over time, and a linear map to the logits of the labels.

ids -> word dropout -> embedding -> channel dropout -> recurrent layers -> pooling over time -> dropout -> logits
       (-> calibration by length)
"""

import dataclasses
from collections.abc import Sequence

import keras

from layers.cells import CELLS
from layers.pooling import AttentionPooling, PoolOverTime
from layers.text import PADDING, UNKNOWN, Vocabulary
from pipelines.common.config import from_json
from pipelines.common.data.loading import load_labels, load_vocabulary
from pipelines.common.runs import Run
from pipelines.common.seeds import Seeds
from pipelines.sentiment.config import Config
from pipelines.sentiment.length_calibration import KnownWords, LengthCalibration
from pipelines.sentiment.preprocessing import VOCABULARY_FILE, Preprocessing

LABELS_FILE = "labels.json"
LENGTH_CALIBRATION = "length_calibration"
CALIBRATION_LAYERS = (LENGTH_CALIBRATION, "known_words")  # of a model that is calibrated by length


@keras.saving.register_keras_serializable(package="unfold")
class WordDropout(keras.layers.Layer):
    """Replaces random words by the unknown word in training (Dai & Le 2015): int32[batch, time] -> int32[batch, time].

    The embedding of the unknown word is then trained as well. Padding is not replaced.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, ids, training=False):
        if not training or not self.rate:
            return ids
        dropout_mask = keras.random.uniform(keras.ops.shape(ids), seed=self.seed_generator) < self.rate
        return keras.ops.where(dropout_mask & (ids != PADDING), UNKNOWN, ids)

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable(package="unfold")
class PaddingMask(keras.layers.Layer):
    """Computes which positions are words, not padding: int32[batch, time] -> bool[batch, time]."""

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
    calibrated_by_length: bool = False,
    seed: int | None = None,
) -> keras.Model:
    """Builds a model int32[batch, time] -> logits float32[batch, classes]. Id 0 is padding, on either side.

    Args:
        cell: "lstm" or "rnn".
        units: of each direction of each recurrent layer.
        pooling: one or more of "last", "mean", "max", "attention", concatenated. "last" is the final state of each
            direction: that of the backward direction is the state at the first word. "attention" is the mean weighted
            by learned weights, of as many units as the states have.
        embedding_dropout: share of the channels dropped, the same ones at every word of a review (variational, Gal &
            Ghahramani 2016).
        word_dropout: share of words replaced by the unknown word.
        recurrent_dropout: share of the units of the recurrent state dropped, the same ones at every time step.
        dropout: share of units dropped between recurrent layers and before the head.
        calibrated_by_length: scale the logits by the number of known words; see LengthCalibration.
        seed: makes initial weights and dropout repeatable.
    """
    seeds = Seeds(seed)
    ids = keras.Input((None,), dtype="int32", name="ids")
    padding_mask = PaddingMask(name="padding_mask")(ids)
    words = WordDropout(word_dropout, seed=seeds(), name="word_dropout")(ids)
    embedding = keras.layers.Embedding(
        vocabulary_size,
        embedding_units,
        embeddings_initializer=keras.initializers.RandomUniform(-0.05, 0.05, seed=seeds()),
        name="embedding",
    )
    states = embedding(words)
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
        ]  # both are made here, since a copy that Bidirectional makes would have the same seeds, hence the same weights
        layer = directions[0]
        if bidirectional:
            layer = keras.layers.Bidirectional(layer, backward_layer=directions[1], name=f"recurrent_{number}")
        states, *last = layer(states, mask=padding_mask)
    hidden = last[:: len(last) // 2] if bidirectional else last[:1]  # h of each direction; an LSTM's c is after it

    def attend():
        layer = AttentionPooling(
            states.shape[-1],
            return_weights=True,
            kernel_initializer=keras.initializers.GlorotUniform(seed=seeds()),
            context_initializer=keras.initializers.GlorotUniform(seed=seeds()),
            name="attention_over_time",
        )
        pooled, _ = layer(states, mask=padding_mask)
        return [pooled]

    pools = {
        "last": lambda: hidden,
        "mean": lambda: [PoolOverTime("mean", name="mean_over_time")(states, padding_mask)],
        "max": lambda: [PoolOverTime("max", name="max_over_time")(states, padding_mask)],
        "attention": attend,
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
    logits = head(review)
    if calibrated_by_length:
        logits = LengthCalibration(name=LENGTH_CALIBRATION)(logits, KnownWords(name="known_words")(ids))
    return keras.Model(ids, logits, name="sentiment")


def recurrent_layers(model: keras.Model) -> list[list[keras.layers.Layer]]:
    """Returns the recurrent layers of a model that build_model made, from the first to the last: [forward] or [forward,
    backward] of each."""
    layers = []
    for layer in model.layers:
        if layer.name.startswith("recurrent_"):
            layers.append([layer.forward_layer, layer.backward_layer])
        elif layer.name.startswith("forward_"):
            layers.append([layer])
    return layers


def attention_model(model: keras.Model) -> keras.Model | None:
    """Returns the model int32[batch, time] -> attention weights float32[batch, time], with the weights of a model that
    build_model made; None if it has no attention pooling."""
    layers = [layer for layer in model.layers if isinstance(layer, AttentionPooling)]
    return keras.Model(model.input, layers[0].output[1]) if layers else None


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained run: its configuration, preprocessing, names of the labels, and model."""

    config: Config
    preprocessing: Preprocessing
    names: tuple[str, ...]
    model: keras.Model


def load_trained(run: Run) -> Trained:
    """Loads a trained run; UserError if it is not trained yet, or if a file is missing or damaged."""
    run.require_weights()
    config = from_json(Config, run.config)
    preprocessing = Preprocessing(load_vocabulary(run.path / VOCABULARY_FILE), **vars(config.text))
    names = load_labels(run.path / LABELS_FILE)
    model = make_model(config, preprocessing.vocabulary, names)
    run.load_weights(model)
    return Trained(config, preprocessing, names, model)


def make_model(config: Config, vocabulary: Vocabulary, names: Sequence[str]) -> keras.Model:
    """Builds the model of a configuration."""
    return build_model(
        vocabulary_size=len(vocabulary),
        classes=len(names),
        **vars(config.model),
        **vars(config.regularization),
        calibrated_by_length=config.loss.calibrate_lengths,
        seed=config.training.seed,
    )

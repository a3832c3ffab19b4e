"""Starts a classifier from a language model: Dai & Le 2015, "Semi-supervised sequence learning"; or from word vectors.

    embedding                          copied; a new word has the embedding of the unknown word
    forward_1 … forward_N              copied
    backward_1 … backward_N            copied, if the classifier is bidirectional
    head                               new

From the second layer on, a bidirectional classifier reads both directions of the layer below, a language model only its
own: the rows of the kernel for the other direction are zero. So the states of both models are equal.
"""

import keras
import numpy as np

from layers.text import UNKNOWN, Vocabulary
from pipelines.common.config import flag
from pipelines.common.data import word_vectors
from pipelines.common.data.word_vectors import WordVectors
from pipelines.common.errors import UserError
from pipelines.common.training.checkpoints import Checkpoints
from pipelines.common.training.optimizers import ParameterGroup
from pipelines.common.training.options import TrainingOptions
from pipelines.sentiment import dataset
from pipelines.sentiment.config import ARCHITECTURE, Config, TransferConfig
from pipelines.sentiment.language_model import config as language_model
from pipelines.sentiment.language_model.model import Trained
from pipelines.sentiment.model import recurrent_layers


def refuse_other_architecture(config: Config, learned: language_model.Config):
    """Raises UserError if the classifier of a configuration cannot start from the language model."""
    start = f"the language model {config.transfer.init_from}"
    if config.model.bidirectional and not learned.model.bidirectional:
        raise UserError(
            f"--bidirectional is True, but {start} only reads forwards: give --no-bidirectional, or pretrain with"
            " --bidirectional"
        )
    pairs = {field: (getattr(config.model, field), getattr(learned.model, field)) for field in ARCHITECTURE}
    del pairs["bidirectional"]
    for field in ("lower_case", "split_negation"):
        pairs[field] = getattr(config.text, field), getattr(learned.text, field)
    for field, (value, expected) in pairs.items():
        if value != expected:
            raise UserError(f"{flag(field)} is {value}, but {start} has {expected}; expected the same")
    dataset.refuse_other_split(config.data, learned.data, start)


def extend_vocabulary(learned: Vocabulary, own: Vocabulary, size: int) -> Vocabulary:
    """Returns the words of the language model, followed by other words of the reviews, up to `size` words in total."""
    words = learned.extend(own).words
    return Vocabulary(words[: max(size, len(learned))])


def copy_weights(learned: Trained, model: keras.Model, vocabulary: Vocabulary):
    """Copies the embeddings and recurrent layers of a language model into a classifier with this vocabulary."""
    (known,) = learned.model.embedding.get_weights()
    number = {word: row for row, word in enumerate(learned.preprocessing.vocabulary.words)}
    rows = [number.get(word, UNKNOWN) for word in vocabulary.words]
    model.get_layer("embedding").set_weights([known[rows]])
    for directions in recurrent_layers(model):
        for side, layer in enumerate(directions):
            source = learned.model.get_layer(layer.name)
            kernel, *others = source.get_weights()
            width = layer.cell.kernel.shape[0]
            if width > len(kernel):  # it reads both directions: set the rows of its own
                wide = np.zeros((width, kernel.shape[1]), kernel.dtype)
                wide[side * len(kernel) : (side + 1) * len(kernel)] = kernel
                kernel = wide
            layer.set_weights([kernel, *others])


def read_vectors(config: Config, vocabulary: Vocabulary) -> WordVectors | None:
    """Reads the file of --vectors. Returns None if there is none, or if the run has a checkpoint, which has the
    embeddings: the file may be gone."""
    path = config.transfer.vectors
    if not path or Checkpoints(config.run / "checkpoints").files():
        return None
    return word_vectors.read(path, vocabulary.words, config.model.embedding_units)


def parameter_groups(transfer: TransferConfig, options: TrainingOptions, model: keras.Model) -> list[ParameterGroup]:
    """Returns the groups of weights below the head, each with a lower learning rate or a later first epoch than the one
    above it. Weights that are trained like the head are in none.

    Howard & Ruder 2018, "Universal language model fine-tuning for text classification", section 3.2, discriminative
    fine-tuning, and section 3.3, gradual unfreezing. With --layer-decay d, a layer n below the head has d^n of the
    learning rate of the head (the paper: d = 1 / 2.6). --freeze-vectors delays the last group, the embeddings, and
    excludes it if no epoch is left for it.
    """
    embedding = model.get_layer("embedding")
    embedding.trainable = transfer.freeze_vectors < options.epochs
    layers = [[weight for layer in pair for weight in layer.trainable_weights] for pair in recurrent_layers(model)]
    groups = [*reversed(layers), embedding.trainable_weights]
    rates = [options.learning_rate * transfer.layer_decay**depth for depth in range(1, len(groups) + 1)]
    starts = [depth * transfer.unfreeze_every for depth in range(1, len(groups) + 1)]
    starts[-1] = max(starts[-1], transfer.freeze_vectors)
    return [
        ParameterGroup(weights, rate, start)
        for weights, rate, start in zip(groups, rates, starts, strict=True)
        if weights and (rate, start) != (options.learning_rate, 0)
    ]

"""Starts a classifier from a language model: Dai & Le 2015, "Semi-supervised sequence learning".

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
from pipelines.common.errors import UserError
from pipelines.common.training.optimizers import ParameterGroup
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
    pairs["lower_case"] = config.text.lower_case, learned.text.lower_case
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


def parameter_groups(transfer: TransferConfig, learning_rate: float, model: keras.Model) -> list[ParameterGroup]:
    """Returns the groups of weights below the head, each with a lower learning rate and a later first epoch than the
    one above it; an empty list if all weights are trained alike.

    Howard & Ruder 2018, "Universal language model fine-tuning for text classification", section 3.2, discriminative
    fine-tuning, and section 3.3, gradual unfreezing. With --layer-decay d, a layer n below the head has d^n of the
    learning rate of the head (the paper: d = 1 / 2.6).
    """
    if transfer.layer_decay == 1 and not transfer.unfreeze_every:
        return []
    layers = [[weight for layer in pair for weight in layer.trainable_weights] for pair in recurrent_layers(model)]
    groups = [*reversed(layers), model.get_layer("embedding").trainable_weights]
    return [
        ParameterGroup(weights, learning_rate * transfer.layer_decay**depth, depth * transfer.unfreeze_every)
        for depth, weights in enumerate(groups, start=1)
    ]

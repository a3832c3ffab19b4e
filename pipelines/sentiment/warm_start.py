"""A classifier that begins with what a language model has learned: Dai & Le 2015, "Semi-supervised sequence learning".

    embedding                          the same vectors; a word that is new begins with the vector of the unknown word
    forward_1 … forward_N              the layers of reading forwards
    backward_1 … backward_N            those of reading from the end, where there are any and the classifier has both
    head                               new

A layer above the first reads both directions below it in a classifier of two, and only its own in a language model: the
rows of the other direction begin with zero. So the states of both networks are the same.
"""

import keras
import numpy as np

from layers.text import UNKNOWN, Vocabulary
from pipelines.common.config import flag
from pipelines.common.errors import UserError
from pipelines.common.training.optimizers import ParameterGroup
from pipelines.sentiment import splits
from pipelines.sentiment.config import LEARNED, Config
from pipelines.sentiment.language_model import TrainedLanguageModel
from pipelines.sentiment.model import recurrent_layers
from pipelines.sentiment.pretraining_config import PretrainingConfig


def refuse_other_network(config: Config, learned: PretrainingConfig):
    """UserError unless the classifier of a config can begin with the language model."""
    if config.bidirectional and not learned.bidirectional:
        raise UserError(
            f"--bidirectional is True, but the language model {config.init_from} reads forwards alone: give"
            " --no-bidirectional, or pretrain with --bidirectional"
        )
    for field in LEARNED:
        if field not in ("bidirectional", "vocabulary_size") and getattr(config, field) != getattr(learned, field):
            raise UserError(
                f"{flag(field)} is {getattr(config, field)}, but the language model {config.init_from} has"
                f" {getattr(learned, field)}; expected the same"
            )
    splits.refuse_other_split(config, learned, f"the language model {config.init_from}")


def carry_over(learned: Vocabulary, own: Vocabulary, size: int) -> Vocabulary:
    """The language model's words, and behind them those of the reviews that it lacks, up to `size` words in all."""
    words = learned.extend(own).words
    return Vocabulary(words[: max(size, len(learned))])


def transplant(learned: TrainedLanguageModel, model: keras.Model, vocabulary: Vocabulary):
    """Gives a classifier the word vectors and recurrent layers of a language model."""
    (known,) = learned.model.embedding.get_weights()
    number = {word: row for row, word in enumerate(learned.preprocessing.vocabulary.words)}
    rows = [number.get(word, UNKNOWN) for word in vocabulary.words]
    model.get_layer("embedding").set_weights([known[rows]])
    for directions in recurrent_layers(model):
        for side, layer in enumerate(directions):
            source = learned.model.get_layer(layer.name)
            kernel, *others = source.get_weights()
            width = layer.cell.kernel.shape[0]
            if width > len(kernel):  # it reads both directions: its own share of the rows
                wide = np.zeros((width, kernel.shape[1]), kernel.dtype)
                wide[side * len(kernel) : (side + 1) * len(kernel)] = kernel
                kernel = wide
            layer.set_weights([kernel, *others])


def parameter_groups(config: Config, model: keras.Model) -> list[ParameterGroup]:
    """Returns the groups of weights below the head, each with a lower learning rate and a later first epoch than the
    one above it; an empty list if all weights are trained alike.

    Howard & Ruder 2018, "Universal language model fine-tuning for text classification", section 3.2, discriminative
    fine-tuning, and section 3.3, gradual unfreezing. With --layer-decay d, a layer n below the head has d^n of the
    learning rate of the head (the paper: d = 1 / 2.6).
    """
    if config.layer_decay == 1 and not config.unfreeze_every:
        return []
    layers = [[weight for layer in pair for weight in layer.trainable_weights] for pair in recurrent_layers(model)]
    groups = [*reversed(layers), model.get_layer("embedding").trainable_weights]
    return [
        ParameterGroup(
            weights, config.training.learning_rate * config.layer_decay**depth, depth * config.unfreeze_every
        )
        for depth, weights in enumerate(groups, start=1)
    ]

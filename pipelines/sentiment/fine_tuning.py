"""Fine-tuning: copies the weights of another run, mixes in its reviews, and averages the weights with its own."""

import keras
import numpy as np

from layers.text import UNKNOWN, Vocabulary
from pipelines.common.data import corpora
from pipelines.sentiment import dataset
from pipelines.sentiment.config import Config
from pipelines.sentiment.labels import label_ids
from pipelines.sentiment.model import CALIBRATION_LAYERS, Trained
from pipelines.sentiment.reviews import Reviews, in_memory

MIXTURES = {"train": "mixture in train", "validation": "mixture in validation"}  # names of reviews of the base run


def copy_weights(base: Trained, model: keras.Model, vocabulary: Vocabulary, names: tuple[str, ...]):
    """Copies the weights of the base run into the model.

    A new word has the embedding of the unknown word, as which the base read it. The head is copied if the labels are
    the same, in any order; otherwise it stays as it was initialized. A calibration by length is not copied.
    """
    for layer in base.model.layers:
        if layer.name not in ("embedding", "head", *CALIBRATION_LAYERS):
            model.get_layer(layer.name).set_weights(layer.get_weights())
    (known,) = base.model.get_layer("embedding").get_weights()
    new = np.repeat(known[UNKNOWN : UNKNOWN + 1], len(vocabulary) - len(known), axis=0)
    model.get_layer("embedding").set_weights([np.concatenate([known, new])])
    if sorted(names) == sorted(base.names):
        columns = [base.names.index(name) for name in names]
        kernel, bias = base.model.get_layer("head").get_weights()
        model.get_layer("head").set_weights([kernel[:, columns], bias[columns]])


def draw_mixture(config: Config, base: Trained, new: dict[str, Reviews]) -> dict[str, Reviews]:
    """Returns random reviews of the base run, by the names in MIXTURES, whose share of all, with the new ones, is
    --mixture. They are in memory."""
    found = {}
    own = dataset.load(base.config.data, config.run.parent / corpora.CACHE)
    share = config.transfer.mixture
    random = np.random.default_rng(config.training.seed)
    for part, mixture in MIXTURES.items():
        drawn = random.permutation(len(own[part]))[: round(len(new[part]) * share / (1 - share))]
        reviews = own[part].take(drawn)
        labels = [base.names[number] for number in label_ids(reviews, base.names)]
        found[mixture] = in_memory(zip(reviews.texts, labels, reviews.texts, reviews.places, strict=True))
    return found


def average_weights(model: keras.Model, others: list[np.ndarray], share: float):
    """Sets the weights of the model to share * others + (1 - share) * its own.

    With the weights before fine-tuning, this keeps more of what the model knew: Wortsman et al. 2022, "Robust
    fine-tuning of zero-shot models", equation 1.
    """
    pairs = zip(model.get_weights(), others, strict=True)
    model.set_weights([share * other + (1 - share) * own for own, other in pairs])

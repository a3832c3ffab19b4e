"""What fine-tuning takes from the run it starts from."""

from collections.abc import Sequence

import keras
import numpy as np

from layers.text import UNKNOWN
from pipelines.common.config import flag
from pipelines.common.errors import UserError


def refuse_other_model(config, base, inherited: Sequence[str]):
    """UserError when a field of `inherited` differs from that of `base`, the config of the run that is fine-tuned: its
    weights would not fit, or the field would not be read."""
    for field in inherited:
        if getattr(config, field) != getattr(base, field):
            raise UserError(
                f"{flag(field)} is {getattr(config, field)}, but fine-tuning keeps the model it starts from, where it"
                f" is {getattr(base, field)}"
            )


def take_over(model: keras.Model, learned: keras.Model):
    """Gives a model that writes words the weights of one of the same shape, but for a vocabulary that may be smaller.

    Known words keep their rows; a new one begins with the row of the unknown word, as which it was read so far, and
    with the lowest bias of all, so that the decoder does not write it before it has learned to.
    """
    for weight, known in zip(model.weights, learned.weights, strict=True):
        value = known.numpy()
        for axis, (have, want) in enumerate(zip(value.shape, weight.shape, strict=True)):
            if have < want:  # the vocabulary has grown along this axis
                new = np.take(value, [UNKNOWN], axis=axis)
                if value.ndim == 1:
                    new = np.full_like(new, value.min())
                value = np.concatenate([value, np.repeat(new, want - have, axis=axis)], axis=axis)
        weight.assign(value)

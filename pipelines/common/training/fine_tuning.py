"""Fine-tuning: what a new run takes from the run it starts from, its base."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from layers.text import UNKNOWN
from pipelines.common.config import flag
from pipelines.common.errors import UserError


def refuse_changes(group, base, fields: Sequence[str] = ()):
    """Raises UserError when a field of a configuration group differs from that of the base run.

    Args:
        group: the group of the new configuration, such as `config.model`.
        base: the same group of the base run, to whose weights or vocabulary it belongs.
        fields: those to compare; all of the group if empty.
    """
    for field in fields or [field.name for field in dataclasses.fields(group)]:
        if getattr(group, field) != getattr(base, field):
            raise UserError(
                f"{flag(field)} is {getattr(group, field)}, but fine-tuning keeps the model it starts from, where it is"
                f" {getattr(base, field)}"
            )


def copy_weights(model: keras.Model, learned: keras.Model):
    """Copies the weights of a model of the same architecture, whose vocabulary may be smaller.

    Known words keep their rows. A new word starts with the row of the unknown word, as which it was read so far, and
    with the lowest bias, so that the decoder does not predict it before it has learned to.
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

"""A run, or the average of several, as a SavedModel that describes encoded images and needs nothing but TensorFlow."""

import pathlib
from collections.abc import Sequence

import tensorflow as tf

from pipelines.captioning.describe import Description
from pipelines.captioning.model import Trained, load_trained
from pipelines.common.errors import UserError
from pipelines.common.runs import Run
from pipelines.common.serving.saved_model import write_saved_model
from pipelines.common.serving.writing import DRAW, SEARCH


def export(runs: Sequence[pathlib.Path], to: pathlib.Path | None = None) -> pathlib.Path:
    """Writes the export of one run, or of several whose probabilities it averages; gives its folder.

    Args:
        to: the folder; None: `export` in the folder of the first run.

    Raises:
        UserError: a run is not trained, or several do not share their vocabulary.
    """
    opened = [Run.open(path, "captioning") for path in runs]
    members = [load_trained(run) for run in opened]
    for run, member in zip(opened[1:], members[1:], strict=True):
        if member.preprocessing.tokenizer.vocabulary.words != members[0].preprocessing.tokenizer.vocabulary.words:
            raise UserError(f"{opened[0].path} and {run.path} cannot be averaged: their vocabularies differ")
    captioner = Exported(members)
    return write_saved_model(to or opened[0].export, captioner.signatures, captioner.description.resources)


class Exported:
    """The signatures of an export."""

    def __init__(self, members: Sequence[Trained]):
        config = members[0].config
        self.description = description = Description(members)

        def serving_default(image):
            return description.beam(
                *description.see(image),
                tf.constant([""]),
                config.beam_size,
                config.length_penalty,
                0,
                config.max_tokens,
            )

        def beam(image, prefix, beam_size, length_penalty, min_length, max_length):
            return description.beam(*description.see(image), prefix, beam_size, length_penalty, min_length, max_length)

        def sample(image, prefix, temperature, top_k, top_p, seed, max_length):
            return description.sample(*description.see(image), prefix, temperature, top_k, top_p, seed, max_length)

        def defaults():
            """What serving_default searches with, and the most pixels of an image."""
            return {
                "beam_size": tf.constant(config.beam_size),
                "length_penalty": tf.constant(config.length_penalty),
                "max_length": tf.constant(config.max_tokens),
                "pixel_limit": tf.constant(min(member.config.pixel_limit for member in members)),
            }

        images = tf.TensorSpec([None], tf.string, name="image")
        self.signatures = {
            name: tf.function(function, input_signature=[images, *more], autograph=False)
            for name, function, more in (
                ("serving_default", serving_default, []),
                ("beam", beam, SEARCH),
                ("sample", sample, DRAW),
            )
        } | {"defaults": tf.function(defaults, input_signature=[], autograph=False)}

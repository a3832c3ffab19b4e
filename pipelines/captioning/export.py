"""Writes a run, or the average of several, as a SavedModel that captions encoded images with TensorFlow only."""

import pathlib
from collections.abc import Sequence

from pipelines.captioning.decoder import image_decoder
from pipelines.captioning.model import load_trained
from pipelines.common.errors import UserError
from pipelines.common.runs import Run
from pipelines.common.serving.saved_model import write_saved_model


def export(runs: Sequence[pathlib.Path], to: pathlib.Path | None = None) -> pathlib.Path:
    """Writes the export of one run, or of several whose probabilities it averages, and returns its folder.

    Args:
        to: The folder. None: `export` in the folder of the first run.

    Raises:
        UserError: A run is not trained, or several do not share their vocabulary.
    """
    opened = [Run.open(path, "captioning") for path in runs]
    members = [load_trained(run) for run in opened]
    for run, member in zip(opened[1:], members[1:], strict=True):
        if member.preprocessing.tokenizer.vocabulary.words != members[0].preprocessing.tokenizer.vocabulary.words:
            raise UserError(f"{opened[0].path} and {run.path} cannot be averaged: their vocabularies differ")
    resources = [part for member in members for part in (member.model, member.preprocessing)]
    return write_saved_model(to or opened[0].export, image_decoder(members).signatures(), resources)

"""Finds, loads and calls the export of a run."""

import pathlib

import numpy as np
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.serving.decoding_options import DecodingOptions


def has_wildcards(path) -> bool:
    """Returns whether TensorFlow takes the path for a pattern, and may not find the weights of an export there."""
    return any(character in str(path) for character in "[]*?\\")


def load(model: pathlib.Path, task: str, outputs: set[str]):
    """Returns the SavedModel of a run or of an export.

    Args:
        model: A run that was exported, or the folder of the export.
        task: Name of the pipeline.
        outputs: Names of the outputs that its signature `serving_default` must have. It may have others.

    Raises:
        UserError: There is no export, it is damaged, or it belongs to another pipeline.
    """
    export = find(model, task)
    try:
        loaded = tf.saved_model.load(str(export))
    except Exception as error:  # TensorFlow has no common class for what a damaged file may cause
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if has_wildcards(export):
            reason = (
                "TensorFlow takes the characters [ ] * ? \\ in its path for a pattern; expected a path without them"
            )
        raise UserError(f"{export} cannot be loaded: {reason}") from error
    signature = loaded.signatures.get("serving_default")
    if signature is None or not outputs <= set(signature.structured_outputs):
        *others, last = sorted(outputs)
        names = f"{', '.join(others)} and {last}" if others else last
        raise UserError(f"{export} is not an export of the pipeline {task}: expected one that returns {names}")
    return loaded


def find(model: pathlib.Path, task: str) -> pathlib.Path:
    """Returns the folder of the SavedModel of a run or of an export. Raises UserError if there is none."""
    for folder in (model, model / "export"):
        if (folder / "saved_model.pb").is_file():
            return folder
    if (model / "config.json").is_file():
        raise UserError(f"{model} has no export yet: make it with python -m pipelines.{task} export --run {model}")
    raise UserError(f"--model {model} is neither a run nor an export: expected the folder of one of them")


def decode(loaded, options: DecodingOptions, **inputs) -> dict:
    """Returns the outputs of the signature of an export that decodes with these options: `beam` or `sample`."""
    defaults = {name: value.numpy().item() for name, value in loaded.signatures["defaults"]().items()}
    values = {name: tf.constant(value) for name, value in options.values(defaults).items()}
    return loaded.signatures[options.signature](prefix=tf.constant([options.prefix]), **inputs, **values)


def sentences(outputs: dict, name: str, options: DecodingOptions) -> list[dict]:
    """Returns an object for each input from the outputs of `decode`: the sentence under its name, its score, its
    confidence and the unknown words if the export returns them, and the candidates and their scores if more than one
    was asked for."""
    found = {key: value.numpy() for key, value in outputs.items()}
    objects = []
    for row, sentence in enumerate(found[name]):
        answer = {name: sentence.decode(), "score": round(float(found["score"][row]), 6)}
        if "confidence" in found:
            answer["confidence"] = round(float(found["confidence"][row]), 4)
        if "unknown" in found:
            answer["unknown"] = found["unknown"][row].decode().split()
        if options.n_best > 1:
            answer["candidates"] = [candidate.decode() for candidate in found["candidates"][row][: options.n_best]]
            if "scores" in found:  # in exports since they return them; a candidate that was not found has none
                scores = found["scores"][row][: options.n_best].tolist()
                answer["scores"] = [round(score, 6) if np.isfinite(score) else None for score in scores]
        objects.append(answer)
    return objects

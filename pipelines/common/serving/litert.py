"""LiteRT files, as phones and small boards run them: conversion and calls. Needs the extra `litert`.

A batch has one row, as the loops of recurrent layers do not convert with a batch of unknown size.
"""

import pathlib
import shutil
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from pipelines.common.errors import UserError

EXTENSION = "tflite"
BATCH = 1
SIGNATURE = "serving_default"


def require():
    """Raises UserError if the runtime is not installed."""
    try:
        import ai_edge_litert.interpreter  # noqa: F401
    except ImportError as error:
        raise UserError(
            "the format litert needs ai-edge-litert, which is not installed: pip install 'unfold[litert]'"
        ) from error


def convert(function, signature: list[tf.TensorSpec], weights: str, file: pathlib.Path):
    """Writes a function to a file.

    The way leads over a SavedModel: the names of inputs and outputs are kept, and its variables become constants.

    Args:
        function: function of tensors that returns name -> tensor.
        signature: the specs of the tensors, with a batch of BATCH.
        weights: "float32"; "float16", which are computed with in float32; "int8", for the matrix products of which the
            runtime also rounds the inputs (dynamic range).
    """
    concrete = tf.function(function, input_signature=signature, autograph=False).get_concrete_function()
    module = tf.Module()
    module.kept = list(concrete.variables)
    folder = file.with_suffix(".saved_model")
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(folder), signatures={SIGNATURE: concrete}, options=options)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=[SIGNATURE])
    if weights != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if weights == "float16":
        converter.target_spec.supported_types = [tf.float16]
    file.write_bytes(converter.convert())
    shutil.rmtree(folder)


def load(file: pathlib.Path) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """Returns the function of a file, of arrays by name."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file))
    runner = interpreter.get_signature_runner(SIGNATURE)
    return lambda inputs: runner(**inputs)

"""Writes SavedModels, completely or not at all, from named signatures."""

import os
import pathlib
import shutil
import uuid
from collections.abc import Iterable

import keras
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.files import PARTIAL, partial_folder, sync_folder, sync_tree
from pipelines.common.serving.exports import has_wildcards


def write_saved_model(path, signatures: dict, resources: Iterable) -> pathlib.Path:
    """Writes a SavedModel to the folder `path` and returns it. An export that exists there is replaced.

    Args:
        signatures: name -> tf.function with an input signature, which returns a dict of named tensors.
        resources: All that the functions use: Keras models and layers (not stateful ones), lookup tables, modules.

    Raises:
        UserError: `path` exists and is not an export, or it cannot be written.
    """
    path = pathlib.Path(path)
    refuse_wildcards(path)
    refuse_other_files(path)
    module = tf.Module()
    # Only the variables of a Keras model: Keras would trace the model once more, for a signature of its own.
    module.resources = [
        [variable.value for variable in resource.variables] if isinstance(resource, keras.Layer) else resource
        for resource in resources
    ]
    for resource in resources:
        if isinstance(resource, keras.Layer):
            use_plain_silu(resource)
    concrete = {name: function.get_concrete_function() for name, function in signatures.items()}
    # Signatures are not differentiated, and saving custom gradients took a third of the time.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    try:
        with partial_folder(path) as temporary:
            tf.saved_model.save(module, str(temporary), signatures=concrete, options=options)
            sync_tree(temporary)
            replace_folder(temporary, path)
    except (OSError, tf.errors.OpError) as error:  # TensorFlow raises its own for a full disk
        raise unwritable(path, error) from error
    return path


def unwritable(path: pathlib.Path, error: Exception) -> UserError:
    """Returns the UserError for an error of the system or of TensorFlow while `path` was written."""
    reason = getattr(error, "strerror", None) or getattr(error, "message", None) or error
    return UserError(f"{path} could not be written: {reason}")


def use_plain_silu(model: keras.Layer):
    """Replaces SiLU in the layers of a model: that of TensorFlow has a custom gradient, which saves memory in training,
    and about which every load of an export would warn."""
    for layer in model._flatten_layers():
        if getattr(layer, "activation", None) is keras.activations.silu:
            layer.activation = plain_silu


def plain_silu(x):
    return x * tf.sigmoid(x)


def refuse_wildcards(path: pathlib.Path):
    """Raises UserError if TensorFlow would take `path` for a pattern."""
    if has_wildcards(path.absolute()):
        raise UserError(
            f"TensorFlow could not load an export in {path.absolute()}, as it takes the characters [ ] * ? \\ for a"
            " pattern: give a folder without them with --to"
        )


def refuse_other_files(path: pathlib.Path, mark: str = "saved_model.pb"):
    """Raises UserError if `path` contains anything other than an export, which must not be lost.

    Args:
        mark: the file that makes a folder an export of this format.
    """
    if path.is_dir() and any(path.iterdir()) and not (path / mark).is_file():
        raise UserError(f"{path} is not empty and not an export: expected a new folder, or an export to replace")
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file: expected a folder for the export")


def replace_folder(new: pathlib.Path, path: pathlib.Path):
    """Renames the folder `new` to `path`. A folder cannot be replaced in one step: the old one is renamed first."""
    old = path.with_name(f"{PARTIAL}{uuid.uuid4().hex[:12]}-old-{path.name}")
    if path.exists():
        os.replace(path, old)
    os.replace(new, path)
    sync_folder(path.parent)
    shutil.rmtree(old, ignore_errors=True)

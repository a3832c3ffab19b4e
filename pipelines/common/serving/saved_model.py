"""SavedModels: written whole or not at all, from named signatures."""

import os
import pathlib
import shutil
import uuid
from collections.abc import Iterable

import keras
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.files import PARTIAL, sync_folder


def write_saved_model(path, signatures: dict, resources: Iterable) -> pathlib.Path:
    """Writes a SavedModel to the folder `path`, in the place of an export that may be there.

    Args:
        signatures: name -> tf.function with an input signature, that gives a dict of named tensors.
        resources: all that the functions use: Keras models and layers (none that carries a state from call to call),
            lookup tables, modules.

    Raises:
        UserError: `path` is something else than an export, or cannot be written.
    """
    path = pathlib.Path(path)
    refuse_strangers(path)
    module = tf.Module()
    # Of a Keras model its variables: the model would be traced once more for a signature of its own.
    module.resources = [
        [variable.value for variable in resource.variables] if isinstance(resource, keras.Layer) else resource
        for resource in resources
    ]
    concrete = {name: function.get_concrete_function() for name, function in signatures.items()}
    # Nobody differentiates answers; the gradients that layers and losses define took a third of the time.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    temporary = path.with_name(f"{PARTIAL}{uuid.uuid4().hex[:12]}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tf.saved_model.save(module, str(temporary), signatures=concrete, options=options)
        sync_tree(temporary)
        replace_folder(temporary, path)
    except (OSError, tf.errors.OpError) as error:  # TensorFlow has errors of its own for a full disk
        reason = getattr(error, "strerror", None) or getattr(error, "message", None) or error
        raise UserError(f"{path} could not be written: {reason}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return path


def refuse_strangers(path: pathlib.Path):
    """Raises UserError when `path` holds something that is no export: it must not be lost."""
    if path.is_dir() and any(path.iterdir()) and not (path / "saved_model.pb").is_file():
        raise UserError(f"{path} is not empty and no export: expected a new folder, or an export to replace")
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file: expected a folder for the export")


def replace_folder(new: pathlib.Path, path: pathlib.Path):
    """Gives the folder `new` the name `path`. A folder cannot be replaced in one step, so the old one steps aside."""
    old = path.with_name(f"{PARTIAL}{uuid.uuid4().hex[:12]}-old-{path.name}")
    if path.exists():
        os.replace(path, old)
    os.replace(new, path)
    sync_folder(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def sync_tree(folder: pathlib.Path):
    """Makes all files below `folder` durable."""
    for entry in folder.rglob("*"):
        if entry.is_file():
            with open(entry, "rb") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(entry)
    sync_folder(folder)

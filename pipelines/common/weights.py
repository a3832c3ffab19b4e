"""The weights file of a run: in full precision, or rounded to float16 or int8 for a release.

It is the HDF5 file that Keras writes, with one dataset for each weight. In a rounded file a weight is stored in fewer
bits, and one of int8 has its scales beside it, in a dataset of the same name with the ending SCALE; reading restores
float32.
"""

import hashlib
import io
import pathlib
from collections.abc import Callable

import h5py
import numpy as np

from pipelines.common.errors import UserError
from pipelines.common.files import atomic_write

FORMATS = ("float32", "float16", "int8")
ROUNDED = "rounded"  # attribute of a rounded file: its format
SCALE = ".scale"
SMALL = 4096  # weights of fewer numbers, and vectors, stay float32: they take no room, and an error in them costs more
LARGEST = 127  # of int8, so that the range is symmetric


class WeightsBuffer(io.BytesIO):
    """A buffer that Keras writes weights to and reads them from. Keras refuses a name with another ending."""

    def __str__(self) -> str:
        return "buffer.weights.h5"


def save_weights(model, path):
    """Writes the weights of a Keras model, by the names of its layers, atomically to `path` (…`.weights.h5`).

    HDF5 writes to memory only: on a full disk it ends the process with a segmentation fault.
    """
    buffer = WeightsBuffer()
    model.save_weights(buffer)
    with atomic_write(path, "wb") as file:
        file.write(buffer.getbuffer())


def load_weights(model, path):
    """Loads weights, rounded or not, into a built model. Raises UserError if they do not fit the model."""
    if not pathlib.Path(path).is_file():
        raise UserError(f"{path} does not exist: expected the weights of a trained model")
    try:
        model.load_weights(restored(path))
    except (ValueError, KeyError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} does not hold the weights of this model ({model.name}): {reason}") from error


def restored(path) -> pathlib.Path | WeightsBuffer:
    """Returns the path of weights in full precision, or a buffer with the weights of a rounded file in float32."""
    with h5py.File(path) as file:
        if ROUNDED not in file.attrs:
            return pathlib.Path(path)

        def restore(name: str, value: np.ndarray) -> dict[str, np.ndarray]:
            if name.endswith(SCALE):
                return {}
            if name + SCALE in file:
                return {name: value * file[name + SCALE][()]}
            return {name: value.astype(np.float32) if value.dtype == np.float16 else value}

        buffer = WeightsBuffer()
        with h5py.File(buffer, "w") as full:
            copy(file, full, restore)
        return buffer


def round_weights(path, to, kind: str):
    """Writes the weights of the file `path` in the format `kind`, one of FORMATS, atomically to `to`.

    In int8, a weight has one scale for each index of one of its axes, such as an output channel of a kernel or a word
    of a table of embeddings: of the axis that gives the smallest error. Values above the range of float16 stay float32.

    Raises:
        UserError: The file has been rounded already, or is damaged.
    """

    def rounded(name: str, value: np.ndarray) -> dict[str, np.ndarray]:
        if kind == "float32" or value.dtype != np.float32 or value.ndim < 2 or value.size < SMALL:
            return {name: value}
        if kind == "int8":
            numbers, scale = to_int8(value)
            return {name: numbers, name + SCALE: scale}
        return {name: value.astype(np.float16) if np.abs(value).max() <= np.finfo(np.float16).max else value}

    buffer = io.BytesIO()
    try:
        with h5py.File(path) as source, h5py.File(buffer, "w") as target:
            if ROUNDED in source.attrs:
                raise UserError(f"{path} is rounded already: expected the weights of a run that was trained")
            copy(source, target, rounded)
            if kind != "float32":
                target.attrs[ROUNDED] = kind
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path} does not hold weights: {' '.join(str(error).split())}") from error
    with atomic_write(to, "wb") as out:
        out.write(buffer.getbuffer())


def to_int8(value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns int8 numbers and float32 scales whose product is the nearest to `value`."""
    best, least = None, np.inf
    for axis in range(value.ndim):
        others = tuple(other for other in range(value.ndim) if other != axis)
        scale = np.maximum(np.abs(value).max(axis=others, keepdims=True) / LARGEST, np.finfo(np.float32).tiny)
        numbers = np.rint(value / scale)
        error = np.square(numbers * scale - value).sum(dtype=np.float64)
        if best is None or error < least:
            best, least = (numbers.astype(np.int8), scale.astype(np.float32)), error
    assert best is not None
    return best


def copy(source: h5py.File, target: h5py.File, change: Callable[[str, np.ndarray], dict[str, np.ndarray]]):
    """Copies an HDF5 file. `change` returns the datasets, by name, that replace a dataset with its name and value."""

    def visit(name: str, item):
        if isinstance(item, h5py.Group):
            target.require_group(name)
        else:
            for new, value in change(name, item[()]).items():
                target[new] = value
        if name in target:
            target[name].attrs.update(item.attrs)  # Keras reads those of groups

    source.visititems(visit)


def sha256(path) -> str:
    """Returns the SHA-256 of a file in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

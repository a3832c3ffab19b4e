"""Checkpoints: files that are used only if they are whole.

A checkpoint is an uncompressed .npz archive without pickles. It has every variable as an array ("model/0",
"optimizer/3", …) and the progress of the loop as JSON. The CRC-32 of every member is verified before anything is used.
The last few checkpoints are kept, so that a damaged file costs a few minutes, not the run.
"""

import io
import json
import pathlib
import sys
import zipfile
import zlib

import keras
import numpy as np

from pipelines.common import files
from pipelines.common.errors import UserError

KEEP = 3
JSON = "state"  # name of the member with the JSON


class NotFiniteError(Exception):
    """The loss, its gradient or a variable has a NaN or an infinity."""


class Checkpoints:
    """The checkpoints in a folder, named by their step: `step-000000123.npz`."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def files(self) -> list[pathlib.Path]:
        """Returns the files, the oldest first."""
        return sorted(self.folder.glob("step-*.npz"))

    def save(self, step: int, progress: dict, variables: dict[str, list]):
        """Writes a checkpoint atomically, then removes those that are too old.

        Args:
            progress: JSON values.
            variables: lists by part, for example {"model": [...], "optimizer": [...]}.

        Raises:
            NotFiniteError: A variable is not finite; nothing is written.
            UserError: The file cannot be written, for example because the disk is full; older checkpoints stay.
        """
        arrays, dtypes = {}, {}
        for part, values in variables.items():
            for i, variable in enumerate(values):
                value = np.asarray(variable.numpy())
                if not np.all(np.isfinite(value)):
                    name = variable.path if isinstance(variable, keras.Variable) else variable.name
                    raise NotFiniteError(f"the variable {name} is not finite after step {step}")
                dtypes[f"{part}/{i}"] = value.dtype.name
                arrays[f"{part}/{i}"] = without_bfloat16(value)
        text = json.dumps({"step": step, "state": progress, "dtypes": dtypes})
        try:
            with files.atomic_write(self.folder / f"step-{step:09d}.npz", "wb") as file:
                np.savez(file, allow_pickle=False, **arrays, **{JSON: np.frombuffer(text.encode(), np.uint8)})
        except UserError as error:
            older = self.files()
            last = f"; the last good checkpoint is {older[-1]}" if older else ""
            raise UserError(f"the checkpoint of step {step} could not be saved: {error}{last}") from error
        for old in self.files()[:-KEEP]:
            old.unlink(missing_ok=True)

    def restore(self, variables: dict[str, list]) -> dict | None:
        """Assigns the newest whole checkpoint to the variables, and returns its progress; None without a checkpoint.

        Raises:
            UserError: The checkpoint is of another model or cannot be read, or all checkpoints are damaged.
        """
        newest = self.newest()
        if newest is None:
            return None
        file, content, arrays = newest
        assign(file, arrays, variables)
        return content["state"]

    def newest(self) -> tuple[pathlib.Path, dict, dict[str, np.ndarray]] | None:
        """Returns the newest whole checkpoint, its JSON and its arrays; None without a checkpoint.

        Damaged checkpoints are reported on standard error and deleted.

        Raises:
            UserError: The checkpoint cannot be read, or all checkpoints are damaged.
        """
        damaged = []
        for file in reversed(self.files()):
            try:
                content, arrays = read(file)
            except (PermissionError, MemoryError) as error:  # the file itself may be good: do not delete it
                raise UserError(f"{file} could not be read: {error}") from error
            except Exception as error:  # a flipped bit in an archive can raise almost any exception
                print(f"{file} is damaged ({error}): falling back to the checkpoint before", file=sys.stderr)
                damaged.append(file)
                continue
            for old in damaged:  # or they would be among the newest, which are kept
                old.unlink(missing_ok=True)
            return file, content, arrays
        if damaged:
            raise UserError(f"every checkpoint in {self.folder} is damaged: delete the run folder to start again")
        return None


def read(file) -> tuple[dict, dict[str, np.ndarray]]:
    """Returns the JSON and the arrays of a checkpoint; raises an exception if it is damaged."""
    with zipfile.ZipFile(file) as archive:
        members = {}
        for info in archive.infolist():
            data = archive.read(info)  # reading to the end compares the CRC
            if zlib.crc32(data) != info.CRC:
                raise ValueError(f"{info.filename} has a wrong checksum")
            members[info.filename.removesuffix(".npy")] = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    content = json.loads(members.pop(JSON).tobytes())
    if content["dtypes"].keys() != members.keys():
        raise ValueError("arrays are missing")
    return content, {name: with_bfloat16(value, content["dtypes"][name]) for name, value in members.items()}


def assign(file, arrays: dict[str, np.ndarray], variables: dict[str, list]):
    """Assigns the arrays to the variables; raises UserError, and assigns none, if they are of another model."""
    targets = {f"{part}/{i}": v for part, values in variables.items() for i, v in enumerate(values)}
    if targets.keys() != arrays.keys():
        odd = sorted(targets.keys() ^ arrays.keys())[0]
        raise UserError(f"{file} is a checkpoint of another model: {odd} is in only one of the two")
    for name, variable in targets.items():
        value = arrays[name]
        fits = len(variable.shape) == value.ndim and all(
            expected in (None, got) for expected, got in zip(variable.shape, value.shape, strict=True)
        )
        if not fits:
            raise UserError(f"{file} is a checkpoint of another model: {name} has the shape {value.shape}")
    for name, variable in targets.items():
        variable.assign(arrays[name])


def without_bfloat16(value: np.ndarray) -> np.ndarray:
    """Returns an array of a type that NumPy's format does not know as unsigned integers with the same bits."""
    return value.view(f"u{value.dtype.itemsize}") if value.dtype.kind == "V" else value


def with_bfloat16(value: np.ndarray, dtype: str) -> np.ndarray:
    """The inverse of without_bfloat16."""
    if value.dtype.name == dtype:
        return value
    import ml_dtypes  # comes with tensorflow

    return value.view(getattr(ml_dtypes, dtype))

"""Checkpoints: one file each, that either verifies as a whole or counts as not there.

A checkpoint is an uncompressed .npz archive without pickles: every variable as an array ("model/0", "optimizer/3", …)
and the Python state of the loop as JSON. The archive's CRC-32 of every member is verified before anything is used. The
last few are kept, so that a file which the disk has damaged costs some minutes, not the run.
"""

import io
import json
import pathlib
import sys
import zipfile
import zlib

import numpy as np

from pipelines.common import files
from pipelines.common.errors import UserError

KEEP = 3
STATE = "state"  # the member that holds the JSON


class NotFiniteError(Exception):
    """A variable holds NaN or infinity; the message names it."""


class Checkpoints:
    """The checkpoints in a folder, named by the step they were taken at: `step-000000123.npz`."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def files(self) -> list[pathlib.Path]:
        """From the oldest to the newest."""
        return sorted(self.folder.glob("step-*.npz"))

    def save(self, step: int, state: dict, variables: dict[str, list]):
        """Writes a checkpoint atomically, then removes the ones that are too old.

        `state` holds JSON values; `variables` lists by part, for example {"model": [...], "optimizer": [...]}. Raises
        NotFiniteError, and writes nothing, when a variable is not finite; UserError when the disk is full: the
        checkpoints that were there stay.
        """
        arrays, dtypes = {}, {}
        for part, values in variables.items():
            for i, variable in enumerate(values):
                value = np.asarray(variable.numpy())
                if not np.all(np.isfinite(value)):
                    raise NotFiniteError(variable.path if hasattr(variable, "path") else variable.name)
                dtypes[f"{part}/{i}"] = value.dtype.name
                arrays[f"{part}/{i}"] = plain(value)
        text = json.dumps({"step": step, "state": state, "dtypes": dtypes})
        try:
            with files.atomic_write(self.folder / f"step-{step:09d}.npz", "wb") as file:
                np.savez(file, allow_pickle=False, **arrays, **{STATE: np.frombuffer(text.encode(), np.uint8)})
        except UserError as error:
            kept = self.files()
            last = f"; the last good checkpoint is {kept[-1]}" if kept else ""
            raise UserError(f"the checkpoint of step {step} could not be saved: {error}{last}") from error
        for old in self.files()[:-KEEP]:
            old.unlink(missing_ok=True)

    def restore(self, variables: dict[str, list]) -> dict | None:
        """Assigns the newest checkpoint that verifies to the variables and gives its state, None when there is none.

        Says on standard error which damaged ones were passed over. Raises UserError when the checkpoint is of another
        model, or when there are checkpoints and none is whole.
        """
        damaged = []
        for file in reversed(self.files()):
            try:
                content, arrays = read(file)
            except (PermissionError, MemoryError) as error:  # the file may be good all the same: it must not be lost
                raise UserError(f"{file} could not be read: {error}") from error
            except Exception as error:  # a flipped bit in an archive can raise nearly anything
                print(f"{file} is damaged ({error}): falling back to the checkpoint before", file=sys.stderr)
                damaged.append(file)
                continue
            assign(file, arrays, variables)
            for old in damaged:  # else they would count among the newest that are kept
                old.unlink(missing_ok=True)
            return content["state"]
        if damaged:
            raise UserError(f"every checkpoint in {self.folder} is damaged: delete the run folder to start again")
        return None


def read(file) -> tuple[dict, dict[str, np.ndarray]]:
    """The JSON and the arrays of a checkpoint; raises when any byte that counts is not as it was written."""
    with zipfile.ZipFile(file) as archive:
        members = {}
        for info in archive.infolist():
            data = archive.read(info)  # to the end: this is what compares the CRC
            if zlib.crc32(data) != info.CRC:
                raise ValueError(f"{info.filename} has a wrong checksum")
            members[info.filename.removesuffix(".npy")] = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    content = json.loads(members.pop(STATE).tobytes())
    if content["dtypes"].keys() != members.keys():
        raise ValueError("arrays are missing")
    return content, {name: restored(value, content["dtypes"][name]) for name, value in members.items()}


def assign(file, arrays: dict[str, np.ndarray], variables: dict[str, list]):
    """Gives every variable its array, all or none; UserError when they do not belong together."""
    targets = {f"{part}/{i}": v for part, values in variables.items() for i, v in enumerate(values)}
    if targets.keys() != arrays.keys():
        odd = sorted(targets.keys() ^ arrays.keys())[0]
        raise UserError(f"{file} is a checkpoint of another model: {odd} is in one of the two alone")
    for name, variable in targets.items():
        value = arrays[name]
        fits = len(variable.shape) == value.ndim and all(
            expected in (None, got) for expected, got in zip(variable.shape, value.shape, strict=True)
        )
        if not fits:
            raise UserError(f"{file} is a checkpoint of another model: {name} has the shape {value.shape}")
    for name, variable in targets.items():
        variable.assign(arrays[name])


def plain(value: np.ndarray) -> np.ndarray:
    """bfloat16 and its like, which NumPy's format does not know, as unsigned integers of the same bits."""
    return value.view(f"u{value.dtype.itemsize}") if value.dtype.kind == "V" else value


def restored(value: np.ndarray, dtype: str) -> np.ndarray:
    """The inverse of plain."""
    if value.dtype.name == dtype:
        return value
    import ml_dtypes  # comes with tensorflow

    return value.view(getattr(ml_dtypes, dtype))

"""Opens .npy files of features: of numbers only, never of pickled objects."""

import os
import tokenize
import warnings

import numpy as np

from pipelines.common.errors import UserError


def open_features(path: str | os.PathLike) -> np.ndarray:
    """Returns the array of a file, float[features, frames], mapped into memory: it is read as it is used.

    Raises:
        UserError: The file is missing, empty, damaged, not a .npy file, or has objects or another type or rank.
    """
    try:
        if os.path.getsize(path) == 0:
            raise UserError(f"{path} is empty: expected an array float[features, frames]")
        with open(path, "rb") as file:
            if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
                raise UserError(f"{path} is not a .npy file: expected an array float[features, frames]")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Reading `.npy`", category=UserWarning)  # written by Python 2
            array = np.load(path, mmap_mode="r", allow_pickle=False)  # a pickle could run any program
    except OSError as error:
        raise UserError(f"{path} could not be read: {error.strerror or error}") from error
    except (ValueError, OverflowError, SyntaxError, tokenize.TokenError) as error:
        reason = " ".join(str(error).split())
        if "Python objects" in reason or "Object arrays" in reason:
            reason = "it contains Python objects"
        raise UserError(f"{path} is not an array of numbers, or is damaged ({reason})") from error
    if not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"{path} has the type {array.dtype}: expected an array of floats, float[features, frames]")
    if array.ndim != 2:
        raise UserError(f"{path} has the shape {list(array.shape)}: expected float[features, frames]")
    return array


def frames_of(array: np.ndarray, start: int, end: int) -> np.ndarray:
    """Returns the frames from `start` to `end` (exclusive) of float[features, frames] as float32[frames, features]."""
    with np.errstate(over="ignore"):  # a number that is too large becomes infinite, which `check_finite` refuses
        return np.ascontiguousarray(array[:, start:end].T, np.float32)


def check_finite(path: str | os.PathLike, frames: np.ndarray, start: int = 0):
    """Raises UserError, with the first frame, if float32[frames, features] contains NaN or an infinite number.

    Args:
        start: the number of the first of these frames.
    """
    wrong = np.flatnonzero(~np.isfinite(frames).all(axis=1))
    if len(wrong):
        raise UserError(f"{path}: the features of frame {start + wrong[0]} are not finite: expected numbers")

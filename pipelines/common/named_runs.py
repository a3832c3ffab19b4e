"""Names of runs: translation/multi30k-de-en stands for saved_models/translation/multi30k-de-en of the checkout."""

import pathlib
from typing import Annotated

import tyro

from pipelines.common.config import expand_home
from pipelines.common.errors import UserError

SAVED_MODELS = pathlib.Path(__file__).resolve().parents[2] / "saved_models"


def resolve(path: pathlib.Path) -> pathlib.Path:
    """Returns the folder below saved_models that a name stands for; a path that exists, or no such name, as it is."""
    named = SAVED_MODELS / path
    if path.exists() or path.is_absolute() or ".." in path.parts or not named.exists():
        return path
    return named.relative_to(pathlib.Path.cwd()) if named.is_relative_to(pathlib.Path.cwd()) else named


def find(path: pathlib.Path) -> pathlib.Path:
    """Returns the path, or the folder that it stands for as a name; UserError, with the known names, if there is
    neither. (The commands explain themselves what is wrong with an absolute path.)"""
    found = resolve(path)
    if found.exists() or found.is_absolute() or ".." in found.parts:
        return found
    known = sorted(
        folder.parent.relative_to(SAVED_MODELS).as_posix() for folder in SAVED_MODELS.glob("*/*/config.json")
    )
    known = [name for name in known if name.startswith(f"{path.parts[0]}/")] or known
    there = "that of a run, as there is none in saved_models yet"
    if known:
        there = f"one of the names {', '.join(known)} in saved_models"
    raise UserError(f"there is no run or export {path}: expected a path, or {there}")


def read(path: str) -> pathlib.Path:
    """Returns the path that is written on a command line; ValueError if it is empty, as from an unset variable: it
    would be the current folder."""
    if not path.strip():
        raise ValueError("the path is empty")
    return expand_home(path)


def _argument(convert, metavar: str) -> tyro.constructors.PrimitiveConstructorSpec:
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda arguments: convert(read(arguments[0])),
        is_instance=lambda value: isinstance(value, pathlib.Path),
        str_from_instance=lambda path: [str(path)],
    )


# Types of fields: a run or export that has to exist, and one that a command only needs if it is not finished yet.
ExistingRun = Annotated[pathlib.Path, _argument(find, "RUN")]
NamedRun = Annotated[pathlib.Path, _argument(resolve, "RUN")]

"""Configurations of runs: nested frozen dataclasses whose fields are command-line flags.

A configuration has a group for each concern (`data`, `text`, `model`, …), itself a dataclass. On the command line the
groups are flat (`--units`, not `--model.units`); in config.json they are nested. A field is written once, in its group:
its type, default and help text are read from there by tyro, and its type by `from_json`.
"""

import contextlib
import dataclasses
import difflib
import math
import os
import pathlib
import types
import typing
from collections.abc import Callable
from typing import Annotated

import tyro

from pipelines.common.errors import UserError


def flag(field: str) -> str:
    """Returns the field's name as it is written on the command line."""
    return "--" + field.replace("_", "-")


def check(config, field: str, good: bool, expected: str):
    """Raises UserError, with the field's flag, its value and what was expected, unless `good`."""
    if not good:
        raise UserError(f"{flag(field)} is {getattr(config, field)}, but must be {expected}")


def check_at_least(config, **limits: float):
    """Raises UserError for the first field whose value is below its limit, or infinite."""
    for field, limit in limits.items():
        value = getattr(config, field)
        check(config, field, value != math.inf, "a finite number")
        check(config, field, value >= limit, f"at least {limit}")


def check_shares(config, *fields: str):
    """Raises UserError for the first field that is not at least 0 and below 1."""
    for field in fields:
        check(config, field, 0 <= getattr(config, field) < 1, "at least 0 and below 1")


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The fields that the data groups of all tasks have."""

    location: Annotated[str, tyro.conf.arg(name="data")] = "sample"
    """Where the data is: sample, a file, a folder, tfds:NAME, or a public data set by name (data/README.md)."""

    manual_dir: pathlib.Path | None = None
    """Folder with the archive of a tfds: data set that was downloaded by hand."""

    validation_share: float = 0.1
    """Share of the training data split off for validation, if the data has no validation part."""

    test_share: float = 0.1
    """Share of the training data split off for the test, if the data has no test part."""

    split_seed: int = 1
    """Seed of these splits. Use the same one for runs that are compared or averaged, whatever their --seed."""

    def __post_init__(self):
        check_shares(self, "validation_share", "test_share")
        check_at_least(self, split_seed=0)


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """Beam search: defaults of evaluation and of the export."""

    beam_size: int = 5
    """Number of hypotheses."""

    length_penalty: float = 0.0
    """Exponent a of the length penalty ((5 + length) / 6)^a that divides a hypothesis's score (Wu et al. 2016). 0: no
    penalty; a larger value favours longer sentences."""

    def __post_init__(self):
        check_at_least(self, beam_size=1, length_penalty=0)


def from_json(kind: type, stored: dict):
    """Returns the configuration of class `kind` that the config.json of a run contains.

    A field that is missing takes its default: it is newer than the run. Runs of version 0.1, whose fields were flat,
    are read as well.

    Raises:
        UserError: A field is unknown, or its value is not of the field's type.
    """
    return _dataclass_from_json(kind, nested(kind, stored), "")


def replace(config, **fields):
    """Returns a copy of the configuration with new values for the named fields, whichever group they are in."""
    changes = {name: fields.pop(name) for name in list(fields) if hasattr(config, name)}
    for group in groups(type(config)):
        names = {field.name for field in dataclasses.fields(getattr(config, group))}
        inner = {name: fields.pop(name) for name in names & fields.keys()}
        if inner:
            changes[group] = dataclasses.replace(changes.get(group, getattr(config, group)), **inner)
    return dataclasses.replace(config, **changes, **fields)


def fine_tuned(config, base: pathlib.Path, **groups):
    """Returns the default configuration of fine-tuning from the run `base`, which has the given configuration.

    Args:
        groups: the groups that differ from those of the run.
    """
    return dataclasses.replace(config, base=base, run=base.with_name(f"{base.name}-finetuned"), **groups)


def reset(group, *fields: str):
    """Returns the group of a configuration with the named fields at their defaults."""
    default = type(group)()
    return dataclasses.replace(group, **{field: getattr(default, field) for field in fields})


def map_paths(value, change: Callable[[pathlib.Path], pathlib.Path]):
    """Returns a configuration, or a value of one, in which `change` was applied to every path."""
    if isinstance(value, pathlib.Path):
        return change(value)
    if isinstance(value, tuple):
        return tuple(map_paths(each, change) for each in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **{name: map_paths(each, change) for name, each in fields.items()})
    return value


def expand_home(path) -> pathlib.Path:
    """Returns the path with a leading ~ replaced by the home folder, as a shell does not for --run=~/mine."""
    return pathlib.Path(os.path.expanduser(path))


def groups(kind: type) -> dict[str, type]:
    """Returns the fields of a configuration class that are groups, by name."""
    hints = typing.get_type_hints(kind)
    return {name: hint for name, hint in hints.items() if _is_group(hint)}


def nested(kind: type, stored: dict) -> dict:
    """Returns the stored configuration with every field in its group: in version 0.1 the fields were flat."""
    result = dict(stored)
    if "data" in groups(kind) and isinstance(result.get("data"), str):
        result["location"] = result.pop("data")
    for name, group in groups(kind).items():
        inner = result.pop(name, {})
        flat = {f.name: result.pop(f.name) for f in dataclasses.fields(group) if f.name in result}
        result[name] = {**flat, **inner} if isinstance(inner, dict) else inner
    return result


def _dataclass_from_json(kind: type, stored, path: str):
    if not isinstance(stored, dict):
        raise UserError(f"{path.rstrip('.')} is {stored!r} in the configuration of the run, expected an object")
    hints = typing.get_type_hints(kind)
    for name in stored:
        if name not in hints:
            close = difflib.get_close_matches(name, hints, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise UserError(f"the configuration of the run has an unknown field {path}{name}{hint}")
    return kind(**{name: _value_from_json(hints[name], value, path + name) for name, value in stored.items()})


def _value_from_json(hint, value, path: str):
    """Returns a JSON value as the type that a field is annotated with."""
    if _is_group(hint):
        return _dataclass_from_json(hint, value, f"{path}.")
    if value is None and _is_optional(hint):
        return None
    if _is_optional(hint):
        (hint,) = (each for each in typing.get_args(hint) if each is not types.NoneType)
    if typing.get_origin(hint) is typing.Literal:
        choices = typing.get_args(hint)
        if value in choices:
            return value
        raise _wrong_value(path, value, f"one of {', '.join(map(str, choices))}")
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise _wrong_value(path, value, "a list")
        return tuple(_value_from_json(typing.get_args(hint)[0], each, path) for each in value)
    if hint is pathlib.Path and isinstance(value, str):
        return pathlib.Path(value)
    if hint is float and type(value) is int:
        with contextlib.suppress(OverflowError):
            return float(value)
    is_too_large = type(value) is int and abs(value) >= 2**63  # for TensorFlow and numpy
    is_finite = type(value) is not float or math.isfinite(value)
    if hint in _KINDS and type(value) is hint and not is_too_large and is_finite:
        return value
    raise _wrong_value(path, value, _KINDS.get(hint, str(hint)))


_KINDS = {int: "an integer", float: "a number", bool: "true or false", str: "a string", pathlib.Path: "a path"}


def _is_group(hint) -> typing.TypeGuard[type]:
    return dataclasses.is_dataclass(hint)


def _is_optional(hint) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _wrong_value(path: str, value, expected: str) -> UserError:
    return UserError(f"{path} is {value!r} in the configuration of the run, expected {expected}")

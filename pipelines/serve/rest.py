"""JSON to tensors and back, by the inputs and outputs of a signature, as in the REST interface of TensorFlow Serving.

A request has "instances", a list of rows (the row format), or "inputs", whole tensors (the columnar format). See
https://www.tensorflow.org/tfx/serving/api_rest. One difference: that interface writes the numbers NaN, Infinity and
-Infinity, which are not JSON; here they are null. They are accepted as inputs. This module does not import TensorFlow.
"""

import base64
import binascii
import dataclasses
import itertools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pipelines.common.files import parse_json
from pipelines.serve.errors import RESTError

if TYPE_CHECKING:
    import tensorflow as tf

# Ranges of the inputs that are options of decoding. Above them a call may take all memory, or never end.
OPTIONS: dict[str, tuple[float, float]] = {
    "beam_size": (1, 100),
    "length_penalty": (0, 10),
    "min_length": (0, 1000),
    "max_length": (1, 1000),
    "temperature": (0.001, 1000),
    "top_k": (0, 2**31 - 1),
    "top_p": (0.000001, 1),
}
BASE64 = "b64"
BINARY = "_bytes"  # outputs whose names end so are returned as base64


@dataclasses.dataclass(frozen=True)
class Request:
    """The parsed body of a request for a prediction.

    Attributes:
        signature: name of the signature.
        by_row: whether the values are rows ("instances"), or whole tensors ("inputs").
        values: the JSON value of "instances" or "inputs".
    """

    signature: str
    by_row: bool
    values: object


def parse(body: bytes) -> Request:
    """Parses a body. Raises RESTError (400) if it is not JSON of the expected form."""
    if not body:
        raise RESTError(400, 'the body is empty: expected a JSON object with "instances" or "inputs"')
    try:
        value = parse_json(body.decode())
    except UnicodeDecodeError as error:
        raise RESTError(400, f"the body is not UTF-8: byte {error.start + 1} is 0x{body[error.start]:02x}") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise RESTError(400, f"the body is not JSON: {error.msg} in {where}") from error
    except ValueError as error:  # a field that occurs twice, deep nesting, a lone surrogate, or Python's own message
        reason = "a number has too many digits" if "int_max_str_digits" in str(error) else error
        raise RESTError(400, f"the body cannot be read: {reason}") from error
    if not isinstance(value, dict):
        raise RESTError(400, f"the body is {kind(value)}: expected an object")
    signature = value.get("signature_name", "serving_default")
    if not isinstance(signature, str):
        raise RESTError(400, f'"signature_name" is {kind(signature)}: expected a string')
    given = [name for name in ("instances", "inputs") if name in value]
    if len(given) != 1:
        found = "both" if given else "neither"
        raise RESTError(400, f'the body has {found} of "instances" and "inputs": expected one of them')
    return Request(signature or "serving_default", given == ["instances"], value[given[0]])


def to_arrays(request: Request, inputs: "Mapping[str, tf.TensorSpec]") -> tuple[dict[str, np.ndarray], int]:
    """Converts the values of a request to arrays.

    Args:
        inputs: those of the signature, by name.

    Returns:
        The arrays by name, and the number of rows: the largest size of a first axis that is free; 1 if none is.

    Raises:
        RESTError (400): A value has another type or shape than the input.
    """
    by_name = rows_by_name(request.values, inputs) if request.by_row else columns_by_name(request.values, inputs)
    arrays = {name: to_array(by_name[name], name, spec) for name, spec in inputs.items()}
    for name, (low, high) in OPTIONS.items():
        if name in arrays and inputs[name].shape.rank == 0 and not low <= arrays[name] <= high:
            raise RESTError(400, f'the input "{name}" is {arrays[name]}: expected a number from {low} to {high}')
    return arrays, max((len(arrays[name]) for name, spec in inputs.items() if has_rows(spec)), default=1)


def has_rows(spec: "tf.TensorSpec") -> bool:
    """Returns whether the first axis of a tensor is that of the batch."""
    return bool(spec.shape.rank) and spec.shape[0] is None


def rows_by_name(instances, inputs: "Mapping[str, tf.TensorSpec]") -> dict[str, list]:
    """Converts rows, each an object of values by name, to lists by name. With one input, a row may be its value."""
    if not isinstance(instances, list) or not instances:
        raise RESTError(400, f'"instances" is {kind(instances)}: expected a list with a value for each row')
    fixed = [name for name, spec in inputs.items() if not has_rows(spec)]
    if fixed or not inputs:
        what = f'the input "{fixed[0]}" has no rows' if fixed else "the signature has no inputs"
        raise RESTError(400, f'{what}: expected the columnar format, "inputs"')
    if len(inputs) == 1:
        (name,) = inputs
        instances = [row if is_object(row) else {name: row} for row in instances]
    for number, row in enumerate(instances):
        require_names(row, inputs, f'row {number} of "instances"')
    return {name: [row[name] for row in instances] for name in inputs}


def columns_by_name(values, inputs: "Mapping[str, tf.TensorSpec]") -> dict:
    """Returns whole values by name. With one input, its value may be given without its name."""
    if len(inputs) == 1 and not is_object(values):
        return dict.fromkeys(inputs, values)
    require_names(values, inputs, '"inputs"')
    return values


def is_object(value) -> bool:
    """Returns whether a JSON value is an object of inputs, and not the bytes of one."""
    return isinstance(value, dict) and value.keys() != {BASE64}


def require_names(value, inputs: "Mapping[str, tf.TensorSpec]", what: str):
    """Raises RESTError unless `value` is an object of all inputs and nothing else."""
    names = ", ".join(inputs) or "no fields"
    if not isinstance(value, dict):
        raise RESTError(400, f"{what} is {kind(value)}: expected an object with {names}")
    for name in [*inputs, *value]:
        if (name in inputs) != (name in value):
            problem = "has no value for" if name in inputs else "has the unknown input"
            raise RESTError(400, f'{what} {problem} "{shorten(name)}": expected {names}')


def to_array(value, name: str, spec: "tf.TensorSpec") -> np.ndarray:
    """Converts nested lists to an array of the type and shape of an input. Strings become bytes."""
    what = f'the input "{name}"'
    expected = spec.shape.rank
    shape: list[int] = []
    leaves = [value]
    for axis in range(expected):  # one level of lists after another, without a loop over the leaves
        if set(map(type, leaves)) != {list}:
            other = next(leaf for leaf in leaves if not isinstance(leaf, list))
            raise RESTError(400, f"{what} has {kind(other)} at depth {axis}: expected lists, {expected} deep")
        sizes = set(map(len, leaves))
        if len(sizes) > 1:
            raise RESTError(400, f"{what} has lists of {min(sizes)} and of {max(sizes)} values: expected equal lengths")
        shape += sizes
        leaves = list(itertools.chain.from_iterable(leaves))
        if not leaves:
            raise RESTError(400, f"{what} is empty: its shape is {shape}, expected {written(spec)}")
    if any(fixed not in (None, size) for size, fixed in zip(shape, spec.shape, strict=True)):
        raise RESTError(400, f"{what} has the shape {shape}: expected {written(spec)}")
    converted = to_bytes(leaves, what) if spec.dtype == "string" else to_numbers(leaves, what, spec.dtype)
    return converted.reshape(shape)


def to_bytes(leaves: list, what: str) -> np.ndarray:
    found = np.empty(len(leaves), object)
    for number, leaf in enumerate(leaves):
        if isinstance(leaf, str):
            found[number] = leaf.encode()  # parse_json refuses lone surrogates
        elif isinstance(leaf, dict) and leaf.keys() == {BASE64} and isinstance(leaf[BASE64], str):
            found[number] = from_base64(leaf[BASE64], what)
        else:
            raise RESTError(400, f'{what} has {kind(leaf)}: expected strings, or {{"b64": "…"}} for bytes')
    return found


def from_base64(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RESTError(400, f'{what} has "b64" that is not base64: {error}') from error


def to_numbers(leaves: list, what: str, dtype: "tf.DType") -> np.ndarray:
    types: set[type] = {bool} if dtype.is_bool else {int} if dtype.is_integer else {int, float}
    if not set(map(type, leaves)) <= types:
        other = next(leaf for leaf in leaves if type(leaf) not in types)
        raise RESTError(400, f"{what} has {kind(other)}: expected {dtype.name}")
    kept = dtype.as_numpy_dtype
    if dtype.is_bool:
        return np.array(leaves, kept)
    try:
        found = np.array(leaves, np.int64 if dtype.is_integer else np.float64)
    except OverflowError as error:
        raise RESTError(400, f"{what} has a number that is too large: expected {dtype.name}") from error
    infinite = np.isinf(found)
    if ((found < dtype.min) | (found > dtype.max))[~infinite].any():
        raise RESTError(400, f"{what} has numbers from {found.min()} to {found.max()}: expected {dtype.name}")
    return found.astype(kept)


def written(spec: "tf.TensorSpec") -> str:
    """Returns the shape of an input as text, such as [any, 3]."""
    return f"[{', '.join('any' if size is None else str(size) for size in spec.shape)}]"


def kind(value) -> str:
    """Describes a JSON value without quoting it."""
    if value is None or value == []:
        return "null" if value is None else "an empty list"
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "an integer"}
    return names.get(type(value), "a number with a fraction")


def shorten(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:40]}…"


def to_body(outputs: Mapping[str, np.ndarray], request: Request, rows: int) -> bytes:
    """Returns the body of an answer.

    Raises:
        RESTError (400): By row, but an output has another number of rows.
    """
    values = {name: to_json(array, name) for name, array in outputs.items()}
    if request.by_row:
        for name, array in outputs.items():
            if array.shape[:1] != (rows,):
                shape = list(array.shape)
                problem = f'the output "{name}" has the shape {shape}, not {rows} rows'
                raise RESTError(400, f'{problem}: use the columnar format, "inputs"')
        by_row = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
        answer = {"predictions": only(values) if len(values) == 1 else by_row}
    else:
        answer = {"outputs": only(values) if len(values) == 1 else values}
    return json.dumps(answer, ensure_ascii=False, allow_nan=False).encode()


def only(values: Mapping):
    """Returns the single value."""
    (value,) = values.values()
    return value


def to_json(array: np.ndarray, name: str):
    """Converts an array to nested lists: bytes to strings, or to base64 if the name ends in _bytes; NaN and infinity to
    None."""
    if array.dtype == object:
        encode = (lambda raw: {BASE64: base64.b64encode(raw).decode()}) if name.endswith(BINARY) else as_text
        return np.frompyfunc(encode, 1, 1)(array).tolist() if array.size else array.tolist()
    if array.dtype.kind != "f":
        return array.tolist()
    if array.dtype != np.float64:
        # The shortest decimal that is read as this number: 0.1, not 0.10000000149011612.
        array = array.astype(str).astype(np.float64)
    finite = np.isfinite(array)
    if finite.all():
        return array.tolist()
    with_null = array.astype(object)
    with_null[~finite] = None
    return with_null.tolist()


def as_text(raw: bytes) -> str:
    return raw.decode(errors="replace")

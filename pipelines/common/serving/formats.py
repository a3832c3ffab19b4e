"""Writes the numeric functions of a model for other runtimes, LiteRT and ONNX: completely, or not at all.

The folder has a file for each function, such as encode.tflite, and model.json: what a program needs that calls them
(vocabulary, labels, sizes), and how their answers compare with those of TensorFlow. docs/devices.md has such programs.
"""

import contextlib
import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.files import partial_folder, sync_tree, write_json
from pipelines.common.serving import litert, onnx_files
from pipelines.common.serving.saved_model import refuse_other_files, refuse_wildcards, replace_folder, unwritable

DESCRIPTION = "model.json"
RUNTIMES = {"litert": litert, "onnx": onnx_files}
NEW = "new_"  # begins the name of a new state
TOLERANCE = 1e-4  # of float32
TIES = {"float32": TOLERANCE, "float16": 1e-2, "int8": 0.0}  # choices that TensorFlow has as near to each other
SAME = {"float32": 1.0, "float16": 1.0, "int8": 0.9}  # share of the choices that must be those of TensorFlow

Call = Callable[[str, dict[str, np.ndarray]], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Function:
    """A numeric function of a model.

    Attributes:
        name: that of its file, without the extension.
        call: function of tensors that returns name -> tensor. An output has not the name of an input.
        inputs: the specs of the tensors, with their names; the first axis of each is the batch.
    """

    name: str
    call: Callable[..., dict]
    inputs: Sequence[tf.TensorSpec]

    def traced(self, batch: int | None = None):
        """Returns the function as a graph, for batches of this size."""
        return tf.function(self.call, input_signature=self.signature(batch), autograph=False)

    def signature(self, batch: int | None) -> list[tf.TensorSpec]:
        """Returns the specs of the inputs, for batches of this size."""
        return [tf.TensorSpec([batch, *spec.shape[1:]], spec.dtype, name=spec.name) for spec in self.inputs]


@dataclasses.dataclass(frozen=True)
class Functions:
    """The numeric functions of a model.

    Attributes:
        functions: all of them.
        description: JSON values for model.json.
        answers: calls the functions with real inputs, by `call(name, inputs)`, and yields their answers float[...,
            choices]: log-probabilities or probabilities, the largest of which is the choice.
    """

    functions: Sequence[Function]
    description: dict
    answers: Callable[[Call], Iterable[np.ndarray]]


def write_functions(path, given: Functions, format: str, weights: str) -> pathlib.Path:
    """Writes functions to the folder `path` and returns it. A folder of functions that exists there is replaced.

    The files are run before that, and their answers compared with those of TensorFlow.

    Args:
        format: one of RUNTIMES.
        weights: "float32", or "float16" or "int8", to which the weights are rounded.

    Raises:
        UserError: The runtime is not installed; a function cannot be converted; the answers differ; `path` exists and
            has something else, or cannot be written.
    """
    path, runtime = pathlib.Path(path), RUNTIMES[format]
    runtime.require()
    refuse_wildcards(path)
    refuse_other_files(path, DESCRIPTION)
    calls: dict[str, Callable] = {}
    described = {}

    def run(name, inputs):
        with explained(f"{name} fails in {format}"):
            return calls[name](inputs)

    try:
        with partial_folder(path) as temporary:
            for function in given.functions:
                file = temporary / f"{function.name}.{runtime.EXTENSION}"
                with explained(f"{function.name} cannot be converted to {format}"):
                    runtime.convert(function.call, function.signature(runtime.BATCH), weights, file)
                    calls[function.name] = runtime.load(file)
                described[function.name] = describe(function, file.name, runtime.BATCH)
            comparison = compare(given, run, weights, format)
            description = {"format": format, "weights": weights, **given.description}
            write_json(temporary / DESCRIPTION, {**description, "functions": described, "comparison": comparison})
            sync_tree(temporary)
            replace_folder(temporary, path)
    except (OSError, tf.errors.OpError) as error:
        raise unwritable(path, error) from error
    if weights != "float32":
        print(
            f"{weights}: the answers are those of TensorFlow in {comparison['same']} of {comparison['answers']} cases",
            file=sys.stderr,
        )
    return path


@contextlib.contextmanager
def explained(what: str):
    """Raises errors of a converter or a runtime as UserError, of which `what` is the beginning."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # they have no common class
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{what}: {reason}; nothing was written") from error


def describe(function: Function, file: str, batch: int | None) -> dict:
    """Returns the file of a function, and the types and shapes of its inputs and outputs; null is any size."""
    concrete = function.traced(batch).get_concrete_function()

    def tensors(specs) -> dict:
        return {name: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()} for name, spec in specs}

    return {
        "file": file,
        "inputs": tensors((spec.name, spec) for spec in function.signature(batch)),
        "outputs": tensors(concrete.structured_outputs.items()),
    }


def compare(given: Functions, call: Call, weights: str, format: str) -> dict:
    """Returns how many answers there are, how many have the choice of TensorFlow, and the largest difference, relative
    for numbers above 1. Raises UserError if the answers differ more than the format of the weights explains."""
    answers, same, largest = 0, 0, 0.0
    traced = functools.cache(lambda name: next(each for each in given.functions if each.name == name).traced())

    def by_tensorflow(name, inputs):
        names = [spec.name for each in given.functions if each.name == name for spec in each.inputs]
        return {key: value.numpy() for key, value in traced(name)(*[inputs[each] for each in names]).items()}

    for expected, found in zip(given.answers(by_tensorflow), given.answers(call), strict=True):
        if expected.shape != found.shape:
            raise UserError(f"{format} returns {found.shape} numbers and TensorFlow {expected.shape}: expected as many")
        with np.errstate(invalid="ignore"):  # -inf - -inf, the logarithms of probabilities that are 0
            apart = np.where(found == expected, 0, np.abs(found - expected) / np.maximum(np.abs(expected), 1))
        largest = max(largest, float(np.nan_to_num(apart, nan=np.inf, posinf=np.inf).max(initial=0)))
        best = np.take_along_axis(expected, found.argmax(axis=-1)[..., None], axis=-1)[..., 0]
        near = expected.max(axis=-1, initial=-np.inf) - best <= TIES[weights]
        answers, same = answers + near.size, same + int(near.sum())
    if weights == "float32" and TOLERANCE < largest < np.inf:
        raise UserError(
            f"the numbers of {format} are up to {largest:.2g} apart from those of TensorFlow: expected at most"
            f" {TOLERANCE}; nothing was written"
        )
    if not np.isfinite(largest):
        raise UserError(f"{format} with the weights {weights} returns numbers that are not finite; nothing was written")
    if same < SAME[weights] * answers:
        raise UserError(
            f"{format} with the weights {weights} has the answer of TensorFlow in {same} of {answers} cases: expected"
            f" at least {SAME[weights] * answers:.0f}; nothing was written"
        )
    return {"answers": answers, "same": same, "largest_difference": largest}

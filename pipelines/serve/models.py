"""Loads the exports to serve, and calls their signatures."""

import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import google.protobuf.json_format
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from pipelines.common.errors import UserError
from pipelines.common.serving import exports
from pipelines.common.serving.first_use import GRAPH, require_export
from pipelines.serve.discovery import TASKS, find
from pipelines.serve.errors import RESTError
from pipelines.serve.rest import has_rows

DEFAULT = "serving_default"


class Signature:
    """A signature of a loaded export, which is called with arrays.

    Attributes:
        inputs: name -> TensorSpec.
        batches: whether calls may share a batch: only those of serving_default, as other signatures return tensors that
            are as long as the longest text, or use one seed for all rows.
    """

    def __init__(self, function, batches: bool):
        self.function, self.batches = function, batches
        self.inputs: dict[str, tf.TensorSpec] = dict(sorted(function.structured_input_signature[1].items()))

    def __call__(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the outputs by name. Raises RESTError (400) if TensorFlow refuses the inputs."""
        try:
            tensors = {name: tf.constant(arrays[name], spec.dtype) for name, spec in self.inputs.items()}
            outputs = self.function(**tensors)
            return {name: outputs[name].numpy() for name in sorted(outputs)}
        except tf.errors.InvalidArgumentError as error:
            raise RESTError(400, f"the model refuses the inputs: {reason(error)}") from error
        except UnicodeDecodeError as error:  # TensorFlow's message quotes bytes that are not UTF-8
            raise RESTError(400, "the model refuses the inputs, which are not UTF-8") from error

    def same_rows(self, arrays: Mapping[str, np.ndarray]) -> bool:
        """Returns whether all inputs have a first axis of the same size."""
        return len({len(arrays[name]) if has_rows(spec) else -1 for name, spec in self.inputs.items()}) == 1

    def smallest(self) -> dict[str, np.ndarray]:
        """Returns the smallest inputs, of one row: empty strings and zeros."""
        return {
            name: np.full([size or 1 for size in spec.shape], b"", object)
            if spec.dtype == tf.string
            else np.zeros([size or 1 for size in spec.shape], spec.dtype.as_numpy_dtype)
            for name, spec in self.inputs.items()
        }


def reason(error: tf.errors.OpError) -> str:
    """Returns the first line of TensorFlow's message without the names of operations."""
    line = (error.message or type(error).__name__).strip().splitlines()[0]
    return line.rpartition("}} ")[2].partition(" [Op:")[0]


class Model:
    """A loaded export.

    Attributes:
        name: its name in addresses.
        task: key of TASKS.
        version: its number in addresses: that of its folder, or 1.
        signatures: by name.
        metadata: the answer to a request for /metadata.
    """

    def __init__(self, name: str, task: str, path: pathlib.Path):
        """Loads and calls the export of a run, which is made if there is none, or an export.

        Raises:
            UserError: It cannot be used.
        """
        self.name, self.task, self.path = name, task, path
        known = TASKS[task]
        require_export(path, known.run_task, known.export, known.pipeline)
        folder = exports.find(path, known.pipeline)
        self.version = int(folder.name) if folder.name.isdecimal() else 1
        self.loaded = exports.load(path, known.pipeline, set(known.outputs))
        self.signatures = {
            key: Signature(function, known.batches and key == DEFAULT)
            for key, function in self.loaded.signatures.items()
        }
        self.metadata: dict[str, Any] = {
            "model_spec": {"name": name, "signature_name": "", "version": str(self.version)},
            "metadata": {"signature_def": {"signature_def": signature_defs(folder / GRAPH, self.signatures)}},
        }
        try:
            self.signatures[DEFAULT](self.signatures[DEFAULT].smallest())  # the first call takes seconds
        except (RESTError, tf.errors.OpError) as error:
            raise UserError(f"{path} cannot be used: {error}") from error


def signature_defs(file: pathlib.Path, names) -> dict:
    """Returns the signatures in a SavedModel as TensorFlow Serving writes them."""
    graph = saved_model_pb2.SavedModel()
    graph.ParseFromString(file.read_bytes())
    to_dict = google.protobuf.json_format.MessageToDict
    found = graph.meta_graphs[0].signature_def
    return {
        name: to_dict(found[name], preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        for name in names
    }


def load(given: Mapping[str, Sequence[pathlib.Path]]) -> dict[str, Model]:
    """Returns the models by name. The first of each task also has the name of its task.

    Args:
        given: task -> runs and exports. Without any, all in saved_models.

    Raises:
        UserError: There is none, or one cannot be used.
    """
    models: dict[str, Model] = {}
    for name, (task, path) in find(given).items():
        model = Model(name, task, path)
        models[name] = model
        models.setdefault(task, model)
    return models


def describe(models: Mapping[str, Model]) -> Iterator[str]:
    """Yields a line about each model."""
    for model in {id(model): model for model in models.values()}.values():
        names = [name for name, other in models.items() if other is model]
        yield f"{' and '.join(names)}: {model.path}, {json.dumps(list(model.signatures))}"

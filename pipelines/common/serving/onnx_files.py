"""ONNX files, which runtimes of many languages read: conversion and calls. Needs the extra `onnx`."""

import logging
import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.weights import SMALL, to_int8

EXTENSION = "onnx"
BATCH = None  # any
OPSET = 18


def require():
    """Raises UserError if the converter or the runtime is not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"the format onnx needs {error.name}, which is not installed: pip install 'unfold[onnx]'"
        ) from error


def convert(function, signature: list[tf.TensorSpec], weights: str, file: pathlib.Path):
    """Writes a function to a file.

    Args:
        function: function of tensors that returns name -> tensor.
        signature: the specs of the tensors.
        weights: "float32", or the format in which the file has the weights, "float16" or "int8": the graph begins with
            their conversion to float32, which the runtime does once, when it loads the file.
    """
    import onnx
    import tf2onnx

    traced = tf.function(function, input_signature=signature, autograph=False)
    # tf2onnx tries to store the lookup tables of the process as well, warns that it cannot, and does not need them.
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    try:
        model, _ = tf2onnx.convert.from_function(traced, input_signature=signature, opset=OPSET)
    finally:
        logger.setLevel(level)
    if weights != "float32":
        round_weights(model.graph, weights)
    onnx.checker.check_model(model)
    file.write_bytes(model.SerializeToString())


def round_weights(graph, weights: str):
    """Stores the weights of a graph and its loops in fewer bits, with nodes that convert them to float32. As in the
    rounded weights of a release, small weights and vectors stay float32."""
    import onnx

    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                round_weights(attribute.g, weights)
    kept, nodes = [], []
    for tensor in graph.initializer:
        value = onnx.numpy_helper.to_array(tensor)
        if value.dtype != np.float32 or value.ndim < 2 or value.size < SMALL:
            kept.append(tensor)
            continue
        stored = f"{tensor.name}_{weights}"
        if weights == "float16" and np.abs(value).max() <= np.finfo(np.float16).max:
            kept.append(onnx.numpy_helper.from_array(value.astype(np.float16), stored))
            nodes.append(onnx.helper.make_node("Cast", [stored], [tensor.name], to=onnx.TensorProto.FLOAT))
        elif weights == "int8":
            numbers, scale = to_int8(value)
            axis = int(np.argmax(scale.shape))
            kept.append(onnx.numpy_helper.from_array(numbers, stored))
            kept.append(onnx.numpy_helper.from_array(scale.reshape(-1), f"{stored}_scale"))
            inputs = [stored, f"{stored}_scale"]
            nodes.append(onnx.helper.make_node("DequantizeLinear", inputs, [tensor.name], axis=axis))
        else:
            kept.append(tensor)
    former = list(graph.node)
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend([*nodes, *former])  # in the order of computation


def load(file: pathlib.Path) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """Returns the function of a file, of arrays by name."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))

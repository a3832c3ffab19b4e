import json
import sys

import numpy as np
import pytest
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.serving import onnx_files
from pipelines.common.serving.formats import RUNTIMES, Function, Functions, compare, write_functions
from tests import device_programs

KERNEL = np.random.default_rng(0).normal(size=(64, 80)).astype(np.float32)
INPUTS = np.random.default_rng(1).normal(size=(50, 1, 64)).astype(np.float32)
WEIGHTS = [("float32", 4, 1e-6), ("float16", 2, 1e-2), ("int8", 1, 0.1)]  # bytes of a number, and its tolerance


@pytest.fixture(scope="module")
def given() -> Functions:
    """A function whose weights are large enough to be rounded."""
    kernel = tf.Variable(KERNEL)

    def softmax(x):
        return {"probabilities": tf.nn.softmax(tf.matmul(x, kernel))}

    def answers(call):
        return (call("softmax", {"x": row})["probabilities"] for row in INPUTS)

    function = Function("softmax", softmax, [tf.TensorSpec([None, 64], tf.float32, name="x")])
    return Functions([function], {"task": "none"}, answers)


def expected(call_inputs):
    logits = np.exp(call_inputs @ KERNEL)
    return logits / logits.sum(axis=-1, keepdims=True)


@pytest.mark.extra  # the converters take seconds to import
@pytest.mark.parametrize("format", RUNTIMES)
@pytest.mark.parametrize(("weights", "size", "atol"), WEIGHTS)
def test_files_are_written_and_answer(given, tmp_path, format, weights, size, atol):
    device_programs.require(format)
    path = write_functions(tmp_path / "out", given, format, weights)
    described = json.loads((path / "model.json").read_text("utf-8"))
    assert (described["format"], described["weights"], described["task"]) == (format, weights, "none")
    assert described["comparison"]["answers"] == 50
    file = path / described["functions"]["softmax"]["file"]
    assert sorted(each.name for each in path.iterdir()) == sorted([file.name, "model.json"])
    assert size * KERNEL.size <= file.stat().st_size < size * KERNEL.size + 4000
    call = RUNTIMES[format].load(file)
    np.testing.assert_allclose(call({"x": INPUTS[0]})["probabilities"], expected(INPUTS[0]), atol=atol)
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_rounded_weights_of_a_loop():
    pytest.importorskip("onnx", reason="needs the extra onnx")
    from onnx import TensorProto, helper, numpy_helper

    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["before", "kernel"], ["after"]),
            helper.make_node("Identity", ["go_on"], ["goes_on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, [1, 64]),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, [1, 64]),
        ],
        [numpy_helper.from_array(KERNEL[:, :64].copy(), "kernel")],
    )
    graph = helper.make_graph([helper.make_node("Loop", ["", "", "x"], ["y"], body=body)], "loop", [], [])
    onnx_files.round_weights(graph, "int8")
    inner = graph.node[0].attribute[0].g
    assert [node.op_type for node in inner.node] == ["DequantizeLinear", "MatMul", "Identity"]
    numbers, scale = (numpy_helper.to_array(each) for each in inner.initializer)
    assert numbers.dtype == np.int8 and scale.shape == (64,)
    axis = inner.node[0].attribute[0].i
    scales = scale[:, None] if axis == 0 else scale
    np.testing.assert_allclose(numbers * scales, KERNEL[:, :64], atol=scale.max() / 2 + 1e-6)


def test_other_answers_are_refused(given):
    found = compare(given, lambda name, inputs: {"probabilities": expected(inputs["x"])}, "float32", "litert")
    assert (found["answers"], found["same"]) == (50, 50) and found["largest_difference"] < 1e-5

    def moved(name, inputs):
        return {"probabilities": expected(inputs["x"]) + np.float32(3e-4)}

    with pytest.raises(UserError, match=r"litert are up to 0.0003 apart .*: expected at most 0.0001; nothing was"):
        compare(given, moved, "float32", "litert")
    assert compare(given, moved, "float16", "litert")["same"] == 50

    def reversed_for_some(rows):
        return lambda name, inputs: {
            "probabilities": expected(inputs["x"]) * (-1 if any(np.array_equal(inputs["x"], r) for r in rows) else 1)
        }

    with pytest.raises(UserError, match="float16 has the answer of TensorFlow in 49 of 50 cases: expected at least 50"):
        compare(given, reversed_for_some(INPUTS[:1]), "float16", "onnx")
    assert compare(given, reversed_for_some(INPUTS[:5]), "int8", "onnx")["same"] == 45
    with pytest.raises(UserError, match="in 44 of 50 cases: expected at least 45"):
        compare(given, reversed_for_some(INPUTS[:6]), "int8", "onnx")
    for wrong in (np.nan, np.inf):
        with pytest.raises(UserError, match="returns numbers that are not finite"):
            compare(
                given, lambda name, inputs, bad=wrong: {"probabilities": inputs["x"] @ KERNEL * bad}, "int8", "onnx"
            )


@pytest.mark.extra
@pytest.mark.parametrize("format", RUNTIMES)
def test_a_failed_export_leaves_what_was_there(given, tmp_path, format):
    device_programs.require(format)
    path = write_functions(tmp_path / "out", given, format, "float32")
    before = {each.name: each.read_bytes() for each in path.iterdir()}
    called = []

    def answers(call):  # those of the first call, TensorFlow's, are not those of the second
        called.append(call)
        return [call("softmax", {"x": INPUTS[len(called)]})["probabilities"]]

    with pytest.raises(UserError, match="nothing was written"):
        write_functions(path, Functions(given.functions, {}, answers), format, "float32")
    assert {each.name: each.read_bytes() for each in path.iterdir()} == before
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


@pytest.mark.extra
def test_other_files_are_refused(given, tmp_path):
    device_programs.require("onnx")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty and not an export"):
        write_functions(tmp_path, given, "onnx", "float32")
    with pytest.raises(UserError, match="for a pattern"):
        write_functions(tmp_path / "a[b]", given, "onnx", "float32")


@pytest.mark.parametrize(("format", "module"), [("litert", "ai_edge_litert.interpreter"), ("onnx", "tf2onnx")])
def test_a_missing_runtime_is_named(given, tmp_path, monkeypatch, format, module):
    for each in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, each, sys)  # is there, if only for this test
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"the format {format} needs .*, which is not installed: .*unfold\[{format}\]"):
        write_functions(tmp_path / "out", given, format, "float32")
    assert not list(tmp_path.iterdir())


@pytest.mark.extra
def test_what_cannot_be_converted_or_run_is_explained(given, tmp_path):
    device_programs.require("onnx")

    def beta(x):
        return {"probabilities": tf.math.betainc(x, x, x)}

    function = Function("beta", beta, [tf.TensorSpec([None, 64], tf.float32, name="x")])
    with pytest.raises(UserError, match=r"beta cannot be converted to onnx: .*; nothing was written"):
        write_functions(tmp_path / "out", Functions([function], {}, given.answers), "onnx", "float32")
    sizes = iter([64, 63])  # that of the input of TensorFlow, and a wrong one for the runtime

    def answers(call):
        yield call("softmax", {"x": np.zeros([1, next(sizes)], np.float32)})["probabilities"]

    with pytest.raises(UserError, match=r"softmax fails in onnx: .*; nothing was written"):
        write_functions(tmp_path / "out", Functions(given.functions, {}, answers), "onnx", "float32")
    assert not list(tmp_path.iterdir())

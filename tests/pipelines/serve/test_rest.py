import json

import numpy as np
import pytest
import tensorflow as tf

from pipelines.serve import rest
from pipelines.serve.errors import RESTError, error_body


def spec(name, dtype, *shape):
    return {name: tf.TensorSpec(shape, dtype, name=name)}


TEXT = spec("text", tf.string, None)
VIDEO = {**spec("frames", tf.uint8, None, None, None, None, 3), **spec("lengths", tf.int32, None)}
BEAM = {**spec("source", tf.string, None), **spec("prefix", tf.string, None), **spec("beam_size", tf.int32)}
FEATURES = spec("features", tf.float32, None, 2)
FLAG = spec("flag", tf.bool, None)


def read(body, inputs):
    """Returns the arrays as lists, and the number of rows."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    arrays, rows = rest.to_arrays(rest.parse(content), inputs)
    for name, array in arrays.items():
        assert array.dtype == (object if inputs[name].dtype == tf.string else inputs[name].dtype.as_numpy_dtype)
    return {name: array.tolist() for name, array in arrays.items()}, rows


@pytest.mark.parametrize(
    ("body", "inputs", "expected", "rows"),
    [
        ({"instances": ["a", "é"]}, TEXT, {"text": [b"a", "é".encode()]}, 2),
        ({"instances": [{"text": "a"}, {"text": {"b64": "/w=="}}]}, TEXT, {"text": [b"a", b"\xff"]}, 2),
        ({"instances": [{"b64": "aGk="}]}, TEXT, {"text": [b"hi"]}, 1),
        ({"inputs": ["a"]}, TEXT, {"text": [b"a"]}, 1),
        ({"inputs": {"text": ["a"]}, "signature_name": "serving_default"}, TEXT, {"text": [b"a"]}, 1),
        ({"instances": ["a"], "signature_name": "", "more": 1}, TEXT, {"text": [b"a"]}, 1),
        (
            {"instances": [{"frames": [[[[1, 2, 255]]]], "lengths": 1}, {"lengths": 0, "frames": [[[[0, 0, 0]]]]}]},
            VIDEO,
            {"frames": [[[[[1, 2, 255]]]], [[[[0, 0, 0]]]]], "lengths": [1, 0]},
            2,
        ),
        (
            {"inputs": {"source": ["a", "b"], "prefix": ["c"], "beam_size": 3}},
            BEAM,
            {"source": [b"a", b"b"], "prefix": [b"c"], "beam_size": 3},
            2,
        ),
        ({"inputs": {}}, {}, {}, 1),
        ({"inputs": [[1, -2.5]]}, FEATURES, {"features": [[1.0, -2.5]]}, 1),
        (b'{"inputs": [[Infinity, -Infinity]]}', FEATURES, {"features": [[np.inf, -np.inf]]}, 1),
        ({"inputs": [True, False]}, FLAG, {"flag": [True, False]}, 2),
    ],
)
def test_values_become_arrays(body, inputs, expected, rows):
    assert read(body, inputs) == (expected, rows)


@pytest.mark.parametrize(
    ("body", "inputs", "sentence"),
    [
        (b"", TEXT, "the body is empty"),
        (b"\xff", TEXT, "not UTF-8: byte 1 is 0xff"),
        (b'{"inputs": [', TEXT, "not JSON: Expecting value in line 1, column 13"),
        (b"[" * 100_000, TEXT, "nested too deeply"),
        (b'{"inputs": ' + b"[" * 500 + b"]" * 500 + b"}", TEXT, '"text" has a list: expected strings'),
        (b'{"inputs": ["\\ud800"]}', TEXT, "lone surrogate"),
        (b'{"inputs": ["a"], "inputs": ["b"]}', TEXT, "the field inputs occurs twice"),
        (b'{"inputs": [' + b"9" * 5000 + b"]}", FEATURES, "a number has too many digits"),
        (["a"], TEXT, "the body is a list: expected an object"),
        ({}, TEXT, 'has neither of "instances" and "inputs"'),
        ({"instances": ["a"], "inputs": ["a"]}, TEXT, 'has both of "instances" and "inputs"'),
        ({"instances": ["a"], "signature_name": 1}, TEXT, '"signature_name" is an integer: expected a string'),
        ({"instances": []}, TEXT, '"instances" is an empty list'),
        ({"instances": "a"}, TEXT, '"instances" is a string'),
        ({"instances": [None]}, TEXT, '"text" has null: expected strings'),
        ({"instances": [["a"]]}, TEXT, '"text" has a list: expected strings'),
        ({"instances": [{"b64": "no base64!"}]}, TEXT, '"b64" that is not base64'),
        ({"instances": [{"b64": 1}]}, TEXT, '"text" has an object'),
        ({"instances": [{"words": "a"}]}, TEXT, 'row 0 of "instances" has no value for "text": expected text'),
        ({"instances": [{"text": "a", "x" * 99: 1}]}, TEXT, f'has the unknown input "{"x" * 40}…"'),
        ({"inputs": "a"}, TEXT, '"text" has a string at depth 0: expected lists, 1 deep'),
        ({"inputs": []}, TEXT, '"text" is empty: its shape is [0], expected [any]'),
        ({"instances": [1]}, VIDEO, 'row 0 of "instances" is an integer: expected an object with frames, lengths'),
        ({"inputs": {"frames": [[[[[1, 2, 256]]]]], "lengths": [1]}}, VIDEO, "from 1 to 256: expected uint8"),
        ({"inputs": {"frames": [[[[[1, 2, -1]]]]], "lengths": [1]}}, VIDEO, "from -1 to 2: expected uint8"),
        ({"inputs": {"frames": [[[[[1, 2, 3.0]]]]], "lengths": [1]}}, VIDEO, "with a fraction: expected uint8"),
        ({"inputs": {"frames": [[[[[1, 2, True]]]]], "lengths": [1]}}, VIDEO, "a boolean: expected uint8"),
        ({"inputs": {"frames": [[[[[1, 2]]]]], "lengths": [1]}}, VIDEO, "the shape [1, 1, 1, 1, 2]: expected [any,"),
        ({"inputs": {"frames": [[[[[1, 2, 3]]], []]], "lengths": [1]}}, VIDEO, "lists of 0 and of 1 values"),
        ({"inputs": {"frames": [[[[[1, 2, 3]]]]], "lengths": [2**31]}}, VIDEO, "expected int32"),
        ({"inputs": {"frames": [[[[[1, 2, 3]]]]], "lengths": [10**30]}}, VIDEO, "too large: expected int32"),
        ({"inputs": [[1, 1e39]]}, FEATURES, "from 1.0 to 1e+39: expected float32"),
        ({"inputs": [[1, 10**400]]}, FEATURES, "too large: expected float32"),
        ({"inputs": [1]}, FLAG, "an integer: expected bool"),
        ({"instances": [{"source": "a", "prefix": "", "beam_size": 1}]}, BEAM, '"beam_size" has no rows'),
        ({"instances": [{}]}, {}, "the signature has no inputs: expected the columnar format"),
        ({"inputs": {"source": ["a"], "prefix": [""], "beam_size": [1]}}, BEAM, "a list: expected int32"),
        ({"inputs": {"source": ["a"], "prefix": [""], "beam_size": 0}}, BEAM, 'is 0: expected a number from 1'),
        ({"inputs": {"source": ["a"], "prefix": [""], "beam_size": 10**6}}, BEAM, 'is 1000000: expected a number'),
    ],
)  # fmt: skip
def test_other_values_are_refused(body, inputs, sentence):
    with pytest.raises(RESTError) as found:
        read(body, inputs)
    assert found.value.status == 400 and sentence in found.value.sentence


OUTPUTS = {"label": np.array([b"a", b"\xff"], object), "score": np.array([0.1, -np.inf], np.float32)}


def written(outputs, by_row, rows):
    return json.loads(rest.to_body(outputs, rest.Request("", by_row, None), rows))


def test_answers_by_row_and_by_column():
    by_row = [{"label": "a", "score": 0.1}, {"label": "\ufffd", "score": None}]
    assert written(OUTPUTS, True, 2) == {"predictions": by_row}
    assert written(OUTPUTS, False, 2) == {"outputs": {"label": ["a", "\ufffd"], "score": [0.1, None]}}
    only = {"x_bytes": np.array([[b"\xff"]], object)}
    assert written(only, True, 1) == {"predictions": [[{"b64": "/w=="}]]}
    assert written(only, False, 1) == {"outputs": [[{"b64": "/w=="}]]}
    assert written({"x": np.zeros([2, 0], np.int32)}, True, 2) == {"predictions": [[], []]}
    assert written({"x": np.zeros([2, 0], object)}, True, 2) == {"predictions": [[], []]}


def test_an_output_without_rows_needs_the_columnar_format():
    outputs = {**OUTPUTS, "classes": np.array([b"a", b"b", b"c"], object)}
    with pytest.raises(RESTError, match=r'"classes" has the shape .*, not 2 rows: use the columnar format'):
        written(outputs, True, 2)
    assert written(outputs, False, 2)["outputs"]["classes"] == ["a", "b", "c"]


def test_numbers_are_read_back_to_the_last_bit():
    numbers = np.random.default_rng(0).normal(size=1000).astype(np.float32) * 10.0 ** np.arange(-20, 20).repeat(25)
    numbers = numbers.astype(np.float32)
    found = np.array(written({"x": numbers}, False, 1000)["outputs"], np.float32)
    np.testing.assert_array_equal(found, numbers)


def test_a_sentence_is_one_line_of_json():
    assert json.loads(error_body('a "b"\n  c\ud800')) == {"error": 'a "b" c?'}

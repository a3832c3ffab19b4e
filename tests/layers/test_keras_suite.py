"""Keras's own test files of LSTM, SimpleRNN and Bidirectional, unmodified, with our layers in the place of theirs."""

import importlib
from unittest import mock

import keras
import pytest

from layers.lstm import LSTM, LSTMCell
from layers.rnn import VanillaRNN, VanillaRNNCell

EXTRA = pytest.mark.extra
OURS = {"LSTM": LSTM, "LSTMCell": LSTMCell, "SimpleRNN": VanillaRNN, "SimpleRNNCell": VanillaRNNCell}


def keras_cases():
    modules = [
        importlib.import_module(f"keras.src.layers.rnn.{name}_test") for name in ("lstm", "simple_rnn", "bidirectional")
    ]
    cases = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    return [
        pytest.param(case, method, id=f"{case.__name__}-{method}", marks=EXTRA if "Bidir" in case.__name__ else ())
        for case in cases
        if issubclass(case, keras.src.testing.TestCase)
        for method in dir(case)
        if method.startswith("test_")
    ]


@pytest.mark.filterwarnings("default")  # theirs, not ours, to be warned about
@pytest.mark.parametrize(("case", "method"), keras_cases())
def test_keras_suite(case, method):
    with mock.patch.multiple(keras.src.layers, **OURS):
        test = case(method)
        result = test.defaultTestResult()
        test.run(result)
    failures = "\n".join(trace for _, trace in result.failures + result.errors)
    assert not failures, failures
    assert result.testsRun == 1
    assert not result.skipped or "torch" in method  # that one is about another backend


def test_the_suite_is_there_and_runs_on_our_layers():
    cases = [parameter.values for parameter in keras_cases()]
    assert len(cases) >= 20
    with mock.patch.multiple(keras.src.layers, **OURS):
        for module in {importlib.import_module(case.__module__) for case, _ in cases}:
            assert module.layers.LSTM is LSTM and module.layers.SimpleRNN is VanillaRNN

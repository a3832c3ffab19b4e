"""The numeric functions of models that generate text, `encode` and `step`, for other runtimes."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from layers.attention import Memory
from layers.decoding import ensemble
from layers.text import END, START
from pipelines.common.serving.decoder import FORBIDDEN
from pipelines.common.serving.formats import NEW, Call, Function

GENERATION = {"start": START, "end": END, "forbidden": FORBIDDEN}  # for model.json


def encode_and_step(inputs: tf.TensorSpec, encode: Callable, steps: Sequence[Callable]) -> list[Function]:
    """Returns two functions of models that share a vocabulary, and whose probabilities they average:

    * encode: the inputs to the state before the first token;
    * step: tokens int32[batch], those before (at first START), and the state to log_probabilities float32[batch,
      vocabulary] and the new state, where h_1 is called new_h_1. What does not change, such as what attention reads, is
      not in the new state.

    The states are those of a `RecurrentDecoder`, such as h_1 and c_1 float32[batch, units]; those of the second model
    have names such as h_1_of_2.

    Args:
        inputs: the spec of a batch of inputs.
        encode: function of a batch of inputs that returns the state of each model.
        steps: the `step` functions of the models (see `layers.decoding`).
    """
    states: list = []

    def first_states(batch) -> dict:
        states[:] = encode(batch)
        return dict(zip(names_of(states), tf.nest.flatten(states), strict=True))

    graph = tf.function(first_states, input_signature=[inputs], autograph=False).get_concrete_function()
    specs = [
        tf.TensorSpec([None, *value.shape[1:]], value.dtype, name=name)
        for name, value in graph.structured_outputs.items()
    ]
    specs.sort(key=lambda spec: names_of(states).index(spec.name))

    def step(tokens, *flat) -> dict:
        before = tf.nest.pack_sequence_as(states, list(flat))
        logits, after = ensemble(steps)(tokens, before)
        pairs = zip(names_of(after), flat, tf.nest.flatten(after), strict=True)
        new = {f"{NEW}{name}": value for name, old, value in pairs if value is not old}
        return {"log_probabilities": tf.nn.log_softmax(tf.cast(logits, tf.float32)), **new}

    tokens = tf.TensorSpec([None], tf.int32, name="tokens")
    return [Function("encode", first_states, [inputs]), Function("step", step, [tokens, *specs])]


def names_of(states: Sequence[dict]) -> list[str]:
    """Returns a name for each tensor of the states of decoders, in the order of tf.nest."""
    named = []
    for number, state in enumerate(states, start=1):
        end = "" if number == 1 else f"_of_{number}"
        names: dict = {}
        for key, value in state.items():
            if key == "layers":
                names[key] = [
                    [f"{letter}_{layer}{end}" for letter, _ in zip("hc", parts, strict=False)]
                    for layer, parts in enumerate(value, start=1)
                ]
            elif isinstance(value, Memory):
                names[key] = [f"{key}_{field}{end}" for field in value._fields]
            else:
                names[key] = f"{key}{end}"
        named.append(names)
    return tf.nest.flatten(named)


def answers(call: Call, pairs: Iterable[tuple[dict[str, np.ndarray], Sequence[int]]]) -> Iterator[np.ndarray]:
    """Yields the log-probabilities after START and after each token of given sentences.

    Args:
        call: calls a function, see `Functions`.
        pairs: one input of `encode`, by name, and the tokens of its sentence.
    """
    for inputs, tokens in pairs:
        state = call("encode", inputs)
        for token in (START, *tokens):
            found = call("step", {"tokens": np.array([token], np.int32), **state})
            state = {name: found.get(f"{NEW}{name}", value) for name, value in state.items()}
            yield found["log_probabilities"]

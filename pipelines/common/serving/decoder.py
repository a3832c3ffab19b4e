"""Decodes sentences with one model or several: evaluation calls the same decoder that an export contains."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from layers import decoding
from layers.text import END, PADDING, START, UNKNOWN, pad
from pipelines.common.serving.decoding_options import BEAM, SAMPLE

FORBIDDEN = (PADDING, UNKNOWN, START)  # never part of an answer


def specs(options: dict) -> list[tf.TensorSpec]:
    """Returns the inputs of a signature that decodes with a prefix and these options: BEAM or SAMPLE."""
    scalars = [tf.TensorSpec([], tf.constant(value).dtype, name=name) for name, value in options.items()]
    return [tf.TensorSpec([None], tf.string, name="prefix"), *scalars]


class Decoder:
    """Decodes with the mean of the probabilities of models that share a vocabulary.

    `beam` and `sample` return a dict of the best sentence string[batch], under the name `output`, `score` float[batch],
    and `candidates` string[batch, candidates], best first. Options that are not given have the values of `defaults`.

    Args:
        initial_states: Maps the inputs to the initial state of every model, and bool[batch]: whether an input is valid.
            The sentence of an invalid one is "".
        inputs: Shape, dtype and name of the inputs. The first axis is the batch.
        steps: The `step` function of every model (see `layers.decoding`).
        tokenizer: Converts sentences to token ids (`encode`) and back (`decode`).
        output: Name of the sentences in the results, such as "caption".
        invalid_score: The score of an invalid input.
        defaults: What the signature `defaults` returns; those named in BEAM and SAMPLE are options of decoding.
    """

    def __init__(
        self,
        initial_states: Callable,
        inputs: tf.TensorSpec,
        *,
        steps: Sequence[Callable],
        tokenizer,
        output: str,
        invalid_score: float,
        defaults: dict,
    ):
        self.initial_states, self.inputs = initial_states, inputs
        self.single = len(steps) == 1
        self.step = steps[0] if self.single else decoding.ensemble(steps)
        self.tokenizer, self.output, self.invalid_score, self.defaults = tokenizer, output, invalid_score, defaults

    def beam(self, inputs, **options) -> dict:
        """Returns the best candidates of beam search.

        Args:
            options: Those of BEAM, and `prefix`, string[batch] or string[1] for all inputs: the first words.
        """
        options = self._with_defaults(BEAM, options)
        if (tf.get_static_value(options["beam_size"]), tf.get_static_value(options["length_penalty"])) == (1, 0):
            del options["beam_size"], options["length_penalty"]
            return self._decode(decoding.greedy, inputs, **options)  # the same sentences in less time
        return self._decode(decoding.beam_search, inputs, **options)

    def sample(self, inputs, **options) -> dict:
        """Returns one random candidate of each input. The options are those of SAMPLE, and `prefix` as in `beam`."""
        return self._decode(decoding.sample, inputs, **self._with_defaults(SAMPLE, options))

    def signatures(self) -> dict[str, Callable]:
        """Returns the signatures `serving_default`, `beam`, `sample` and `defaults` of an export, as tf.functions."""

        def signature(decode, options):
            def call(inputs, *values):
                return decode(inputs, **{spec.name: value for spec, value in zip(options, values, strict=True)})

            return tf.function(call, input_signature=[self.inputs, *options], autograph=False)

        def defaults():
            return {name: tf.constant(value) for name, value in self.defaults.items()}

        return {
            "serving_default": signature(self.beam, []),
            "beam": signature(self.beam, specs(BEAM)),
            "sample": signature(self.sample, specs(SAMPLE)),
            "defaults": tf.function(defaults, input_signature=[], autograph=False),
        }

    def batch_function(self, *, batch_size: int = 64, sort_key: Callable | None = None, **options) -> Callable:
        """Returns a function that decodes any number of inputs, in batches: inputs -> (sentences list[str], scores
        float32[inputs]), in the order of the inputs.

        Args:
            sort_key: Inputs are sorted by it, so that those of similar length share a batch.
            options: As in `beam`.
        """
        beam = tf.function(lambda inputs: self.beam(inputs, **options), input_signature=[self.inputs], autograph=False)

        def decode(inputs: Sequence) -> tuple[list[str], np.ndarray]:
            sentences, scores = [""] * len(inputs), np.zeros(len(inputs), np.float32)
            order = list(range(len(inputs)))
            if sort_key:
                order.sort(key=lambda row: sort_key(inputs[row]))
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                found = beam(tf.constant([inputs[row] for row in rows], self.inputs.dtype))
                scores[rows] = found["score"]
                for row, sentence in zip(rows, found[self.output].numpy(), strict=True):
                    sentences[row] = sentence.decode()
            return sentences, scores

        return decode

    def _with_defaults(self, options: dict, given: dict) -> dict:
        return {**options, **{name: self.defaults[name] for name in options if name in self.defaults}, **given}

    def _decode(self, search: Callable, inputs, prefix=None, **options) -> dict:
        states, valid = self.initial_states(inputs)
        if prefix is not None:
            ids = pad(self.tokenizer.encode(prefix)[0])
            options["prefix"] = tf.broadcast_to(ids, [tf.size(valid), tf.shape(ids)[1]])
        state = states[0] if self.single else tuple(states)
        found = search(self.step, state, start=START, end=END, forbidden=FORBIDDEN, **options)
        batch, count = tf.unstack(tf.shape(found.scores))
        sentences = tf.reshape(self.tokenizer.decode(tf.reshape(found.ids, [batch * count, -1])), [batch, count])
        candidates = tf.where(tf.math.is_finite(found.scores) & valid[:, None], sentences, "")
        score = tf.where(valid, found.scores[:, 0], self.invalid_score)
        return {self.output: candidates[:, 0], "score": score, "candidates": candidates}

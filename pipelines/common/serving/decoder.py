"""Decodes sentences with one model or an ensemble. Evaluation uses the same decoder that an export contains."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from layers import decoding
from layers.decoding_rules import IMPOSSIBLE, Decoded
from layers.text import END, PADDING, START, UNKNOWN, pad
from pipelines.common.serving.decoding_options import BEAM_OPTIONS, SAMPLE_OPTIONS

FORBIDDEN = (PADDING, UNKNOWN, START)  # never part of an answer


def option_specs(options: dict) -> list[tf.TensorSpec]:
    """Returns the specs of `prefix` and the given options, BEAM_OPTIONS or SAMPLE_OPTIONS, as inputs of a signature."""
    scalars = [tf.TensorSpec([], tf.constant(value).dtype, name=name) for name, value in options.items()]
    return [tf.TensorSpec([None], tf.string, name="prefix"), *scalars]


class Decoder:
    """Decodes with one model, or with the mean of the probabilities of several, which share a vocabulary.

    The methods `beam` and `sample` correspond to the signatures of the same name. They take options by name, and
    `prefix`, the first words of the sentences: string[batch], or string[1] for all. Options that are not given have the
    values of `defaults`. They return a dict with

    * the best sentence of each input, string[batch], under the name `output`,
    * `score`, float[batch], of that sentence,
    * `candidates`, string[batch, candidates], best first, and `scores`, float[batch, candidates], those of them
      (the signature `serving_default` leaves them out),
    * `confidence`, float[batch], of that sentence, if there is a `confidence` (0 for an invalid input),
    * the outputs of `examine`.

    Args:
        initial_states: Function of a batch of inputs that returns the initial state of every model, and bool[batch]:
            whether each input is valid. The sentence of an invalid input is "".
        inputs: Spec of a batch of inputs; its name is that of the input of the signatures.
        steps: The `step` function of every model (see `layers.decoding`).
        tokenizer: Converts sentences to token ids (`encode`) and back (`decode`), as a `layers.tokenizer.Tokenizer`.
        output: Name of the sentences in the results, such as "caption".
        invalid_score: The score of an invalid input.
        defaults: Default values of options. The signature `defaults` returns them, and whatever else is in here.
        replace_unknown: Function of a batch of inputs and a sentence of each, int32[rows, time], that returns what to
            write for an unknown word at each place, string[rows, time]. None: unknown words are not generated.
        confidence: Function of the evidence, name -> float[batch], that returns the confidence float[batch]; see
            `pipelines.common.confidence`. The evidence is `evidence_of` the search, and that of `examine`.
        examine: Function of a batch of inputs that returns evidence, name -> float[batch], and further outputs, name ->
            tensor [batch, ...]. None: there are neither.
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
        replace_unknown: Callable | None = None,
        confidence: Callable | None = None,
        examine: Callable | None = None,
    ):
        self.initial_states, self.inputs = initial_states, inputs
        self.step = decoding.ensemble(steps)
        self.tokenizer, self.output, self.invalid_score, self.defaults = tokenizer, output, invalid_score, defaults
        self.replace_unknown, self.confidence, self.examine = replace_unknown, confidence, examine

    def beam(self, inputs, **options) -> dict:
        """Returns the best sentences that beam search finds, with the BEAM_OPTIONS."""
        return self._beam(inputs, **options)[0]

    def _beam(self, inputs, **options) -> tuple[dict, dict]:
        """Returns what `beam` returns, and the evidence."""
        options = self._with_defaults(BEAM_OPTIONS, options)
        if (tf.get_static_value(options["beam_size"]), tf.get_static_value(options["length_penalty"])) == (1, 0):
            # Greedy search finds the same in less time. It is chosen when the values are known before the graph runs.
            del options["beam_size"], options["length_penalty"]
            return self._decode(decoding.greedy, inputs, **options)
        return self._decode(decoding.beam_search, inputs, **options)

    def sample(self, inputs, **options) -> dict:
        """Returns random sentences, one candidate of each input, with the SAMPLE_OPTIONS."""
        return self._decode(decoding.sample, inputs, **self._with_defaults(SAMPLE_OPTIONS, options))[0]

    def signatures(self) -> dict[str, Callable]:
        """Returns the signatures `serving_default`, `beam`, `sample` and `defaults` of an export, as tf.functions."""

        def signature(decode, options):
            def call(inputs, *values):
                return decode(inputs, **{spec.name: value for spec, value in zip(options, values, strict=True)})

            return tf.function(call, input_signature=[self.inputs, *options], autograph=False)

        def defaults():
            return {name: tf.constant(value) for name, value in self.defaults.items()}

        def best(inputs):
            return {name: value for name, value in self.beam(inputs).items() if name != "scores"}

        return {
            "serving_default": signature(best, []),
            "beam": signature(self.beam, option_specs(BEAM_OPTIONS)),
            "sample": signature(self.sample, option_specs(SAMPLE_OPTIONS)),
            "defaults": tf.function(defaults, input_signature=[], autograph=False),
        }

    def batched(
        self, *, batch_size: int = 64, sort_key: Callable | None = None, with_evidence: bool = False, **options
    ) -> Callable:
        """Returns a compiled function that calls `beam` with these options on any number of inputs, in batches.

        The function returns the best sentences, list[str], and numbers of them, name -> float32[inputs], such as
        `score`, in the order of the inputs.

        Args:
            sort_key: Function of an input. Inputs are sorted by it, so that those of similar length share a batch.
            with_evidence: The numbers are `score`, `confidence`, if there is one, and the evidence; else only `score`.
        """

        def search(inputs):
            outputs, found = self._beam(inputs, **options)
            numbers = {name: outputs[name] for name in ("score", "confidence") if name in outputs}
            return outputs[self.output], {**numbers, **found} if with_evidence else {"score": outputs["score"]}

        beam = tf.function(search, input_signature=[self.inputs], autograph=False)

        def decode(inputs: Sequence) -> tuple[list[str], dict[str, np.ndarray]]:
            sentences = [""] * len(inputs)
            numbers = {"score": np.zeros(len(inputs), np.float32)}
            order = list(range(len(inputs)))
            if sort_key:
                order.sort(key=lambda row: sort_key(inputs[row]))
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                batch = [inputs[row] for row in rows]
                # TensorFlow takes 40 times as long for a list of arrays as for one array.
                batch = tf.constant(np.stack(batch) if np.ndim(batch[0]) else batch, self.inputs.dtype)
                some, found = beam(batch)
                for name, values in found.items():
                    numbers.setdefault(name, np.zeros(len(inputs), np.float32))[rows] = values
                for row, sentence in zip(rows, some.numpy(), strict=True):
                    sentences[row] = sentence.decode()
            return sentences, numbers

        return decode

    def _with_defaults(self, options: dict, given: dict) -> dict:
        return {**options, **{name: self.defaults[name] for name in options if name in self.defaults}, **given}

    def _decode(self, method: Callable, inputs, prefix=None, **options) -> tuple[dict, dict]:
        """Calls a function of `layers.decoding` and converts its token ids to sentences; also returns the evidence."""
        states, valid = self.initial_states(inputs)
        if prefix is not None:
            ids = pad(self.tokenizer.encode(prefix)[0])
            options["prefix"] = tf.broadcast_to(ids, [tf.size(valid), tf.shape(ids)[1]])
        forbidden = [token for token in FORBIDDEN if not (token == UNKNOWN and self.replace_unknown)]
        decoded = method(self.step, tuple(states), start=START, end=END, forbidden=forbidden, **options)
        evidence, outputs = self.examine(inputs) if self.examine else ({}, {})
        evidence = {**evidence_of(decoded, options.get("length_penalty", 0.0)), **evidence}
        batch, count, time = tf.unstack(tf.shape(decoded.ids))
        ids = tf.reshape(decoded.ids, [batch * count, time])
        options = {}
        if self.replace_unknown:
            words = self.replace_unknown(tf.repeat(inputs, count, axis=0), ids)
            options["unknown"] = words if prefix is None else self._with_prefix(words, prefix, batch, count)
        sentences = tf.reshape(self.tokenizer.decode(ids, **options), [batch, count])
        candidates = tf.where(tf.math.is_finite(decoded.scores) & valid[:, None], sentences, "")
        score = tf.where(valid, decoded.scores[:, 0], self.invalid_score)
        scores = tf.where(valid[:, None], decoded.scores, self.invalid_score)
        outputs = {self.output: candidates[:, 0], "score": score, "candidates": candidates, "scores": scores, **outputs}
        if self.confidence:
            outputs["confidence"] = tf.where(valid, self.confidence(evidence), 0.0)
        return outputs, evidence

    def _with_prefix(self, words, prefix, batch, count):
        """Returns string[batch * count, time] with the words of the prefixes, string[batch] or [1], in their places."""
        time = tf.shape(words)[1]
        given = self.tokenizer.tokens(prefix)[0].to_tensor("", shape=tf.stack([tf.size(prefix), time]))
        given = tf.repeat(tf.broadcast_to(given, [batch, time]), count, axis=0)
        return tf.where(given != "", given, words)


def evidence_of(decoded: Decoded, length_penalty) -> dict:
    """Returns what a search tells about the best sentence of each input, inputs of a `Confidence`, float32[batch] each.

    Args:
        length_penalty: that of the search, by which scores were divided.

    Returns:
        log_probability: the mean log-probability of a token, the end included.
        log_length: the logarithm of the number of tokens, the end included.
    """
    length = tf.cast(decoded.lengths[:, 0], tf.float32)
    score = tf.maximum(decoded.scores[:, 0], IMPOSSIBLE)  # that of a missing candidate is -inf
    total = score * ((5 + length) / 6) ** tf.cast(length_penalty, tf.float32)
    return {"log_probability": total / (length + 1), "log_length": tf.math.log(length + 1)}

"""Models that return the same probabilities at every step, whatever they have read: their state is the logits."""

import numpy as np
import pytest
import tensorflow as tf

from layers import decoding
from layers.text import END, UNKNOWN
from pipelines.common.serving.decoder import Decoder

WORDS = tf.constant(["", "<unk>", "<s>", "</s>", "a", "b", "c"])
PROBABILITIES = np.array([[0.0, 0.3, 0.0, 0.1, 0.4, 0.15, 0.05], [0.0, 0.1, 0.0, 0.1, 0.1, 0.5, 0.2]], np.float32)
INPUTS = tf.constant(["x", "", "x"])  # the empty one is invalid


def step(ids, state):
    return state, state


class Letters:
    """A tokenizer whose words are letters."""

    def encode(self, texts):
        def numbers(letters):
            return tf.argmax(letters[:, None] == WORDS, axis=1, output_type=tf.int32)

        return tf.ragged.map_flat_values(numbers, tf.strings.unicode_split(texts, "UTF-8")), None

    def decode(self, ids):
        return tf.strings.reduce_join(tf.gather(WORDS, ids), axis=-1)


def make(*models, output="caption", invalid_score=decoding.NEVER, **defaults) -> Decoder:
    """The decoder of the models with these numbers."""

    def initial_states(inputs):
        logits = [tf.math.log(tf.tile(PROBABILITIES[None, model] + 1e-9, [tf.size(inputs), 1])) for model in models]
        return logits, inputs != ""

    return Decoder(
        initial_states,
        tf.TensorSpec([None], tf.string, name="text"),
        steps=[step] * len(models),
        tokenizer=Letters(),
        output=output,
        invalid_score=invalid_score,
        defaults={"max_length": 3, **defaults},
    )


@pytest.mark.parametrize("beam_size", [1, tf.constant(1)])  # greedy search and beam search
def test_an_invalid_input_has_no_sentence_and_no_answer_has_an_unknown_word(beam_size):
    assert PROBABILITIES[0, UNKNOWN] > PROBABILITIES[0, END]
    found = make(0).beam(INPUTS, beam_size=tf.identity(beam_size) if tf.is_tensor(beam_size) else beam_size)
    assert found["caption"].numpy().tolist() == [b"aaa", b"", b"aaa"]
    assert found["candidates"].numpy().tolist() == [[b"aaa"], [b""], [b"aaa"]]
    np.testing.assert_allclose(found["score"], [np.log(0.4**3 * 0.1), -np.inf, np.log(0.4**3 * 0.1)], rtol=1e-5)


def test_several_models_decode_with_the_mean_of_their_probabilities():
    found = make(0, 1, output="translation", invalid_score=0.0).beam(INPUTS, max_length=2)
    assert found["translation"].numpy().tolist() == [b"bb", b"", b"bb"]
    assert found["score"][1] == 0
    assert float(found["score"][0]) == pytest.approx(np.log(((0.15 + 0.5) / 2) ** 2 * 0.1), rel=1e-5)


@pytest.mark.parametrize("prefix", [["c"], ["c", "c", "c"]])
def test_every_sentence_begins_with_its_prefix(prefix):
    found = make(0).beam(INPUTS, prefix=tf.constant(prefix), beam_size=2, min_length=3)
    assert found["caption"].numpy().tolist() == [b"caa", b"", b"caa"]
    assert set(found["candidates"][0, 1:].numpy()) <= {b"cab", b"cba"}  # equally likely
    for decode, options in (("sample", {"top_k": 1}), ("beam", {"beam_size": 1})):
        found = getattr(make(0), decode)(INPUTS, prefix=tf.constant(prefix), **options)
        assert found["caption"].numpy().tolist() == [b"caa", b"", b"caa"]


def test_the_signatures_take_their_options_by_name():
    decoder = make(0, beam_size=2, length_penalty=0.5, pixel_limit=7)
    signatures = {name: function.get_concrete_function() for name, function in decoder.signatures().items()}
    specs = {
        name: {spec.name: (spec.dtype.name, spec.shape.rank) for spec in function.structured_input_signature[0]}
        for name, function in signatures.items()
    }
    text, prefix, number, share = ("string", 1), ("string", 1), ("int32", 0), ("float32", 0)
    beam = {"beam_size": number, "length_penalty": share, "min_length": number, "max_length": number}
    sample = {"temperature": share, "top_k": number, "top_p": share, "seed": number, "max_length": number}
    assert specs == {
        "serving_default": {"text": text},
        "beam": {"text": text, "prefix": prefix, **beam},
        "sample": {"text": text, "prefix": prefix, **sample},
        "defaults": {},
    }
    found = {name: value.numpy() for name, value in signatures["defaults"]().items()}
    assert found == {"max_length": 3, "beam_size": 2, "length_penalty": 0.5, "pixel_limit": 7}
    found = signatures["serving_default"](INPUTS)
    assert found["candidates"].shape == (3, 2) and "scores" not in found


@pytest.mark.parametrize("options", [{"beam_size": 1}, {"beam_size": 3}, {"beam_size": 3, "length_penalty": 0.8}])
def test_evidence_and_confidence_of_the_best_sentence(options):
    """The evidence does not depend on the length penalty. The confidence of an invalid input is 0."""
    decoder = make(0, min_length=3, **options)
    decoder.examine = lambda inputs: (
        {"letters": tf.cast(tf.strings.length(inputs), tf.float32)},
        {"unknown": inputs},
    )
    decoder.confidence = lambda evidence: tf.exp(evidence["log_probability"]) + evidence["letters"]
    found = decoder.beam(INPUTS)
    each = np.exp(np.log(0.4**3 * 0.1) / 4)  # a, a, a and the end
    np.testing.assert_allclose(found["confidence"], [each + 1, 0, each + 1], rtol=1e-4)
    assert found["unknown"].numpy().tolist() == [b"x", b"", b"x"]
    sentences, numbers = decoder.batched(with_evidence=True, batch_size=2)(["x", "", "xyz"])
    assert sentences == ["aaa", "", "aaa"] and set(numbers) == {
        "score", "confidence", "log_probability", "log_length", "letters",
    }  # fmt: skip
    np.testing.assert_allclose(np.exp(numbers["log_probability"][[0, 2]]), each, rtol=1e-4)
    np.testing.assert_allclose(np.exp(numbers["log_length"][[0, 2]]), 4, rtol=1e-4)
    np.testing.assert_allclose(numbers["letters"], [1, 0, 3])
    assert set(decoder.sample(INPUTS)) == {"caption", "score", "candidates", "scores", "confidence", "unknown"}


def test_an_option_that_does_not_exist():
    with pytest.raises(TypeError, match="beam_width"):
        make(0).beam(INPUTS, beam_width=2)


def test_batches_keep_the_order_of_their_inputs():
    decode = make(0).batched(batch_size=2, sort_key=len, beam_size=2, max_length=1)
    sentences, numbers = decode(["long", "", "x", "", "xy"])
    assert sentences == ["a", "", "a", "", "a"]
    np.testing.assert_allclose(
        numbers["score"], [np.log(0.04), -np.inf, np.log(0.04), -np.inf, np.log(0.04)], rtol=1e-5
    )
    assert decode([])[0] == []

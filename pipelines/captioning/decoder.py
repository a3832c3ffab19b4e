"""The decoders of exports (images to captions) and of evaluation (features of images to captions)."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from layers.decoding_rules import NEVER
from pipelines.captioning.model import CaptioningModel, Trained
from pipelines.common.confidence import average
from pipelines.common.serving.decoder import Decoder
from pipelines.common.vision import encoders


def image_decoder(members: Sequence[Trained]) -> Decoder:
    """Returns the decoder of encoded images string[batch] by one model or several, which share their vocabulary.

    An image that cannot be read is invalid: its caption is empty, with the score -inf.
    """

    def initial_states(encoded):
        states, valid = [], tf.ones(tf.shape(encoded), tf.bool)
        decoded: dict = {}  # members with the same options share the pixels
        for member in members:
            preprocessing = member.preprocessing
            key = preprocessing.image_size, preprocessing.fit, preprocessing.pixel_limit
            if key not in decoded:
                decoded[key] = preprocessing.pixels(encoded)
            pixels, readable = decoded[key]
            features = encoders.encode_batch(member.model.encode_images, pixels)
            states.append(member.model.initial_state(features))
            valid &= readable
        return states, valid

    return _make_decoder(members, initial_states, tf.TensorSpec([None], tf.string, name="image"))


def feature_decoder(trained: Trained) -> Decoder:
    """Returns the decoder of features that the CNN of the model has computed, see `feature_spec`."""
    model = trained.model

    def initial_states(features):
        return [model.initial_state(features)], tf.ones(tf.shape(features)[:1], tf.bool)

    return _make_decoder([trained], initial_states, feature_spec(model))


def feature_spec(model: CaptioningModel) -> tf.TensorSpec:
    """Returns the spec of a batch of features: float32[batch, units], or maps float16[batch, positions, channels]."""
    dtype = tf.float16 if model.attends else tf.float32
    return tf.TensorSpec([None, *model.encoder.output_shape[1:]], dtype, name="features")


def _make_decoder(members: Sequence[Trained], initial_states: Callable, inputs: tf.TensorSpec) -> Decoder:
    config = members[0].config
    return Decoder(
        initial_states,
        inputs,
        steps=[member.model.step for member in members],
        tokenizer=members[0].preprocessing,
        output="caption",
        invalid_score=NEVER,
        confidence=average([member.confidence for member in members]),
        defaults={
            "beam_size": config.search.beam_size,
            "length_penalty": config.search.length_penalty,
            "max_length": config.text.max_tokens,
            "pixel_limit": min(member.config.images.pixel_limit for member in members),
            "crop": members[0].config.images.fit == "crop",
        },
    )

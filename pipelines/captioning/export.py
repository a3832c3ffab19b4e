"""Writes a run, or the average of several, as a SavedModel that captions encoded images with TensorFlow only."""

import math
import pathlib
from collections.abc import Sequence

import tensorflow as tf

from layers.teacher_forcing import shifted
from layers.text import PADDING, START, pad
from pipelines.captioning.decoder import image_decoder
from pipelines.captioning.functions import functions
from pipelines.captioning.model import Trained, load_trained
from pipelines.common.confidence import report_missing
from pipelines.common.options import SAVED_MODEL, Export
from pipelines.common.serving import members
from pipelines.common.serving.formats import write_functions
from pipelines.common.serving.saved_model import write_saved_model
from pipelines.common.vision import encoders


def export(options: Export) -> pathlib.Path:
    """Writes the export of one run, or of several whose probabilities it averages, and returns its folder.

    For other runtimes than TensorFlow it is the functions `encode` and `step`.

    Raises:
        UserError: A run is not trained, or several do not share their vocabulary; for other runtimes, they take images
            of different sizes.
    """
    trained = load_members(options.run)
    if options.format != SAVED_MODEL:
        return write_functions(options.folder, functions(trained), options.format, options.weights)
    for path, member in zip(options.run, trained, strict=True):
        if member.confidence is None:
            report_missing(path, "captioning")
    resources = [part for member in trained for part in (member.model, member.preprocessing)]
    signatures = image_decoder(trained).signatures()
    if trained[0].model.attends:
        inputs = [tf.TensorSpec([None], tf.string, name=name) for name in ("image", "caption")]
        explain = Explanation(trained[0]).explain
        signatures["explain"] = tf.function(explain, input_signature=inputs, autograph=False)
    return write_saved_model(options.folder, signatures, resources)


def load_members(runs: Sequence[pathlib.Path]) -> list[Trained]:
    """Returns runs that share their vocabulary. Raises UserError if they do not, or one is not trained."""
    return members.load_members(runs, "captioning", load_trained, difference)


def difference(first: Trained, other: Trained) -> str | None:
    """Returns "vocabularies differ" if they do."""
    words = [each.preprocessing.tokenizer.vocabulary.words for each in (first, other)]
    return "vocabularies differ" if words[0] != words[1] else None


class Explanation:
    """Computes where a model with attention looks in an image while it decodes a given caption."""

    def __init__(self, trained: Trained):
        self.model, self.preprocessing = trained.model, trained.preprocessing

    def explain(self, image, caption) -> dict:
        """Decodes the captions string[batch] of the encoded images string[batch] with teacher forcing.

        Returns:
            tokens: string[batch, time], those of the caption, then "".
            probability: float[batch, time], of each token, given the image and the tokens before it; 0 for padding.
            attention: float[batch, time, height, width], the weight of each position of the map of the CNN at the time
                step that predicts each token; 0 for padding. The map covers the image, or with `crop` (see the
                signature `defaults`) the largest square in its middle.
        """
        model = self.model
        pixels, _ = self.preprocessing.pixels(image)
        state = model.initial_state(encoders.encode_batch(model.encode_images, pixels))
        tokens, _ = self.preprocessing.tokens(caption)
        targets = pad(self.preprocessing.tokenizer.vocabulary(tokens))
        rows, time = tf.unstack(tf.shape(targets))
        outputs, decoded = model.decode(shifted(targets, START), state)
        is_token = targets != PADDING
        probability = tf.gather(tf.nn.softmax(model.softmax(outputs)), targets, batch_dims=2)
        side = math.isqrt(decoded.alignment.shape[-1])  # images are squares
        return {
            "tokens": tokens.to_tensor("", shape=tf.stack([rows, time])),
            "probability": tf.where(is_token, probability, 0.0),
            "attention": tf.reshape(
                tf.where(is_token[..., tf.newaxis], tf.cast(decoded.alignment, tf.float32), 0.0),
                [rows, time, side, side],
            ),
        }

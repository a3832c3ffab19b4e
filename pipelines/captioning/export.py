"""Writes a run, or the average of several, as a SavedModel that captions encoded images with TensorFlow only."""

import math
import pathlib
import random
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from layers.teacher_forcing import shifted
from layers.text import GENERATION as RESERVED
from layers.text import PADDING, START, pad
from pipelines.captioning.decoder import image_decoder
from pipelines.captioning.model import Trained, load_trained
from pipelines.common.confidence import report_missing
from pipelines.common.data.sources import sample_files
from pipelines.common.errors import UserError
from pipelines.common.options import SAVED_MODEL, Export
from pipelines.common.serving import members
from pipelines.common.serving.formats import Functions, write_functions
from pipelines.common.serving.saved_model import write_saved_model
from pipelines.common.serving.sequences import GENERATION, answers, encode_and_step
from pipelines.common.vision import encoders, images

SAMPLE_IMAGES = 6  # that files for other runtimes are compared on, besides the photos
MADE_UP = 10  # words of the sentences that the models read with them


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


def functions(trained: Sequence[Trained]) -> Functions:
    """Returns `encode`, of pixels float32[batch, size, size, 3] from 0 to 255, scaled, and `step` of models that share
    their vocabulary; see `encode_and_step`.

    Maps are not rounded to float16, as `encode_images` does for the cache: where the map of another runtime differs in
    its last bits, the rounding would make a difference of 1e-4 in the answers.

    Raises:
        UserError: The models take images of different sizes.
    """
    first = trained[0].preprocessing
    if len({(member.preprocessing.image_size, member.preprocessing.fit) for member in trained}) > 1:
        raise UserError("the runs take images of different sizes: expected one size and one fit")

    def encode(pixels):
        return [member.model.initial_state(member.model.encoder(pixels, training=False)) for member in trained]

    size, vocabulary = first.image_size, first.tokenizer.vocabulary
    return Functions(
        encode_and_step(
            tf.TensorSpec([None, size, size, 3], tf.float32, name="pixels"),
            encode,
            [member.model.step for member in trained],
        ),
        {
            "task": "captioning",
            "image_size": size,
            "fit": first.fit,
            **GENERATION,
            "max_length": trained[0].config.text.max_tokens,
            "vocabulary": vocabulary.words,
        },
        lambda call: answers(call, compared_images(trained[0])),
    )


def compared_images(trained: Trained) -> Iterator[tuple[dict[str, np.ndarray], list[int]]]:
    """Yields pixels of images of the sample, of photos, and random ones, each with the ids of a made-up sentence."""
    preprocessing = trained.preprocessing
    paths = sample_files("captioning", "images/*")[-SAMPLE_IMAGES:] + sample_files("photos", "*.jpg")
    size, words = preprocessing.image_size, len(preprocessing.tokenizer.vocabulary)
    draw, reserved = random.Random(0), len(RESERVED)
    noise = np.random.default_rng(0).uniform(0, 255, [size, size, 3]).astype(np.float32)
    for pixels in [noise, *(preprocessing.pixels_of_one(images.read(path)).numpy() for path in paths)]:
        ids = draw.choices(range(reserved, max(words, 1 + reserved)), k=MADE_UP)
        yield {"pixels": pixels[None]}, ids

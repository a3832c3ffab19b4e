"""The numeric functions of captioning models, `encode` and `step`, for other runtimes; see docs/devices.md."""

import random
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from layers.text import GENERATION as RESERVED
from pipelines.captioning.model import Trained
from pipelines.common.data.sources import sample_files
from pipelines.common.errors import UserError
from pipelines.common.serving.formats import Functions
from pipelines.common.serving.sequences import GENERATION, answers, encode_and_step
from pipelines.common.vision import images

SAMPLE_IMAGES = 6  # that the written files are compared on, besides the photos
MADE_UP = 10  # words of the sentences that the models read with them


def functions(members: Sequence[Trained]) -> Functions:
    """Returns `encode`, of pixels float32[batch, size, size, 3] from 0 to 255, scaled, and `step` of models that share
    their vocabulary; see `encode_and_step`.

    Maps are not rounded to float16, as `encode_images` does for the cache: where the map of another runtime differs in
    its last bits, the rounding would make a difference of 1e-4 in the answers.

    Raises:
        UserError: The models take images of different sizes.
    """
    first = members[0].preprocessing
    if len({(member.preprocessing.image_size, member.preprocessing.fit) for member in members}) > 1:
        raise UserError("the runs take images of different sizes: expected one size and one fit")

    def encode(pixels):
        return [member.model.initial_state(member.model.encoder(pixels, training=False)) for member in members]

    size, vocabulary = first.image_size, first.tokenizer.vocabulary
    return Functions(
        encode_and_step(
            tf.TensorSpec([None, size, size, 3], tf.float32, name="pixels"),
            encode,
            [member.model.step for member in members],
        ),
        {
            "task": "captioning",
            "image_size": size,
            "fit": first.fit,
            **GENERATION,
            "max_length": members[0].config.text.max_tokens,
            "vocabulary": vocabulary.words,
        },
        lambda call: answers(call, pairs(members[0])),
    )


def pairs(trained: Trained) -> Iterator[tuple[dict[str, np.ndarray], list[int]]]:
    """Yields pixels of images of the sample, of photos, and random ones, each with the ids of a made-up sentence."""
    preprocessing = trained.preprocessing
    paths = sample_files("captioning", "images/*")[-SAMPLE_IMAGES:] + sample_files("photos", "*.jpg")
    size, words = preprocessing.image_size, len(preprocessing.tokenizer.vocabulary)
    draw, reserved = random.Random(0), len(RESERVED)
    noise = np.random.default_rng(0).uniform(0, 255, [size, size, 3]).astype(np.float32)
    for pixels in [noise, *(preprocessing.pixels_of_one(images.read(path)).numpy() for path in paths)]:
        ids = draw.choices(range(reserved, max(words, 1 + reserved)), k=MADE_UP)
        yield {"pixels": pixels[None]}, ids

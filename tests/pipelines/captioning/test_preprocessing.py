import io

import numpy as np
import tensorflow as tf

from layers.text import GENERATION, Vocabulary
from pipelines.captioning.preprocessing import Preprocessing, clean, learn_vocabulary
from tests.pipelines.captioning.conftest import draw_image

READING = {"image_size": 32, "fit": "squeeze", "pixel_limit": 10_000, "max_tokens": 6, "max_characters": 100}


def make() -> Preprocessing:
    return Preprocessing(Vocabulary([*GENERATION, "▁a", "▁dog", "'s", "▁ball", "-", "▁t", "shirt"]), **READING)


def test_captions_are_lower_cased_and_lose_their_full_stop():
    made = make()
    texts = tf.constant(["A dog's BALL .", "a dog's ball.", "a t-shirt", " . ", "a ball. a ball"])
    ids, cut = made.encode(texts)
    assert ids[0].numpy().tolist() == ids[1].numpy().tolist()
    assert [text.decode() for text in made.decode(ids[2:3]).numpy()] == ["a t-shirt"]
    assert ids[3].shape == [0] and not cut.numpy().any()
    assert made.encode(tf.constant(["a a a a a a a"]))[1].numpy().all()
    assert clean(tf.constant(["no . end . . "])).numpy() == [b"no . end"]


def test_the_vocabulary_counts_what_is_read():
    found = learn_vocabulary([tf.constant(["A dog .", "a dog runs."])], size=100, min_count=2, max_characters=100)
    assert found.words == [*GENERATION, "▁a", "▁dog"]


def test_pixels_of_one_and_of_a_batch_are_equal_to_the_last_bit():
    made, encoded = make(), []
    for size in (32, 50):
        buffer = io.BytesIO()
        draw_image("red", 3, size).save(buffer, "JPEG")
        encoded.append(buffer.getvalue())
    pixels, valid = made.pixels(tf.constant([*encoded, b"no image"]))
    assert valid.numpy().tolist() == [True, True, False]
    for number in range(2):
        np.testing.assert_array_equal(pixels[number], made.pixels_of_one(tf.constant(encoded[number])))

import keras
import numpy as np
import pytest

from layers.text import PADDING, UNKNOWN
from pipelines.sentiment.length_calibration import KNOTS, KnownWords, LengthCalibration, knot_weights
from pipelines.sentiment.model import LENGTH_CALIBRATION, build_model

SIZES = {"vocabulary_size": 9, "classes": 3, "cell": "lstm", "units": 4, "layers": 1, "bidirectional": True, "seed": 1}
SIZES |= {"pooling": ("max",), "embedding_units": 5, "embedding_dropout": 0.0, "word_dropout": 0.0}
SIZES |= {"recurrent_dropout": 0.0, "dropout": 0.0}
WORDS = np.array([[3, 4, 5, 6, 1], [7, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]], np.int32)
SCALE, BIAS = np.array([0.5, 2.0, 3.0]), np.arange(9.0).reshape(3, 3)


def test_weights_of_the_knots():
    assert KNOTS == (1, 16, 256)
    found = np.asarray(knot_weights(np.array([0.0, 1, 4, 16, 64, 256, 5000])))
    half = [0.5, 0.5]
    expected = [[0, 0, 0], [1, 0, 0], [*half, 0], [0, 1, 0], [0, *half], [0, 0, 1], [0, 0, 1]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_known_words_are_counted_exactly():
    np.testing.assert_array_equal(KnownWords()(WORDS), [4, 1, 0, 0])
    ids = np.full((1, 3000), 5, np.int32)
    ids[0, :3] = PADDING, UNKNOWN, UNKNOWN
    assert float(KnownWords(dtype="mixed_bfloat16")(ids)[0]) == 2997


def test_logits_are_scaled_by_length():
    layer = LengthCalibration()
    logits = np.array([[1.0, 2.0, -1.0]] * 4, np.float32)
    known = np.array([0.0, 1, 4, 999], np.float32)
    np.testing.assert_array_equal(layer(logits, known)[1:], logits[1:])  # before it is fitted
    layer.set_weights([SCALE, BIAS])
    found = np.asarray(layer(logits, known))
    assert (found[0] == 0).all()
    for row, (scale, bias) in enumerate([(0.5, BIAS[0]), (1.25, BIAS[:2].mean(axis=0)), (3, BIAS[2])], start=1):
        np.testing.assert_allclose(found[row], scale * logits[row] + bias, rtol=1e-5)
    assert layer.trainable_weights == []


def test_a_model_gives_all_labels_the_same_probability_without_a_known_word():
    plain, model = build_model(**SIZES), build_model(**SIZES, calibrated_by_length=True)
    before = plain(WORDS).numpy()
    np.testing.assert_array_equal(model(WORDS)[:2], before[:2])  # the same initial weights
    model.get_layer(LENGTH_CALIBRATION).set_weights([SCALE, BIAS])
    after = model(WORDS).numpy()
    assert (after[2:] == 0).all()
    np.testing.assert_allclose(after[0], 1.25 * before[0] + BIAS[:2].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(after[1], 0.5 * before[1] + BIAS[0], rtol=1e-5)
    assert len(model.trainable_weights) == len(plain.trainable_weights)


@pytest.mark.extra
def test_a_saved_model_keeps_its_calibration(tmp_path):
    model = build_model(**SIZES, calibrated_by_length=True)
    model.get_layer(LENGTH_CALIBRATION).set_weights([SCALE, BIAS])
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "model.keras")(WORDS), model(WORDS), atol=1e-6)

import numpy as np
import pytest
import tensorflow as tf

from pipelines.video.preprocessing import Preprocessing

FRAMES = np.random.default_rng(0).integers(0, 256, (5, 30, 40, 3)).astype(np.uint8)


@pytest.mark.parametrize("fit", ["squeeze", "crop"])
def test_frames_of_any_size_become_squares(fit):
    preprocessing = Preprocessing(image_size=16, fit=fit)
    pixels = preprocessing(FRAMES).numpy()
    assert pixels.shape == (5, 16, 16, 3) and pixels.dtype == np.float32
    for number in range(5):
        np.testing.assert_array_equal(preprocessing(FRAMES[number : number + 1])[0], pixels[number])
    inside = tf.function(preprocessing, input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
    np.testing.assert_array_equal(inside(FRAMES), pixels)


def test_crop_leaves_the_sides_out():
    frame = np.zeros((1, 16, 32, 3), np.uint8)
    frame[:, :, :8] = frame[:, :, 24:] = 255
    assert Preprocessing(image_size=16, fit="crop")(frame).numpy().max() == 0
    assert Preprocessing(image_size=16, fit="squeeze")(frame).numpy().max() > 200

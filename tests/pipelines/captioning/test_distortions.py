import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.captioning import dataset
from pipelines.captioning.distortions import DISTORTIONS, distorted
from pipelines.captioning.evaluate import FeatureExtractor
from pipelines.captioning.model import load_trained
from pipelines.common.runs import Run
from pipelines.common.vision.distortions import of_pixels, transformed

CHANGES = {each.name: each.change for each in DISTORTIONS}


@pytest.fixture(scope="module")
def photo():
    """uint8[30, 44, 3], without a black or a white pixel."""
    return np.random.default_rng(0).integers(40, 200, [30, 44, 3]).astype(np.uint8)


def test_sizes_and_what_is_around_the_image(photo):
    found = {name: change(tf.constant(photo)).numpy() for name, change in CHANGES.items()}
    assert {name: image.dtype for name, image in found.items()} == dict.fromkeys(CHANGES, np.dtype("uint8"))
    assert {name: image.shape[:2] for name, image in found.items()} == {
        "grey": (30, 44), "dark": (30, 44), "turned": (30, 44), "wide": (30, 53), "tall": (78, 44), "framed": (36, 50),
        "small": (7, 11),
    }  # fmt: skip
    np.testing.assert_array_equal(found["wide"][:, 4:48], photo)
    np.testing.assert_array_equal(found["tall"][24:54], photo)
    np.testing.assert_array_equal(found["framed"][3:33, 3:47], photo)
    assert not found["wide"][:, :4].any() and not found["tall"][54:].any() and (found["framed"][:3] == 255).all()
    assert (found["grey"] == found["grey"][..., :1]).all()
    np.testing.assert_array_equal(found["dark"], np.rint(np.float32(0.4) * photo))


def test_a_wide_image_gets_its_bars_above_and_below():
    wide = CHANGES["wide"](tf.fill([10, 160, 3], tf.constant(9, tf.uint8))).numpy()
    assert wide.shape == (90, 160, 3) and (wide[40:50] == 9).all() and wide.sum() == 9 * 10 * 160 * 3


def test_one_pixel_is_an_image():
    for name, change in CHANGES.items():
        assert min(change(tf.fill([1, 1, 3], tf.constant(9, tf.uint8))).shape) >= 1, name


@pytest.mark.parametrize("degrees", [5, -90])
def test_an_image_is_turned_about_its_centre_as_pillow_does(degrees):
    photo = np.zeros([41, 61, 3], np.uint8)
    photo[10:20, 30:50] = (250, 120, 30)

    def turned(image):
        return transformed(image, degrees * np.pi / 180, tf.ones([2]))

    found = of_pixels(turned, tf.constant(photo)).numpy().astype(int)
    expected = np.asarray(Image.fromarray(photo).rotate(degrees, Image.Resampling.BILINEAR)).astype(int)
    assert np.percentile(np.abs(found - expected), 99) <= 3


def test_training_distorts_images_of_one_size(photo):
    image = tf.constant(photo[:, :30], tf.float32)
    found = [distorted(image, tf.constant([seed, 1], tf.int64)).numpy() for seed in range(24)]
    assert all(each.shape == (30, 30, 3) and each.min() >= 0 and each.max() <= 255 for each in found)
    grey = sum((each == each[..., :1]).all() for each in found)  # the only change without a random amount
    assert 0 < grey < 24 and len({each.tobytes() for each in found}) == 24 - grey + 1


def test_a_distorted_file_is_scored_as_that_file(shared, tmp_path):
    """The features of distorted pixels are those of a file that has these pixels."""
    trained = load_trained(Run.open(shared.run, "captioning"))
    images = dataset.with_features(
        dataset.load_part(trained.config.data, "validation"), trained.model.encoder, trained.config
    )
    extractor = FeatureExtractor(trained.model, trained.preprocessing)
    found = extractor(images, CHANGES["framed"])
    files = {}
    for name, path in images.captioned.paths.items():
        pixels = tf.constant(np.asarray(Image.open(path).convert("RGB")))
        files[name] = tmp_path / name
        Image.fromarray(CHANGES["framed"](pixels).numpy()).save(files[name])
    written = dataset.Images(type(images.captioned)(files, images.captioned.references), {})
    np.testing.assert_allclose(found, extractor(written), rtol=1e-4, atol=1e-4)
    assert np.abs(found - images.features).max() > 1e-3


@pytest.mark.extra
def test_evaluate_robust(shared, command, capsys):
    assert command("evaluate", "--run", shared.run, "--beam-size", "2", "--robust") == 0
    out = capsys.readouterr().out
    assert "a quarter of the width" in out and " lost" in out
    scores = json.loads((shared.run / "metrics.json").read_text())
    assert list(scores["robust"]) == ["unchanged", *CHANGES]
    assert scores["robust"]["unchanged"]["cider"] == scores["beams"]["2"]["cider"]
    assert (shared.run / "robustness.png").read_bytes().startswith(b"\x89PNG")

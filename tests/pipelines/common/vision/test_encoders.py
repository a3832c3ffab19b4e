import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.vision import encoders, images, small_encoders

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3)).astype("float32")
SCALING = {  # what keras.applications says of its networks
    "mobilenet_v2": keras.applications.mobilenet_v2.preprocess_input,
    "inception_v3": keras.applications.inception_v3.preprocess_input,
    "efficientnet_b0": keras.applications.efficientnet.preprocess_input,
    "resnet50": keras.applications.resnet.preprocess_input,
}


@pytest.fixture
def no_real_data(tmp_path, monkeypatch):
    monkeypatch.setenv("UNFOLD_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))


@pytest.mark.parametrize("name", encoders.APPLICATIONS)
def test_pixels_are_scaled_as_in_keras(name):
    pixels = keras.Input((96, 96, 3))
    model = keras.Model(pixels, encoders.scaled(pixels, encoders.APPLICATIONS[name].scaling) + 0)
    np.testing.assert_allclose(model(PIXELS), SCALING[name](PIXELS.copy()), rtol=1e-5, atol=1e-5)


@pytest.mark.extra
@pytest.mark.parametrize(
    "name",
    ["efficientnet_b0", *(pytest.param(name, marks=pytest.mark.slow) for name in encoders.APPLICATIONS
                          if name != "efficientnet_b0")],
)  # fmt: skip
def test_imagenet_weights_give_the_features_of_keras(name, tmp_path, monkeypatch, no_real_data):
    """All but the download is real: Keras's own network for weights="imagenet", layers that it adds for them included
    (EfficientNet's alone has such a one)."""
    application, asked = encoders.APPLICATIONS[name], []
    encoder = encoders.build_encoder(name, weights="none", image_size=96)
    network = encoder.get_layer(name)
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):  # as in the published weights
            layer.set_weights([*np.float32([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]), layer.get_weights()[2]])
    network.save_weights(tmp_path / "file.weights.h5")

    def fetch(file_name, origin, **unused):
        asked.append((file_name, origin))
        return str(tmp_path / "file.weights.h5")

    monkeypatch.setattr(keras.src.utils.file_utils, "get_file", fetch)
    original = application.build(include_top=False, weights="imagenet", input_shape=(96, 96, 3), pooling="avg")
    assert asked == [(application.address.rpartition("/")[2], application.address)]
    encoders.load_file(network, tmp_path / "file.weights.h5")
    expected = original(SCALING[name](PIXELS.copy()))
    np.testing.assert_allclose(encoder(PIXELS), expected, rtol=1e-4, atol=1e-5)
    # A run is restored into a network that was built without weights.
    encoder.save_weights(tmp_path / "run.weights.h5")
    before = encoders.digest(encoder)
    encoder.set_weights([np.zeros_like(value) for value in encoder.get_weights()])
    encoder.load_weights(tmp_path / "run.weights.h5")
    assert encoders.digest(encoder) == before
    np.testing.assert_allclose(encoder(PIXELS), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", encoders.APPLICATIONS)
def test_downloaded_weights_are_those_of_the_file(name, tmp_path, monkeypatch, no_real_data):
    network = encoders.APPLICATIONS[name].build(include_top=False, weights=None)
    network.save_weights(tmp_path / "file.weights.h5")
    monkeypatch.setattr(encoders, "reachable", lambda address: True)
    monkeypatch.setattr(keras.src.utils.file_utils, "get_file", lambda *_, **__: str(tmp_path / "file.weights.h5"))
    downloaded = encoders.build_encoder(name, weights="imagenet", image_size=96)
    given = encoders.build_encoder(name, weights=str(tmp_path / "file.weights.h5"), image_size=96, pooling="none")
    assert encoders.digest(downloaded) == encoders.digest(given) == encoders.digest(network)
    np.testing.assert_allclose(np.mean(given(PIXELS), axis=1), downloaded(PIXELS), rtol=1e-4, atol=1e-5)


def test_bytes_and_floats_are_the_same_pixels():
    encoder = encoders.build_encoder("small", weights="none", image_size=48)
    pixels = PIXELS[:, :48, :48]
    np.testing.assert_array_equal(encoder(pixels.astype("uint8")), encoder(pixels))


@pytest.mark.parametrize(
    "name, image_size, avg, places",
    [("mobilenet_v2", 64, 1280, (4, 1280)), ("small", 48, 256, (36, 64)), ("peaks", 48, 672, (144, 96))],
)
def test_features_and_positions(name, image_size, avg, places):
    for pooling, shape in (("avg", (None, avg)), ("none", (None, *places))):
        encoder = encoders.build_encoder(name, weights="none", image_size=image_size, pooling=pooling)
        assert encoder.output_shape == shape
        assert encoder.input_shape == (None, image_size, image_size, 3)


def test_a_missing_network_is_detected_at_once(monkeypatch, no_real_data):
    monkeypatch.setattr(encoders, "reachable", lambda address: False)
    with pytest.raises(
        UserError, match=r"no network to download https://.*, the ImageNet weights of resnet50: download"
    ):
        encoders.build_encoder("resnet50", weights="imagenet", image_size=32)


def test_a_download_that_fails_is_one_sentence(monkeypatch, no_real_data):
    monkeypatch.setattr(encoders, "reachable", lambda address: True)

    def fail(*unused, **unused_too):
        raise Exception("URL fetch failure on https://x: None --\nhang up")

    monkeypatch.setattr(keras.src.utils.file_utils, "get_file", fail)
    with pytest.raises(
        UserError, match=r"weights of mobilenet_v2 could not be downloaded: URL fetch failure on .* hang up"
    ):
        encoders.build_encoder("mobilenet_v2", weights="imagenet", image_size=32)


def test_invalid_files_of_weights(tmp_path):
    def build(weights):
        return encoders.build_encoder("mobilenet_v2", weights=str(weights), image_size=32)

    small = encoders.build_encoder("small", weights="none", image_size=48)
    small.save_weights(tmp_path / "small.weights.h5")
    (tmp_path / "text.h5").write_text("no weights")
    for name in ("small.weights.h5", "text.h5"):
        with pytest.raises(UserError, match=rf"{name} does not hold the weights of this model \(mobilenet_v2\)"):
            build(tmp_path / name)
    with pytest.raises(UserError, match="does not exist"):
        build(tmp_path / "none.h5")
    with pytest.raises(
        UserError, match="ImageNet is not a file of weights for mobilenet_v2: expected imagenet, none or"
    ):
        build("ImageNet")
    again = encoders.build_encoder("small", weights=str(tmp_path / "small.weights.h5"), image_size=48)
    assert encoders.digest(again) == encoders.digest(small)


def test_invalid_arguments():
    with pytest.raises(UserError, match=r"there is no encoder vgg: expected one of mobilenet_v2, .*, small, peaks"):
        encoders.build_encoder("vgg", weights="none", image_size=224)
    with pytest.raises(
        UserError, match="images of 70 x 70 pixels are too small for inception_v3: expected at least 75"
    ):
        encoders.build_encoder("inception_v3", weights="none", image_size=70)
    with pytest.raises(UserError, match="the small encoder has no ImageNet weights"):
        encoders.build_encoder("small", weights="imagenet", image_size=64)
    with pytest.raises(ValueError, match="pooling is 'max', expected 'avg' or 'none'"):
        encoders.build_encoder("small", weights="none", image_size=64, pooling="max")


def test_fine_tuning_leaves_batch_normalization_alone():
    encoder = encoders.build_encoder("mobilenet_v2", weights="none", image_size=32)
    encoders.set_trainable(encoder, False)
    assert encoder.trainable_variables == []
    encoders.set_trainable(encoder, True)
    inside = encoders.inner_layers(encoder)
    frozen = {id(v) for layer in inside if isinstance(layer, keras.layers.BatchNormalization) for v in layer.variables}
    assert len(frozen) == 4 * 52
    trained = encoder.trainable_variables
    assert len(trained) == 52 and not frozen & {id(variable) for variable in trained}  # the 52 convolutions
    before = {variable.path: variable.numpy() for variable in encoder.variables}
    with tf.GradientTape() as tape:
        features = encoder(PIXELS[:, :32, :32], training=True)
        np.testing.assert_array_equal(features, encoder(PIXELS[:, :32, :32], training=False))
        loss = tf.reduce_sum(features)
    keras.optimizers.SGD(1.0).apply(tape.gradient(loss, [v.value for v in trained]), trained)
    changed = {variable.path for variable in encoder.variables if not np.array_equal(variable, before[variable.path])}
    assert changed and changed <= {variable.path for variable in trained}


def test_fine_tuning_from_a_layer_on():
    encoder = encoders.build_encoder("mobilenet_v2", weights="none", image_size=32)
    encoders.set_trainable(encoder, True, first="block_13_expand")
    names = [layer.name for layer in encoders.inner_layers(encoder) if layer.trainable_variables]
    assert names[0] == "block_13_expand" and names[-1] == "Conv_1"
    with pytest.raises(UserError, match="the encoder has no layer block_99: expected one such as"):
        encoders.set_trainable(encoder, True, first="block_99")


def two_squares(count, seed):
    """A red and a blue square, and how red lies to blue: above, below, left of or right of it."""
    draw = np.random.default_rng(seed)
    pictures, relations = np.zeros((count, 48, 48, 3), np.float32), np.zeros(count, int)
    for picture, number in zip(pictures, range(count), strict=True):
        beside, swapped = draw.integers(2, size=2)
        row, column = draw.integers(4, 28, size=2)
        places = [(row, column), (row + 12 * (1 - beside), column + 12 * beside)]
        for channel, (top, left) in zip((0, 2), places[::-1] if swapped else places, strict=True):
            picture[top : top + 6, left : left + 6, channel] = 255
        relations[number] = 2 * beside + swapped
    return pictures, relations


@pytest.mark.extra
def test_the_small_encoder_learns_positions():
    """With an average over the places instead, the same network gets 46 % of these."""
    keras.utils.set_random_seed(0)
    encoder = encoders.build_encoder("small", weights="none", image_size=48)
    model = keras.Sequential([encoder, keras.layers.Dense(4, activation="softmax")])
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*two_squares(400, 1), batch_size=32, epochs=6, verbose=0)
    assert model.evaluate(*two_squares(200, 2), verbose=0)[1] >= 0.95


def test_peaks_have_positions_and_heights():
    """Of two channels of 4 x 6 places, with one peak each."""
    x = np.zeros((1, 4, 6, 2), np.float32)
    x[0, 0, 5, 0], x[0, 3, 0, 1] = 9, 8
    found = small_encoders.Peaks()(x).numpy().reshape(7, 2)
    whole, upper, lower, left, right, across, down = found
    np.testing.assert_array_equal(whole, [9, 8])
    np.testing.assert_array_equal([upper, lower, left, right], [[9, 0], [0, 8], [0, 8], [9, 0]])
    np.testing.assert_allclose([across, down], [[1, -1], [-1, 1]], atol=1e-5)


def test_small_encoders_train_their_batch_normalization():
    own = encoders.build_encoder("peaks", weights="none", image_size=32)
    for trainable in (True, False):
        encoders.set_trainable(own, trainable)
        assert {layer.trainable for layer in own.layers} == {trainable}
    encoders.set_trainable(own, True, "conv_3")
    assert own.get_layer("norm_3").trainable and not own.get_layer("norm_2").trainable


def test_encoding_files_yields_the_reason_of_each_failure(tmp_path):
    encoder = encoders.build_encoder("small", weights="none", image_size=48)
    picture = np.random.default_rng(4).integers(0, 256, (5, 60, 50, 3), np.uint8)
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for path, pixels in zip(paths, picture, strict=True):
        path.write_bytes(tf.io.encode_png(pixels).numpy())
    paths[1].write_text("text")
    paths[3].unlink()
    given = {"size": 48, "fit": "squeeze", "pixel_limit": 10_000}
    got = list(encoders.encode_files(encoder, paths, **given, batch=2))
    assert got[1] == "is not a JPEG or PNG image: it begins with b'text'"
    assert got[3] == "could not be read: No such file or directory"
    for number in (0, 2, 4):
        alone = encoder(images.scale(picture[number], 48, "squeeze")[None])
        assert got[number].shape == (1, 256)
        np.testing.assert_allclose(got[number], alone, rtol=1e-5, atol=1e-6)
    places = encoders.build_encoder("small", weights="none", image_size=48, pooling="none")
    assert next(encoders.encode_files(places, paths[:1], **given)).shape == (36, 64)


DOGS = [
    "1001773457_577c3a7d70", "1003163366_44323f5815", "1012212859_01547e3f17", "1015584366_dfcec3c85a",
    "101654506_8eb26cfb60", "1019077836_6fc9b15408", "1019604187_d087bf9a5f", "1020651753_06077ec457",
    "1024138940_f1fefbdce1", "1026685415_0431cbf574", "1056873310_49c665eb22", "1057251835_6ded4ada9c",
]  # fmt: skip
OTHERS = ["2903617548_d3e38d7f88", "218342358_1755a9cce1", "2501968935_02f2cd8079", "2699342860_5288e203ea"]


def test_real_weights_recognise_dogs_in_photos(real_data):
    """In photos all of whose captions speak of a dog, by the ImageNet classifier on top of the features; the file that
    holds it serves as weights as well."""
    with_top = real_data("weights") / "mobilenet_v2_1.0_224_imagenet_top.weights.h5"
    encoder = encoders.build_encoder("mobilenet_v2", weights="imagenet", image_size=224)
    before = encoders.digest(encoder)
    encoders.load_file(encoder.get_layer("mobilenet_v2"), with_top)
    assert encoders.digest(encoder) == before
    paths = [real_data("flickr8k") / "images" / f"{name}.jpg" for name in DOGS + OTHERS]
    given = {"size": 224, "fit": "squeeze", "pixel_limit": 10**6}
    features = np.concatenate(list(encoders.encode_files(encoder, paths, **given)))
    with h5py.File(with_top) as file:
        kernel, bias = (file["layers/dense/vars"][part][:] for part in "01")
    classes = np.argmax(features @ kernel + bias, axis=1)
    dogs = (classes >= 151) & (classes <= 268)
    assert dogs[: len(DOGS)].mean() >= 0.6 and not dogs[len(DOGS) :].any()

import resource
import shutil

import keras
import numpy as np
import pytest

from pipelines.common import files, weights
from pipelines.common.errors import UserError
from pipelines.common.runs import Run


def dense(units: int) -> keras.Model:
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(units, name="head")])


def test_weights_go_and_come_back(tmp_path):
    model, path = dense(4), tmp_path / "model.weights.h5"
    weights.save_weights(model, path)
    other = dense(4)
    weights.load_weights(other, path)
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.weights.h5"]


def test_weights_of_another_model(tmp_path):
    path = tmp_path / "model.weights.h5"
    with pytest.raises(UserError, match="does not exist"):
        weights.load_weights(dense(4), path)
    weights.save_weights(dense(4), path)
    with pytest.raises(UserError, match="does not hold the weights of this model"):
        weights.load_weights(dense(5), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="does not hold the weights of this model"):
        weights.load_weights(dense(4), path)


def test_weights_on_a_full_disk_are_one_sentence_and_keep_the_old_file(tmp_path):
    """HDF5 would end this process with a segmentation fault."""
    model = keras.Sequential([keras.layers.Input([100])] + [keras.layers.Dense(100) for _ in range(20)])
    path = tmp_path / "model.weights.h5"
    weights.save_weights(model, path)
    old, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 1000, len(old) // 2, len(old) - 1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        try:
            with pytest.raises(UserError) as caught:
                weights.save_weights(model, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert str(caught.value) == f"{path} could not be written: File too large"
        assert path.read_bytes() == old
    model.set_weights([0 * weight for weight in model.get_weights()])
    weights.load_weights(model, path)
    assert model.get_weights()[0].any()
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.weights.h5"]


KINDS = ("float32", "float16", "int8")


class Counting(keras.layers.Layer):
    """A layer with an integer variable."""

    def build(self, shape):
        self.number = self.add_weight(shape=(), dtype="int64", initializer="zeros", trainable=False, name="number")

    def call(self, inputs):
        return inputs


def large() -> keras.Model:
    """Returns a model with an embedding, kernels, vectors, an integer, a layer without weights and a model inside."""
    keras.utils.set_random_seed(3)
    inner = keras.Sequential([keras.Input((8, 8, 16)), keras.layers.Conv2D(32, 3), keras.layers.DepthwiseConv2D(3)])
    image, words = keras.Input((8, 8, 16)), keras.Input((5,), dtype="int32")
    read = keras.layers.LSTM(64)(keras.layers.Embedding(300, 32)(words))
    seen = keras.layers.Flatten()(keras.layers.BatchNormalization()(inner(image)))
    joined = keras.layers.Concatenate()([Counting(name="counting")(seen), read])
    model = keras.Model([image, words], keras.layers.Dense(40)(keras.layers.Dropout(0.1)(joined)))
    draw = np.random.default_rng(1)
    scale = [np.exp(draw.normal(size=weight.shape[-1:] or ())) for weight in model.weights]
    values = [draw.normal(size=weight.shape) * each for weight, each in zip(model.weights, scale, strict=True)]
    model.set_weights(values)
    model.get_layer("counting").number.assign(2**60 + 1)
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Returns a model and a file with its weights."""
    model, path = large(), tmp_path_factory.mktemp("weights") / "model.weights.h5"
    weights.save_weights(model, path)
    return model, path


def again(model: keras.Model, path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the weights of a model, each with the one that is read from the file into a copy."""
    other = large()
    other.set_weights([0 * weight for weight in other.get_weights()])
    weights.load_weights(other, path)
    return list(zip(model.get_weights(), other.get_weights(), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_is_read_with_the_error_of_its_rounding(saved, tmp_path, kind):
    model, path = saved
    to = tmp_path / "rounded.weights.h5"
    weights.round_weights(path, to, kind)
    rounded = 0
    for weight, found in again(model, to):
        assert found.dtype == weight.dtype
        if kind == "float32" or weight.ndim < 2 or weight.size < weights.SMALL:
            np.testing.assert_array_equal(found, weight)  # of the integer as well
            continue
        rounded += 1
        error = np.abs(found - weight)
        if kind == "float16":
            assert (error <= np.abs(weight) * 2.0**-11 + 2.0**-25).all()
        else:  # at most half a scale, for the scales of one of the axes
            bounds = [
                np.abs(weight).max(axis=tuple({*range(weight.ndim)} - {axis}), keepdims=True) / 127 / 2
                for axis in range(weight.ndim)
            ]
            assert any((error <= bound * 1.001).all() for bound in bounds)
        assert error.max() > 0
    assert rounded == (0 if kind == "float32" else 5)
    assert to.stat().st_size < path.stat().st_size * {"float32": 1.01, "float16": 0.6, "int8": 0.4}[kind]


def test_int8_takes_the_scales_of_the_axis_with_the_smallest_error():
    value = np.random.default_rng(0).normal(size=(20, 30, 40)).astype("float32")
    for axis in range(3):
        shape = [1, 1, 1]
        shape[axis] = value.shape[axis]
        numbers, scale = weights.to_int8(value * np.logspace(0, 4, value.shape[axis], dtype="float32").reshape(shape))
        assert scale.shape == tuple(shape) and np.abs(numbers).max() == 127
    numbers, scale = weights.to_int8(np.zeros((64, 64), "float32"))
    assert not (numbers * scale).any()


def test_values_above_the_range_of_float16_stay_as_they_are(tmp_path):
    model = keras.Sequential([keras.Input((80,)), keras.layers.Dense(80, use_bias=False)])
    model.set_weights([np.full((80, 80), 1e5, "float32")])
    weights.save_weights(model, tmp_path / "a.weights.h5")
    weights.round_weights(tmp_path / "a.weights.h5", tmp_path / "b.weights.h5", "float16")
    weights.load_weights(model, tmp_path / "b.weights.h5")
    assert (model.get_weights()[0] == 1e5).all()


def test_a_file_is_rounded_once(saved, tmp_path):
    weights.round_weights(saved[1], tmp_path / "a.weights.h5", "int8")
    for path, message in ((tmp_path / "a.weights.h5", "is rounded already"), (tmp_path / "none", "does not hold")):
        with pytest.raises(UserError, match=message):
            weights.round_weights(path, tmp_path / "b.weights.h5", "float16")
    assert [path.name for path in tmp_path.iterdir()] == ["a.weights.h5"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_one_sentence(saved, tmp_path, kind):
    model, path = large(), tmp_path / "a.weights.h5"
    weights.round_weights(saved[1], path, kind)
    content = path.read_bytes()
    for length in (0, 1000, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match="does not hold the weights of this model"):
            weights.load_weights(model, path)


def test_a_release_has_the_weights_of_its_checksum(saved, tmp_path):
    model, path = saved
    stored = {"task": "sentiment", "preset": None, "config": {}}
    shutil.copy(path, tmp_path / "model.weights.h5")
    for entry, message in (
        ({"format": "float32", "sha256": weights.sha256(path)}, None),
        ({"format": "float32", "sha256": 64 * "0"}, "is damaged or not that of this release: its SHA-256 is not the"),
        ({"format": "float32"}, "has no SHA-256 of the weights"),
        ("int8", "has no SHA-256 of the weights"),
    ):
        files.write_json(tmp_path / "config.json", {**stored, "weights": entry})
        if message is None:
            Run.open(tmp_path, "sentiment").load_weights(large())
            continue
        with pytest.raises(UserError, match=message):
            Run.open(tmp_path, "sentiment").load_weights(model)
    files.write_json(
        tmp_path / "config.json", {**stored, "weights": {"format": "float32", "sha256": weights.sha256(path)}}
    )
    with open(tmp_path / "model.weights.h5", "r+b") as file:
        file.seek(-100, 2)
        file.write(b"\xff")
    with pytest.raises(UserError, match="is damaged or not that of this release"):
        Run.open(tmp_path, "sentiment").load_weights(model)

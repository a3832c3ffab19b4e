import resource
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.serving import exports
from pipelines.common.serving.saved_model import write_saved_model


@pytest.fixture(scope="module")
def parts():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def double(x):
        return {"y": 2 * model(x)}

    return model, {"serving_default": double}


def test_named_tensors_and_the_same_answer(tmp_path, parts):
    model, signatures = parts
    write_saved_model(tmp_path / "deep" / "export", signatures, [model])
    loaded = tf.saved_model.load(tmp_path / "deep" / "export")
    x = tf.constant([[1.0, 2.0], [3.0, -4.0]])
    np.testing.assert_array_equal(loaded.signatures["serving_default"](x=x)["y"], 2 * model(x))
    assert [entry.name for entry in (tmp_path / "deep").iterdir()] == ["export"]


def test_an_export_is_replaced_whole(tmp_path, parts):
    model, signatures = parts
    write_saved_model(tmp_path / "export", signatures, [model])
    (tmp_path / "export" / "old").touch()
    write_saved_model(tmp_path / "export", signatures, [model])
    assert not (tmp_path / "export" / "old").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["export"]


@pytest.mark.parametrize("name", ["a[1]", "a*b", "a?b", "a\\b"])
def test_a_path_that_tensorflow_takes_for_a_pattern_is_refused(tmp_path, parts, monkeypatch, name):
    model, signatures = parts
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=r"takes the characters .* for a pattern: give a folder without them with --to"):
        write_saved_model(tmp_path / name / "export", signatures, [model])
    monkeypatch.chdir(tmp_path / name)
    with pytest.raises(UserError, match="for a pattern"):
        write_saved_model("export", signatures, [model])
    assert not list((tmp_path / name).iterdir())


def test_an_export_that_was_moved_to_such_a_path(tmp_path, parts):
    model, signatures = parts
    write_saved_model(tmp_path / "export", signatures, [model])
    (tmp_path / "export").rename(tmp_path / "export[1]")
    with pytest.raises(UserError, match=r"export\[1\] cannot be loaded: TensorFlow takes .* expected a path without"):
        exports.load(tmp_path / "export[1]", "sentiment", {"y"})


@pytest.mark.parametrize("name", ["a b", "a{1}", "é", "a#b%41", "a'b\"c", "~a"])
def test_other_characters_in_a_path(tmp_path, parts, name):
    model, signatures = parts
    write_saved_model(tmp_path / name, signatures, [model])
    assert exports.load(tmp_path / name, "sentiment", {"y"})


def test_a_full_disk_leaves_the_old_export(tmp_path, parts):
    model, signatures = parts
    write_saved_model(tmp_path / "export", signatures, [model])
    before = (tmp_path / "export" / "saved_model.pb").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before_signal = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a file that grows too long is an error
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(UserError, match="export could not be written: "):
            write_saved_model(tmp_path / "export", signatures, [model])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before_signal)
    assert (tmp_path / "export" / "saved_model.pb").read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["export"]


def test_other_files_are_not_replaced(tmp_path, parts):
    model, signatures = parts
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(UserError, match="is not empty and not an export"):
        write_saved_model(tmp_path, signatures, [model])
    with pytest.raises(UserError, match="is a file"):
        write_saved_model(tmp_path / "thesis.txt", signatures, [model])

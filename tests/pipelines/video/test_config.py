import dataclasses
import inspect
import json

import pytest

from pipelines.common.errors import UserError
from pipelines.common.runs import as_json
from pipelines.video.config import PRESETS, Config
from pipelines.video.model import FrameClassifier, make_model


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_go_through_json_and_build(preset):
    _, config = PRESETS[preset]
    assert Config.from_json(json.loads(json.dumps(as_json(config)))) == config
    assert str(config.run) == f"saved_models/video/{preset}"
    model = make_model(config, ("fight", "nofight"), with_weights=False)
    assert model.over_time(model.project(_features(model)), model.initial_state(2))[0].shape == (2, 3, 2)


def _features(model):
    import tensorflow as tf

    return tf.zeros([2, 3, model.encoder.output_shape[-1]])


def test_the_builder_has_no_defaults_of_its_own_that_differ():
    fields = {field.name for field in dataclasses.fields(Config)}
    for name, parameter in inspect.signature(FrameClassifier.__init__).parameters.items():
        if name in fields:
            assert parameter.default is inspect.Parameter.empty, name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": 0}, "--units is 0, but must be at least 1"),
        ({"dropout": 1.0}, "--dropout is 1.0, but must be at least 0 and below 1"),
        ({"validation_share": -0.1}, "--validation-share is -0.1"),
        ({"fps": -1.0}, "--fps is -1.0, but must be 0 or from 0.01 to 1000"),
        ({"filter": 4}, "--filter is 4, but must be odd and at least 1"),
        ({"k1": 8, "bidirectional": True}, "--k1 is 8, but must be 0 with --bidirectional"),
        ({"k1": 8, "k2": 4}, "--k2 is 4, but must be 0, or at least --k1, 8"),
        ({"k2": 4}, "--k2 is 4, but must be 0 without --k1"),
        ({"cell": "none", "bidirectional": True}, "--bidirectional is True, but must be False with --cell none"),
        ({"label_names": ("only",)}, "--label-names is"),
        ({"encoder_weights": "none"}, "--encoder-weights is none, but must be imagenet or a file"),
        ({"encoder_first": "block_13_expand"}, "--encoder-first is block_13_expand, but must be empty without"),
        ({"smoothing": -1.0}, "--smoothing is -1.0, but must be at least 0"),
    ],
)
def test_fields_out_of_range(changes, message):
    with pytest.raises(UserError, match=message):
        Config(**changes)


@pytest.mark.parametrize("change", [{"colour": "red"}, {"training": {"speed": 3}}, {"units": "many"}])
def test_a_config_of_another_version(change):
    with pytest.raises(UserError, match="the config of the run is not one of this version"):
        Config.from_json({**as_json(Config()), **change})

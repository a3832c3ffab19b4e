import dataclasses
import inspect
import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.common.config import from_json, replace
from pipelines.common.errors import UserError
from pipelines.common.runs import as_json
from pipelines.video.config import Config, ModelConfig, RegularizationConfig
from pipelines.video.model import FrameClassifier, make_model
from pipelines.video.presets import PRESETS


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_go_through_json_and_build(preset):
    _, config = PRESETS[preset]
    assert from_json(Config, json.loads(json.dumps(as_json(config)))) == config
    assert str(config.run) == f"saved_models/video/{preset}"
    size = 6 if config.model.encoder == "none" else 0
    model = make_model(config, ("fight", "nofight"), size, encoder_weights="none")
    assert model(np.zeros([2, 3, size or model.encoder.output_shape[-1]], np.float32)).shape == (2, 3, 2)


def test_the_model_takes_the_fields_of_its_groups_and_has_no_defaults_for_them():
    parameters = inspect.signature(FrameClassifier.__init__).parameters
    for field in [*dataclasses.fields(ModelConfig), *dataclasses.fields(RegularizationConfig)]:
        assert parameters[field.name].default is inspect.Parameter.empty, field.name


OLD = """
{"data": "fight", "run": "saved_models/video/fight", "manual_dir": null, "annotations": "sequences.csv",
"background": "", "label_names": ["fight", "nofight"], "fps": 5.0, "encoder": "small", "encoder_weights": "none",
"train_encoder": true, "image_size": 48, "cell": "rnn", "units": 16, "k1": 4, "smoothing": 0.15, "filter": 3,
"batch_videos": 2, "base": null, "training": {"epochs": 24.0, "seed": 3}}
"""


def test_a_config_of_version_0_1_is_read():
    """Its fields were flat, but for those of the training loop."""
    config = from_json(Config, json.loads(OLD))
    assert (config.data.location, config.data.fps, config.data.batch_videos) == ("fight", 5.0, 2)
    assert config.data.label_names == ("fight", "nofight") and config.run == Path("saved_models/video/fight")
    assert (config.frames.image_size, config.model.encoder, config.model.units) == (48, "small", 16)
    assert config.regularization.train_encoder and config.regularization.dropout == RegularizationConfig().dropout
    assert (config.loss.smoothing, config.tbptt.k1, config.evaluation.filter) == (0.15, 4, 3)
    assert (config.training.epochs, config.training.seed) == (24.0, 3)
    assert from_json(Config, as_json(config)) == config


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
        replace(Config(), **changes)


def test_an_invalid_field_of_a_flat_configuration():
    with pytest.raises(UserError, match=r"model\.units is 'many' in the configuration of the run, expected an integer"):
        from_json(Config, {"units": "many"})


def test_fine_tuning_keeps_the_configuration_except_for_what_depends_on_the_data():
    changes = {"annotations": "labels.csv", "background": "still", "class_weights": True, "units": 7, "smoothing": 0.1}
    config = replace(PRESETS["fight"][1], **changes)
    tuned = config.for_fine_tuning(Path("runs/one"))
    assert (tuned.run, tuned.base) == (Path("runs/one-finetuned"), Path("runs/one"))
    same = replace(tuned, run=config.run, base=None, **changes)
    assert same == config
    assert (tuned.data.annotations, tuned.data.background, tuned.loss.class_weights) == ("", "", False)

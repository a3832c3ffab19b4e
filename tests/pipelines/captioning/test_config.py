import dataclasses
import inspect
import json

import pytest

from layers.text import GENERATION, Vocabulary
from pipelines.captioning.config import PRESETS, Config
from pipelines.captioning.model import make_model, make_preprocessing
from pipelines.common.errors import UserError
from pipelines.common.runs import as_json
from pipelines.common.training.options import TrainingOptions


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_go_through_json_and_build(preset):
    _, config = PRESETS[preset]
    assert Config.from_json(json.loads(json.dumps(as_json(config)))) == config
    assert str(config.run) == f"saved_models/captioning/{preset}"
    preprocessing = make_preprocessing(config, Vocabulary([*GENERATION, "▁good", "▁day"]))
    model = make_model(config, preprocessing, encoder_weights="none")
    assert len(model.decoder) == config.layers and model.units == config.units
    assert model.encoder.input_shape == (None, config.image_size, config.image_size, 3)


def test_the_preset_of_flickr8k_is_show_and_tell():
    """Vinyals et al. 2015, section 4.3.1: an LSTM of 512, the image once, before the first word."""
    config = PRESETS["flickr8k"][1]
    assert (config.image, config.cell, config.layers, config.units, config.embedding_units) == (
        "first", "lstm", 1, 512, 512,
    )  # fmt: skip
    assert (config.encoder, config.weights, config.finetune_cnn_after) == ("mobilenet_v2", "imagenet", None)
    assert config.min_count == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dropout": 1.0}, "--dropout is 1.0, but must be at least 0 and below 1"),
        ({"vocabulary": 4}, "--vocabulary is 4, but must be at least 5: four are reserved"),
        ({"augment": 0.6}, "--augment is 0.6, but must be from 0 to 0.5"),
        ({"finetune_cnn_after": 10}, "--finetune-cnn-after is 10, but must be None, or from 0 to below --epochs, 10"),
        ({"finetune_cnn_after": -1}, "--finetune-cnn-after is -1, but must be None, or from 0"),
        ({"finetune_cnn_from": "block_13_expand"}, "--finetune-cnn-from is block_13_expand, but needs"),
        ({"cnn_learning_rate": 0.0}, "--cnn-learning-rate is 0.0, but must be greater than 0"),
        ({"length_penalty": -1.0}, "--length-penalty is -1.0, but must be at least 0"),
        ({"pixel_limit": 0}, "--pixel-limit is 0, but must be at least 1"),
        ({"beam_size": 0}, "--beam-size is 0, but must be at least 1"),
    ],
)
def test_values_that_make_no_sense(changes, message):
    with pytest.raises(UserError) as found:
        Config(**changes, training=TrainingOptions(epochs=10))
    assert message in str(found.value)


def test_every_field_has_a_help_and_the_config_one_of_this_version():
    source = inspect.getsource(Config)
    for field in dataclasses.fields(Config):
        declared = source.index(f"    {field.name}: ")
        assert source[declared:].split("\n")[1].strip().startswith('"""'), field.name
    with pytest.raises(UserError, match="not one of this version"):
        Config.from_json({**as_json(Config()), "colour": "blue"})

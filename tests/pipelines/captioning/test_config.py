import dataclasses
import inspect
import json
import math

import pytest

from layers.text import GENERATION, Vocabulary
from pipelines.captioning.config import CNNConfig, Config, ModelConfig
from pipelines.captioning.model import CaptioningModel, make_model, make_preprocessing
from pipelines.captioning.presets import PRESETS
from pipelines.common.config import from_json, replace
from pipelines.common.errors import UserError
from pipelines.common.runs import as_json


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_go_through_json_and_build(preset):
    _, config = PRESETS[preset]
    assert from_json(Config, json.loads(json.dumps(as_json(config)))) == config
    assert str(config.run) == f"saved_models/captioning/{preset}"
    preprocessing = make_preprocessing(config, Vocabulary([*GENERATION, "▁good", "▁day"]))
    model = make_model(config, preprocessing, weights="none")
    assert len(model.decoder) == config.model.layers and model.units == config.model.units
    assert model.encoder.input_shape == (None, config.images.image_size, config.images.image_size, 3)


def test_the_preset_of_flickr8k_is_show_and_tell():
    """Vinyals et al. 2015, section 4.3.1: an LSTM of 512, the image once, before the first word."""
    config = PRESETS["flickr8k"][1]
    assert (config.model.image, config.model.cell, config.model.layers) == ("first", "lstm", 1)
    assert (config.model.units, config.model.embedding_units) == (512, 512)
    assert (config.model.encoder, config.model.weights) == ("mobilenet_v2", "imagenet")
    assert not config.cnn.is_trained and config.words.min_count == 5


def test_the_model_takes_the_fields_of_its_group():
    parameters = inspect.signature(CaptioningModel.__init__).parameters
    assert {field.name for field in dataclasses.fields(ModelConfig)} <= parameters.keys()


OLD = """
{"data": "flickr8k", "run": "saved_models/captioning/flickr8k", "cache": "saved_models/captioning/cache",
"manual_dir": null, "test_share": 0.1, "encoder": "peaks", "weights": "none", "image_size": 64, "augment": 0.1,
"finetune_cnn_after": 2, "cnn_learning_rate": 0.001, "vocabulary": 500, "min_count": 1, "max_tokens": 30,
"image": "merge", "units": 16, "tied": false, "dropout": 0.5, "batch_pairs": 64, "monitor": "bleu4", "beam_size": 5,
"length_penalty": 1.0, "base": null, "training": {"epochs": 15.0, "ema": 0.998}}
"""


def test_a_config_of_version_0_1_is_read():
    """Its fields were flat, but for those of the training loop."""
    config = from_json(Config, json.loads(OLD))
    assert (config.data.location, config.data.test_share, config.data.batch_pairs) == ("flickr8k", 0.1, 64)
    assert (config.images.image_size, config.text.max_tokens, config.words.vocabulary) == (64, 30, 500)
    assert config.model == replace(Config(), encoder="peaks", weights="none", image="merge", units=16, tied=False).model
    assert config.cnn == CNNConfig(augment=0.1, finetune_cnn_after=2, cnn_learning_rate=0.001)
    assert (config.regularization.dropout, config.regularization.embedding_dropout) == (0.5, 0.3)
    assert (config.monitor, config.search.beam_size, config.search.length_penalty) == ("bleu4", 5, 1.0)
    assert (config.training.epochs, config.training.ema) == (15.0, 0.998)
    assert from_json(Config, as_json(config)) == config


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
        ({"length_penalty": -0.5}, "--length-penalty is -0.5, but must be at least 0"),
        ({"length_penalty": math.inf}, "--length-penalty is inf, but must be a finite number"),
        ({"pixel_limit": 0}, "--pixel-limit is 0, but must be at least 1"),
        ({"beam_size": 0}, "--beam-size is 0, but must be at least 1"),
        ({"image": "attend", "attention_penalty": -1.0}, "--attention-penalty is -1.0, but must be at least 0"),
        ({"attention_penalty": 0.1}, "--attention-penalty needs --image attend, but --image is first"),
        ({"image": "merge", "attention_gate": True}, "--attention-gate needs --image attend, but --image is merge"),
        ({"attention_input": True}, "--attention-input needs --image attend, but --image is first"),
    ],
)
def test_fields_out_of_range(changes, message):
    with pytest.raises(UserError, match=message):
        replace(Config(), epochs=10, **changes)


@pytest.mark.parametrize(
    ("changes", "trained", "runs"),
    [
        ({}, [False] * 4, [False] * 4),
        ({"augment": 0.1}, [False] * 4, [True] * 4),
        ({"mirror": True}, [False] * 4, [True] * 4),
        ({"finetune_cnn_after": 2}, [False, False, True, True], [False, False, True, True]),
        ({"finetune_cnn_after": 2, "augment": 0.1}, [False, False, True, True], [False, False, True, True]),
        ({"finetune_cnn_after": 0}, [True] * 4, [True] * 4),
    ],
)
def test_epochs_in_which_the_cnn_is_trained_and_runs(changes, trained, runs):
    config = CNNConfig(**changes)
    assert [config.is_trained_in(epoch) for epoch in range(4)] == trained
    assert [config.runs_in(epoch) for epoch in range(4)] == runs

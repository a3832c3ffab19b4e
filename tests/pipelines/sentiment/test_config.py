import dataclasses
import json

import pytest

from layers.text import RESERVED, Vocabulary
from pipelines.common.errors import UserError
from pipelines.common.runs import as_json
from pipelines.sentiment.config import PRESETS, Config
from pipelines.sentiment.model import build_model, make_model
from pipelines.sentiment.pretraining_config import PRESETS as LANGUAGE_MODELS
from pipelines.sentiment.pretraining_config import PretrainingConfig


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_go_through_json_and_build(preset):
    _, config = PRESETS[preset]
    stored = json.loads(json.dumps(as_json(config)))
    assert Config.from_json(stored) == config
    assert config.max_words >= 1000
    assert str(config.run) == f"saved_models/sentiment/{preset}"
    model = make_model(config, Vocabulary([*RESERVED, "good"]), ("negative", "positive"))
    assert model.output_shape == (None, 2)


@pytest.mark.parametrize("preset", LANGUAGE_MODELS)
def test_presets_of_language_models_go_through_json(preset):
    _, config = LANGUAGE_MODELS[preset]
    assert PretrainingConfig.from_json(json.loads(json.dumps(as_json(config)))) == config
    assert str(config.run) == f"saved_models/sentiment/{preset}-language-model"


def test_a_preset_that_starts_from_a_language_model_has_its_network():
    config, learned = PRESETS["imdb-pretrained"][1], LANGUAGE_MODELS["imdb"][1]
    assert config.init_from == learned.run
    for field in ("units", "embedding_units", "bidirectional", "data", "group_column", "split_seed"):
        assert getattr(config, field) == getattr(learned, field)
    assert config.for_fine_tuning(config.run).init_from is None


def test_a_config_of_before_there_were_language_models():
    stored = as_json(Config())
    for field in ("init_from", "layer_decay", "unfreeze_every", "teachers", "calibrate"):
        del stored[field]
    assert Config.from_json(stored) == Config()


def test_paths_that_are_numbers():
    with pytest.raises(UserError, match="the config of the run is not one of this version"):
        Config.from_json(as_json(Config()) | {"teachers": [1]})


def test_the_builder_has_no_defaults_of_its_own_that_differ():
    import inspect

    fields = {field.name: field.default for field in dataclasses.fields(Config)}
    for name, parameter in inspect.signature(build_model).parameters.items():
        if name in fields and name != "vocabulary_size":
            assert parameter.default is inspect.Parameter.empty, name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": 0}, "--units is 0, but must be at least 1"),
        ({"word_dropout": 1.0}, "--word-dropout is 1.0, but must be at least 0 and below 1"),
        ({"validation_share": -0.1}, "--validation-share is -0.1"),
        ({"max_words": 0}, "--max-words is 0"),
        ({"batch_words": 10}, "--batch-words is 10, but must be at least --max-words, 2000"),
        ({"pooling": ()}, "--pooling is"),
        ({"pooling": ("max", "max")}, "--pooling is"),
        ({"label_names": ("only",)}, "--label-names is"),
        ({"label_names": ("a", "a")}, "--label-names is"),
        ({"vocabulary_size": 2}, "--vocabulary-size is 2, but must be at least 3"),
        ({"layer_decay": 0.0}, "--layer-decay is 0.0, but must be above 0 and at most 1"),
        ({"init_from": "lm", "base": "run"}, "--init-from is lm, but fine-tune starts from the run run: expected one"),
        ({"unfreeze_every": 5}, "--unfreeze-every is 5, but must be below 5, so that the word vectors, the last of 2"),
    ],
)
def test_fields_out_of_range(changes, message):
    with pytest.raises(UserError, match=message):
        Config(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k1": 0}, "--k1 is 0, but must be at least 1"),
        ({"k1": 5, "k2": 4}, "--k2 is 4, but must be at least --k1, 5: a window has to hold every new word"),
        ({"streams": 0}, "--streams is 0"),
        ({"units": 0}, "--units is 0"),
        ({"vocabulary_size": 4}, "--vocabulary-size is 4, but must be at least 5"),
        ({"embedding_dropout": 1.0}, "--embedding-dropout is 1.0"),
        ({"validation_words": -1}, "--validation-words is -1"),
    ],
)
def test_fields_of_a_language_model_out_of_range(changes, message):
    with pytest.raises(UserError, match=message):
        PretrainingConfig(**changes)


@pytest.mark.parametrize("change", [{"colour": "red"}, {"training": {"speed": 3}}, {"units": "many"}])
def test_a_config_of_another_version(change):
    with pytest.raises(UserError, match="the config of the run is not one of this version"):
        Config.from_json({**as_json(Config()), **change})

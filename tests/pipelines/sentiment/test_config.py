import dataclasses
import json

import pytest

from layers.text import RESERVED, Vocabulary
from pipelines.common.errors import UserError
from pipelines.common.runs import as_json
from pipelines.sentiment.config import PRESETS, Config
from pipelines.sentiment.model import build_model, make_model


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_go_through_json_and_build(preset):
    _, config = PRESETS[preset]
    stored = json.loads(json.dumps(as_json(config)))
    assert Config.from_json(stored) == config
    assert config.max_words >= 1000
    assert str(config.run) == f"saved_models/sentiment/{preset}"
    model = make_model(config, Vocabulary([*RESERVED, "good"]), ("negative", "positive"))
    assert model.output_shape == (None, 2)


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
    ],
)
def test_fields_out_of_range(changes, message):
    with pytest.raises(UserError, match=message):
        Config(**changes)


@pytest.mark.parametrize("change", [{"colour": "red"}, {"training": {"speed": 3}}, {"units": "many"}])
def test_a_config_of_another_version(change):
    with pytest.raises(UserError, match="the config of the run is not one of this version"):
        Config.from_json({**as_json(Config()), **change})

import json

import pytest

from pipelines.common.config import from_json, replace
from pipelines.common.errors import UserError
from pipelines.common.runs import as_json
from pipelines.sentiment.language_model.config import Config
from pipelines.sentiment.language_model.presets import PRESETS


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_can_be_stored_and_read_back(preset):
    _, config = PRESETS[preset]
    assert from_json(Config, json.loads(json.dumps(as_json(config)))) == config
    assert str(config.run) == f"saved_models/sentiment/{preset}-language-model"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k1": 0}, "--k1 is 0, but must be at least 1"),
        ({"k1": 5, "k2": 4}, "--k2 is 4, but must be at least --k1, 5: a window has to contain every new word"),
        ({"streams": 0}, "--streams is 0"),
        ({"units": 0}, "--units is 0"),
        ({"vocabulary_size": 4}, "--vocabulary-size is 4, but must be at least 5"),
        ({"embedding_dropout": 1.0}, "--embedding-dropout is 1.0"),
        ({"validation_words": -1}, "--validation-words is -1"),
    ],
)
def test_fields_out_of_range(changes, message):
    with pytest.raises(UserError, match=message):
        replace(Config(), **changes)


def test_the_flat_configuration_of_version_0_1():
    stored = {"data": "imdb", "max_words": 7, "k1": 5, "k2": 6, "streams": 3, "tied": False, "softmax": "full"}
    expected = replace(Config(), location="imdb", **{field: stored[field] for field in stored if field != "data"})
    assert from_json(Config, stored) == expected

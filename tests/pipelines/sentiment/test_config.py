import json

import pytest

from layers.text import RESERVED, Vocabulary
from pipelines.common.config import from_json, replace
from pipelines.common.errors import UserError
from pipelines.common.runs import as_json
from pipelines.sentiment.config import PRESETS, Config
from pipelines.sentiment.language_model.config import PRESETS as LANGUAGE_MODELS
from pipelines.sentiment.model import make_model


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_can_be_stored_and_read_back_and_build(preset):
    _, config = PRESETS[preset]
    assert from_json(Config, json.loads(json.dumps(as_json(config)))) == config
    assert config.text.max_words >= 1000
    assert str(config.run) == f"saved_models/sentiment/{preset}"
    model = make_model(config, Vocabulary([*RESERVED, "good"]), ("negative", "positive"))
    assert model.output_shape == (None, 2)


def test_a_preset_that_starts_from_a_language_model_has_its_architecture():
    config, learned = PRESETS["imdb-pretrained"][1], LANGUAGE_MODELS["imdb"][1]
    assert config.transfer.init_from == learned.run
    for field in ("cell", "units", "layers", "embedding_units", "bidirectional"):
        assert getattr(config.model, field) == getattr(learned.model, field)
    for field in ("location", "group_column", "split_seed"):
        assert getattr(config.data, field) == getattr(learned.data, field)
    assert config.for_fine_tuning(config.run).transfer.init_from is None


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
        ({"unfreeze_every": 5}, "--unfreeze-every is 5, but must be below 5, so that the embeddings, the last of 2"),
    ],
)
def test_fields_out_of_range(changes, message):
    with pytest.raises(UserError, match=message):
        replace(Config(), **changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "unknown field colour"),
        ({"training": {"speed": 3}}, "unknown field training.speed"),
        ({"model": {"units": "many"}}, "model.units is 'many'"),
        ({"transfer": {"teachers": [1]}}, "transfer.teachers is 1 in the configuration of the run, expected a path"),
    ],
)
def test_a_configuration_of_another_version(change, message):
    with pytest.raises(UserError, match=message):
        from_json(Config, {**as_json(Config()), **change})

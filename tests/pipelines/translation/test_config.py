import dataclasses
import inspect
import json

import pytest

from layers.text import GENERATION, Vocabulary
from pipelines.common.errors import UserError
from pipelines.common.runs import as_json
from pipelines.translation.config import PRESETS, Config
from pipelines.translation.model import make_model, make_preprocessing


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_go_through_json_and_build(preset):
    _, config = PRESETS[preset]
    assert Config.from_json(json.loads(json.dumps(as_json(config)))) == config
    assert str(config.run) == f"saved_models/translation/{preset}"
    vocabulary = Vocabulary([*GENERATION, "▁good", "▁day"])
    small = dataclasses.replace(config, units=4, embedding_units=6)  # in full size the tests would take gigabytes
    model = make_model(small, make_preprocessing(small, vocabulary, vocabulary))
    assert len(model.encoder) == len(model.decoder) == config.layers == 4


def test_the_preset_of_the_paper_is_the_paper():
    """Sutskever et al. 2014, section 3.4."""
    config = PRESETS["sutskever2014"][1]
    assert (config.layers, config.units, config.embedding_units) == (4, 1000, 1000)
    assert (config.source_vocabulary, config.target_vocabulary) == (160_000, 80_000)
    assert (config.initial_range, config.reverse, config.bidirectional, config.tied) == (0.08, True, False, False)
    assert (config.dropout, config.embedding_dropout, config.label_smoothing, config.context) == (0, 0, 0, "none")
    training = config.training
    assert (training.optimizer, training.momentum, training.learning_rate) == ("sgd", 0, 0.7)
    assert (training.schedule, training.halving_from, training.halving_every) == ("halving", 5, 0.5)
    assert (training.epochs, config.batch_pairs, training.clip_norm, config.loss_per) == (7.5, 128, 5, "sentence")
    assert (config.beam_size, config.length_penalty) == (12, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "en"}, "--target is en, but must be another language than --source, en"),
        ({"units": 5, "bidirectional": True}, "--units is 5, but must be even with --bidirectional"),
        ({"dropout": 1.0}, "--dropout is 1.0, but must be at least 0 and below 1"),
        ({"source_vocabulary": 4}, "--source-vocabulary is 4, but must be at least 5: four are reserved"),
        ({"batch_tokens": 10}, "--batch-tokens is 10, but must be at least 202, twice --max-tokens and the ends"),
        ({"max_ratio": 0.5}, "--max-ratio is 0.5, but must be at least 1"),
        ({"teacher_probability": 2.0}, "--teacher-probability is 2.0, but must be from 0 to 1"),
        ({"teacher_updates": 0.5}, "--teacher-updates is 0.5, but must be at least 1"),
        ({"length_penalty": -1.0}, "--length-penalty is -1.0, but must be at least 0"),
        ({"softmax_samples": 0}, "--softmax-samples is 0, but must be at least 1"),
        ({"beam_size": 0}, "--beam-size is 0, but must be at least 1"),
    ],
)
def test_values_that_make_no_sense(changes, message):
    with pytest.raises(UserError) as found:
        Config(**changes)
    assert message in str(found.value)


def test_every_field_has_a_help_and_the_config_one_of_this_version():
    source = inspect.getsource(Config)
    for field in dataclasses.fields(Config):
        declared = source.index(f"    {field.name}: ")
        assert source[declared:].split("\n")[1].strip().startswith('"""') or '= "none"\n    """' in source[declared:], (
            field.name
        )
    with pytest.raises(UserError, match="not one of this version"):
        Config.from_json({**as_json(Config()), "colour": "blue"})

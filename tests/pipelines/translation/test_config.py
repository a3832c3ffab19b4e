import json

import pytest

from layers.text import GENERATION, Vocabulary
from pipelines.common.config import from_json, replace
from pipelines.common.errors import UserError
from pipelines.common.runs import as_json
from pipelines.translation.config import Config
from pipelines.translation.model import make_model
from pipelines.translation.preprocessing import Preprocessing
from pipelines.translation.presets import PRESETS


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_go_through_json_and_build(preset):
    _, config = PRESETS[preset]
    assert from_json(Config, json.loads(json.dumps(as_json(config)))) == config
    assert str(config.run) == f"saved_models/translation/{preset}"
    vocabulary = Vocabulary([*GENERATION, "▁good", "▁day"])
    small = replace(config, units=4, embedding_units=6)  # in full size the tests would take gigabytes
    model = make_model(small, Preprocessing(vocabulary, vocabulary, **vars(small.text)))
    assert len(model.encoder) == len(model.decoder) == config.model.layers == (1 if "attention" in preset else 4)


def test_the_preset_has_the_values_of_the_paper():
    """Sutskever et al. 2014, section 3.4."""
    config = PRESETS["sutskever2014"][1]
    assert (config.model.layers, config.model.units, config.model.embedding_units) == (4, 1000, 1000)
    assert (config.vocabulary.source_vocabulary, config.vocabulary.target_vocabulary) == (160_000, 80_000)
    assert (
        config.regularization.initial_range,
        config.model.reverse,
        config.model.bidirectional,
        config.model.tied,
    ) == (0.08, True, False, False)
    assert (
        config.regularization.dropout,
        config.regularization.embedding_dropout,
        config.loss.label_smoothing,
        config.model.context,
    ) == (0, 0, 0, "none")
    training = config.training
    assert (training.optimizer, training.momentum, training.learning_rate) == ("sgd", 0, 0.7)
    assert (training.schedule, training.halving_from, training.halving_every) == ("halving", 5, 0.5)
    assert (training.epochs, config.data.batch_pairs, training.clip_norm, config.loss.loss_per) == (
        7.5,
        128,
        5,
        "sentence",
    )
    assert (config.search.beam_size, config.search.length_penalty) == (12, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "en"}, "--target is en, but must be a language other than --source, en"),
        ({"units": 5, "bidirectional": True}, "--units is 5, but must be even with --bidirectional"),
        ({"dropout": 1.0}, "--dropout is 1.0, but must be at least 0 and below 1"),
        ({"source_vocabulary": 4}, "--source-vocabulary is 4, but must be at least 5: four tokens are reserved"),
        ({"batch_tokens": 10}, "--batch-tokens is 10, but must be at least 202, twice --max-tokens and the end tokens"),
        ({"max_ratio": 0.5}, "--max-ratio is 0.5, but must be at least 1"),
        ({"teacher_probability": 2.0}, "--teacher-probability is 2.0, but must be from 0 to 1"),
        ({"teacher_updates": 0.5}, "--teacher-updates is 0.5, but must be at least 1"),
        ({"length_penalty": -1.0}, "--length-penalty is -1.0, but must be at least 0"),
        ({"softmax_samples": 0}, "--softmax-samples is 0, but must be at least 1"),
        ({"attention": "dot", "context": "max"}, "--context is max, but must be none with --attention"),
        ({"attention_input": True}, "--attention-input is True, but must be False without --attention"),
        (
            {"replace_unknown": True},
            "--replace-unknown is True, but must be False without --level word and --attention",
        ),
        ({"beam_size": 0}, "--beam-size is 0, but must be at least 1"),
    ],
)
def test_invalid_values(changes, message):
    with pytest.raises(UserError) as found:
        from_json(Config, changes)
    assert message in str(found.value)


def test_a_flat_configuration_of_version_0_1_is_read():
    flat = {"data": "multi30k", "source": "de", "target": "en", "units": 32, "training": {"epochs": 3}}
    config = from_json(Config, flat)
    assert (config.data.location, config.data.source, config.model.units) == ("multi30k", "de", 32)
    assert config.training.epochs == 3

import json

import pytest

from layers.text import RESERVED, Vocabulary
from pipelines.common.config import from_json, replace
from pipelines.common.errors import UserError
from pipelines.common.runs import as_json
from pipelines.sentiment.config import Config
from pipelines.sentiment.language_model.presets import PRESETS as LANGUAGE_MODELS
from pipelines.sentiment.model import make_model
from pipelines.sentiment.presets import PRESETS


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


def test_fine_tuning_keeps_the_pieces_but_not_their_teachers():
    config = PRESETS["imdb-reads"][1]
    tuned = config.for_fine_tuning(config.run)
    assert config.transfer.label_pieces and config.loss.calibrate_lengths
    assert tuned.augmentation == config.augmentation
    assert not (tuned.transfer.label_pieces or tuned.transfer.teachers or tuned.loss.calibrate_lengths)


def test_a_language_model_that_splits_negation_makes_the_classifier_split_it():
    _, learned = LANGUAGE_MODELS["imdb"]
    config = PRESETS["imdb"][1].starting_from(replace(learned, split_negation=True), learned.run)
    assert config.text.split_negation and not PRESETS["imdb"][1].text.split_negation


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
        ({"base_share": 1.0, "base": "run"}, "--base-share is 1.0, but must be at least 0 and below 1"),
        ({"base_share": 0.5}, "--base-share is 0.5, but must be 0 in train: it is an option of fine-tune"),
        ({"mixture": 0.5}, "--mixture is 0.5, but must be 0 in train: it is an option of fine-tune"),
        ({"layer_decay": 0.0}, "--layer-decay is 0.0, but must be above 0 and at most 1"),
        ({"init_from": "lm", "base": "run"}, "--init-from is lm, but fine-tune starts from the run run: expected one"),
        ({"pieces": 1.0}, "--pieces is 1.0, but must be at least 0 and below 1"),
        ({"piece_softness": -1.0}, "--piece-softness is -1.0, but must be at least 0"),
        ({"piece_noise": 0.5}, "--piece-noise is 0.5, but must be at least 0 and below 0.5"),
        ({"strong_word_dropout": 1.0}, "--strong-word-dropout is 1.0"),
        ({"calibrate": True, "calibrate_lengths": True}, "--calibrate-lengths is True, but must be False with --calib"),
        ({"label_pieces": True}, "--label-pieces is True, but must be False without --teachers and --pieces"),
        ({"unfreeze_every": 5}, "--unfreeze-every is 5, but must be below 5, so that the embeddings, the last of 2"),
    ],
)
def test_fields_out_of_range(changes, message):
    with pytest.raises(UserError, match=message):
        replace(Config(), **changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"units": "many"}}, "model.units is 'many'"),
        ({"transfer": {"teachers": [1]}}, "transfer.teachers is 1 in the configuration of the run, expected a path"),
    ],
)
def test_a_configuration_of_another_version(change, message):
    with pytest.raises(UserError, match=message):
        from_json(Config, {**as_json(Config()), **change})

import dataclasses
import inspect
import math
import re
import typing
from pathlib import Path

import pytest

from pipelines.captioning.config import Config as CaptioningConfig
from pipelines.common.config import from_json, groups
from pipelines.common.errors import UserError
from pipelines.common.runs import as_json
from pipelines.sentiment.config import Config as SentimentConfig
from pipelines.sentiment.language_model.config import Config as LanguageModelConfig
from pipelines.translation.config import Config as TranslationConfig
from pipelines.video.config import Config as VideoConfig

KINDS = [CaptioningConfig, SentimentConfig, LanguageModelConfig, TranslationConfig, VideoConfig]


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_has_a_help_text_and_a_name_of_its_own(kind):
    """The groups of a configuration share one command line."""
    names = [field.name for field in dataclasses.fields(kind)]
    for owner in [kind, *groups(kind).values()]:
        source = "".join(inspect.getsource(each) for each in owner.__mro__ if dataclasses.is_dataclass(each))
        for name in [field.name for field in dataclasses.fields(owner) if field.name not in groups(owner)]:
            names += [name] if owner is not kind else []
            assert re.search(rf'^    {name}: .*\n    """', source, re.MULTILINE), name
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("kind", KINDS)
def test_values_of_a_wrong_type_in_config_json_are_refused_by_name(kind):
    for group, names in groups(kind).items():
        for field, hint in typing.get_type_hints(names).items():
            default = as_json(kind())[group][field]
            for value in (None, True, 32.0, 3, "32", [], [[]], {}, math.nan, -math.inf, 10**400, [None]):
                stored = as_json(kind())
                stored[group][field] = value
                try:
                    from_json(kind, stored)
                    optional = type(None) in typing.get_args(hint)
                    good = type(value) is type(default) or optional or hint is float
                    assert good and (type(value) is not float or math.isfinite(value)), f"{field} is {value!r}"
                except UserError as error:
                    assert field in str(error) or field.replace("_", "-") in str(error)


def test_the_message_names_the_field_and_what_was_expected():
    for group, field, value, expected in [
        ("model", "units", 32.0, "model.units is 32.0 in the configuration of the run, expected an integer"),
        ("model", "cell", "gru", "model.cell is 'gru' in the configuration of the run, expected one of lstm, rnn"),
        ("model", "bidirectional", 1, "model.bidirectional is 1 in the configuration of the run, expected true or"),
        ("training", "epochs", "3", "training.epochs is '3' in the configuration of the run, expected a number"),
        (
            "model",
            "pooling",
            ["max", "sum"],
            "model.pooling is 'sum' in the .*, expected one of last, mean, max, attention",
        ),
    ]:
        with pytest.raises(UserError, match=expected):
            from_json(SentimentConfig, {group: {field: value}})


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_fields_are_refused_by_name(kind):
    for change, name in (({"colour": "red"}, "colour"), ({"training": {"speed": 3}}, "training.speed")):
        with pytest.raises(UserError, match=f"has an unknown field {name}"):
            from_json(kind, {**as_json(kind()), **change})


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not LanguageModelConfig])
def test_a_fine_tuned_run_is_beside_its_base(kind):
    assert kind().for_fine_tuning(Path("runs/one")).run == Path("runs/one-finetuned")

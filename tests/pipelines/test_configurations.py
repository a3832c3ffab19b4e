import dataclasses
import inspect
import re

import pytest

from pipelines.captioning.config import Config as CaptioningConfig
from pipelines.common.config import groups
from pipelines.sentiment.config import Config as SentimentConfig
from pipelines.sentiment.language_model.config import Config as LanguageModelConfig
from pipelines.translation.config import Config as TranslationConfig
from pipelines.video.config import Config as VideoConfig


@pytest.mark.parametrize(
    "kind", [CaptioningConfig, SentimentConfig, LanguageModelConfig, TranslationConfig, VideoConfig]
)
def test_every_field_has_a_help_text_and_a_name_of_its_own(kind):
    """The groups of a configuration share one command line."""
    names = [field.name for field in dataclasses.fields(kind)]
    for owner in [kind, *groups(kind).values()]:
        source = "".join(inspect.getsource(each) for each in owner.__mro__ if dataclasses.is_dataclass(each))
        for name in [field.name for field in dataclasses.fields(owner) if field.name not in groups(owner)]:
            names += [name] if owner is not kind else []
            assert re.search(rf'^    {name}: .*\n    """', source, re.MULTILINE), name
    assert len(set(names)) == len(names)

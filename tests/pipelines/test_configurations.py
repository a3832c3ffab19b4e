import dataclasses
import inspect

import pytest

from pipelines.captioning.config import Config as CaptioningConfig
from pipelines.common.config import groups
from pipelines.sentiment.config import Config as SentimentConfig
from pipelines.translation.config import Config as TranslationConfig
from pipelines.video.config import Config as VideoConfig


@pytest.mark.parametrize("kind", [CaptioningConfig, SentimentConfig, TranslationConfig, VideoConfig])
def test_every_field_has_a_help_text_and_a_name_of_its_own(kind):
    """The groups of a configuration share one command line."""
    names = [field.name for field in dataclasses.fields(kind)]
    for owner in [kind, *groups(kind).values()]:
        source = inspect.getsource(owner)
        for field in dataclasses.fields(owner):
            if owner is not kind:
                names.append(field.name)
            if field.name not in groups(owner) and f"\n    {field.name}: " in source:  # else of a base class
                declaration = source.split(f"\n    {field.name}: ")[1]
                assert declaration.split("\n")[1].strip().startswith('"""'), field.name
    assert len(set(names)) == len(names)

from pathlib import Path

from pipelines.common.card import options, yaml
from pipelines.common.config import replace
from pipelines.sentiment.presets import PRESETS

NESTED = {
    "license": "other",
    "tags": ["keras", 'a: "b" #\n'],
    "model-index": [
        {"name": "é", "results": [{"task": {"type": "x"}, "metrics": [{"value": 1.5}, {"value": 2, "name": "y"}]}]}
    ],
}
TEXT = """license: "other"
tags:
- "keras"
- "a: \\"b\\" #\\n"
model-index:
- name: "é"
  results:
  - task:
      type: "x"
    metrics:
    - value: 1.5
    - value: 2
      name: "y"
"""


def test_nested_lists_and_objects_in_yaml():
    assert yaml(NESTED) == TEXT


def test_the_arguments_that_change_a_preset():
    preset = PRESETS["imdb"][1]
    assert options(preset, preset) == []
    changed = replace(
        preset, run=Path("mine"), location="my data", pooling=("mean", "last"), bidirectional=False, units=3,
        calibrate=True, teachers=(Path("a"), Path("b c")), label_names=(),
    )  # fmt: skip
    assert " ".join(options(changed, preset)) == (
        "--data 'my data' --label-names --units 3 --no-bidirectional --pooling mean last --calibrate --teachers a 'b c'"
    )

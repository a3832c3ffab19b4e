"""The numeric functions of translation models, `encode` and `step`, for other runtimes; see docs/devices.md."""

import random
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from layers.text import GENERATION as RESERVED
from layers.text import PADDING, UNKNOWN, pad
from pipelines.common.data.sources import sample_files
from pipelines.common.serving.formats import Functions
from pipelines.common.serving.sequences import GENERATION, answers, encode_and_step
from pipelines.translation.model import Trained

SAMPLE_PAIRS = 8  # that the written files are compared on
MADE_UP = (1, 3, 8, 20)  # tokens of further sentences, drawn from the vocabularies


def functions(members: Sequence[Trained]) -> Functions:
    """Returns `encode`, of ids int32[batch, time] that PADDING follows, and `step` of models that share vocabularies;
    see `encode_and_step`."""
    first = members[0]
    languages = {"source": first.preprocessing.source, "target": first.preprocessing.target}

    def encode(ids):
        return [member.model.encode(ids) for member in members]

    return Functions(
        encode_and_step(
            tf.TensorSpec([None, None], tf.int32, name="ids"), encode, [member.model.step for member in members]
        ),
        {
            "task": "translation",
            "text": {**first.preprocessing.limits, "restore_case": first.preprocessing.restore_case},
            "padding": PADDING,
            "unknown": UNKNOWN,
            **GENERATION,
            "max_length": first.config.text.max_tokens,
            "vocabulary": {name: tokenizer.vocabulary.words for name, tokenizer in languages.items()},
        },
        lambda call: answers(call, pairs(first)),
    )


def pairs(trained: Trained) -> Iterator[tuple[dict[str, np.ndarray], list[int]]]:
    """Yields the ids of sources and of translations of the sample, in any language, and of made-up sentences."""
    source, target = trained.preprocessing.source, trained.preprocessing.target
    texts = [path.read_text("utf-8").splitlines()[:SAMPLE_PAIRS] for path in sample_files("translation", "test.*")]
    for text, translation in zip(*texts, strict=True) if texts else []:
        ids, _ = source.encode(tf.constant([text]))
        yield {"ids": pad(ids).numpy()}, target.encode(tf.constant([translation]))[0][0].numpy().tolist()
    draw, reserved = random.Random(0), len(RESERVED)
    for count in MADE_UP:
        drawn = [
            draw.choices(range(reserved, max(len(each.vocabulary), 1 + reserved)), k=count) for each in (source, target)
        ]
        yield {"ids": np.array([drawn[0]], np.int32)}, drawn[1]

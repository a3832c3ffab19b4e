"""The numeric function of a classifier, word ids to probabilities, for other runtimes; see docs/devices.md."""

import json
import random
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from layers.text import PADDING, RESERVED, UNKNOWN, pad
from pipelines.common.data.sources import sample_files
from pipelines.common.serving.formats import Call, Function, Functions
from pipelines.sentiment.model import Trained

SAMPLE_REVIEWS = 16  # that the written file is compared on
MADE_UP = (1, 2, 5, 10, 20, 40, 80)  # words of further texts, drawn from the vocabulary


def functions(members: Sequence[Trained]) -> Functions:
    """Returns the function `classify` of models with the same vocabulary and labels, whose probabilities it averages:
    ids int32[batch, time], followed by PADDING, to probabilities float32[batch, classes]."""
    first = members[0]

    def classify(ids):
        each = [tf.nn.softmax(member.model(ids, training=False)) for member in members]
        return {"probabilities": tf.add_n(each) / len(each)}

    def answers(call: Call) -> Iterator[np.ndarray]:
        for text in texts(first.preprocessing.vocabulary.words):
            ids, _ = first.preprocessing(tf.constant([text]))
            yield call("classify", {"ids": pad(ids).numpy()})["probabilities"]

    return Functions(
        [Function("classify", classify, [tf.TensorSpec([None, None], tf.int32, name="ids")])],
        {
            "task": "sentiment",
            "labels": first.names,
            "text": first.preprocessing.options,
            "padding": PADDING,
            "unknown": UNKNOWN,
            "vocabulary": first.preprocessing.vocabulary.words,
        },
        answers,
    )


def texts(words: Sequence[str]) -> list[str]:
    """Returns an empty text, reviews of the sample, and texts of the words of a vocabulary, always the same."""
    rows = [line for path in sample_files("sentiment", "test.jsonl") for line in path.read_text("utf-8").splitlines()]
    draw = random.Random(0)
    made_up = [" ".join(draw.choices(words[len(RESERVED) :] or ["-"], k=count)) for count in MADE_UP]
    return ["", *(json.loads(row)["text"] for row in rows[:SAMPLE_REVIEWS]), *made_up]

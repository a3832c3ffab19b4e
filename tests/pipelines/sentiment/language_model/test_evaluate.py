import math

import numpy as np
import pytest
import tensorflow as tf

from layers.text import END, GENERATION, START, Vocabulary
from pipelines.common.config import replace
from pipelines.sentiment.language_model.config import Config
from pipelines.sentiment.language_model.evaluate import Perplexity
from pipelines.sentiment.language_model.model import make_model
from pipelines.sentiment.word_ids import Texts

TEXTS = [[4, 5, 6], [], [7, 8, 9, 10, 4, 4, 4, 5, 1], [6]]
ENCODED = Texts(np.array([word for text in TEXTS for word in text], np.int32), np.cumsum([0, *map(len, TEXTS)]), 0)


@pytest.fixture(scope="module")
def model():
    config = replace(Config(), units=4, embedding_units=3, bidirectional=True)
    return make_model(config, Vocabulary([*GENERATION, *"abcdefg"]))


def test_perplexity_is_that_of_each_text_by_itself(model):
    """Against the model run word by word, on texts of any length."""
    total = 0.0
    for text in TEXTS:
        state = model.initial_state(1)["forward"]
        for word, target in zip([START, *text], [*text, END], strict=True):
            logits, state = model.step(tf.constant([word]), state)
            total -= float(tf.nn.log_softmax(logits)[0, target])
    scores = Perplexity(model, ENCODED, objective="next-word", max_words=0, seed=1)()
    assert scores["val_perplexity_forward"] == pytest.approx(math.exp(total / 17), rel=1e-5)


def test_no_more_words_are_used_than_the_maximum(model):
    few = Perplexity(model, ENCODED, objective="next-word", max_words=5, seed=1)
    assert few.steps.sum() <= 5

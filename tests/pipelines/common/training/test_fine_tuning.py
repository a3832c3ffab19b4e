import dataclasses

import keras
import numpy as np
import pytest

from layers.text import UNKNOWN
from pipelines.common.errors import UserError
from pipelines.common.training.fine_tuning import copy_weights, refuse_changes


def writer(words: int) -> keras.Model:
    return keras.Sequential([keras.Input((None,)), keras.layers.Embedding(words, 3), keras.layers.Dense(words)])


def test_known_words_keep_their_rows_and_new_ones_begin_as_the_unknown_one():
    learned, model = writer(6), writer(8)
    for weight in learned.weights:
        weight.assign(np.random.default_rng(1).normal(size=weight.shape))
    copy_weights(model, learned)
    (vectors, kernel, bias), (old_vectors, old_kernel, old_bias) = (each.get_weights() for each in (model, learned))
    np.testing.assert_array_equal(vectors[:6], old_vectors)
    np.testing.assert_array_equal(kernel[:, :6], old_kernel)
    np.testing.assert_array_equal(bias[:6], old_bias)
    for new in (6, 7):
        np.testing.assert_array_equal(vectors[new], old_vectors[UNKNOWN])
        np.testing.assert_array_equal(kernel[:, new], old_kernel[:, UNKNOWN])
        assert bias[new] == old_bias.min()


def test_another_model_is_refused():
    @dataclasses.dataclass
    class Config:
        cell: str = "lstm"
        embedding_units: int = 8
        epochs: int = 3

    refuse_changes(Config(epochs=4), Config(), ("cell", "embedding_units"))
    with pytest.raises(UserError, match="where it is 8"):
        refuse_changes(Config(embedding_units=4), Config(), ("cell", "embedding_units"))

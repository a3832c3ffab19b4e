import pytest
import tensorflow as tf

from layers.text import RESERVED, Vocabulary
from pipelines.sentiment.preprocessing import Preprocessing, learn_vocabulary

OPTIONS = {"lower_case": True, "max_words": 3, "max_characters": 20}


@pytest.fixture(scope="module")
def preprocessing():
    return Preprocessing(Vocabulary([*RESERVED, "good", "film"]), **OPTIONS)


def test_ids_and_cut_reviews(preprocessing):
    ids, cut = preprocessing(tf.constant(["Good<br />film!", "a b c d", "x" * 21, "", "good film !"]))
    assert ids.to_list() == [[2, 3, 1], [1, 1, 1], [1], [], [2, 3, 1]]
    assert cut.numpy().tolist() == [False, True, True, False, False]


def test_a_review_of_ten_megabytes_is_cut_and_counted(preprocessing):
    ids, cut = preprocessing(tf.constant(["good film " * 1_000_000, "good"]))
    assert ids.to_list() == [[2, 3, 2], [2]]
    assert cut.numpy().tolist() == [True, False]


def test_the_vocabulary_is_learned_from_the_words_that_are_not_cut():
    batches = tf.data.Dataset.from_tensor_slices(["Film a film late", "film<br />good"]).batch(1)
    for min_count, words in ((1, ["film", "a", "good"]), (2, ["film"])):
        vocabulary = learn_vocabulary(batches, vocabulary_size=10, min_count=min_count, **OPTIONS)
        assert vocabulary.words == [*RESERVED, *words]

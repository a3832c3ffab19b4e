import pytest
import tensorflow as tf

from layers.text import RESERVED, Vocabulary
from pipelines.sentiment.preprocessing import Preprocessing, learn_vocabulary, split_reviews

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
    reviews = ["Film a film late", "film<br />good"]
    for min_count, words in ((1, ["film", "a", "good"]), (2, ["film"])):
        vocabulary = learn_vocabulary(reviews, vocabulary_size=10, min_count=min_count, **OPTIONS)
        assert vocabulary.words == [*RESERVED, *words]


def split(text, **options):
    words, _ = split_reviews(tf.constant([text]), **{**OPTIONS, "max_words": 30, "max_characters": 200, **options})
    return " ".join(word.decode() for word in words[0].numpy())


def test_negation_is_one_word_whichever_apostrophe_it_has():
    assert split("isn't isn’t Don’t") == "isn't isn't don't"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It isn't bad, DON’T go.", "it is n't bad , do n't go ."),
        ("didn´t didn`t didnʼt didn‘t", "did n't did n't did n't did n't"),
        ("I cant, wont, didnt wasnt", "i ca n't , wo n't , did n't was n't"),
        ("He cannot (or couldn't) stop", "he can not ( or could n't ) stop"),
        ("is n't n't", "is n't n't"),
        (
            "isnter dentist giant cannots it's 'til the ants' nest",
            "isnter dentist giant cannots it's ' til the ants ' nest",
        ),
    ],
)
def test_negation_as_a_word_of_its_own(text, words):
    assert split(text, split_negation=True) == words


def test_the_case_of_a_negation_is_kept():
    assert split("DON'T Cannot", split_negation=True, lower_case=False) == "DO N'T Can not"

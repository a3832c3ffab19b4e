import numpy as np
import pytest
import tensorflow as tf

from layers.text import GENERATION, Vocabulary
from layers.tokenizer import Tokenizer
from pipelines.common.errors import UserError
from pipelines.translation import source_words
from pipelines.translation.source_words import SourceWords

SUBWORDS = [*GENERATION, "▁Ein", "▁Hund", "▁rennt", "▁Hünd", ".", "▁", "in", *"abdehikmnorstuüENDHRTU"]
WORDS = [*GENERATION, "▁Ein", "▁Hund", "▁rennt", "."]
TRAINING = ["Ein Hund rennt.", "Ein Hund"]


def examiner(words, level, training=TRAINING, **options) -> SourceWords:
    source = SourceWords(Tokenizer(Vocabulary(words), level, **options), None)
    return SourceWords(source.tokenizer, source.learn_seen([tf.constant(training)]) if training else None)


def unknown(found) -> list[list[str]]:
    return [[word.decode() for word in row if word] for row in found[1]["unknown"].numpy()]


@pytest.fixture(scope="module")
def subwords():
    return examiner(SUBWORDS, "subword")


def test_words_with_a_token_outside_the_vocabulary_are_unknown(subwords):
    assert unknown(subwords(tf.constant(["Ein Hund rennt.", "Ein Yak rennt!", ""]))) == [[], ["Yak", "!"], []]
    of_words = examiner(WORDS, "word")
    assert unknown(of_words(tf.constant(["Ein Hund rennt.", "Eine Katze."]))) == [[], ["Eine", "Katze"]]


def test_a_word_of_many_tokens_is_unknown_unless_training_has_seen_it(subwords):
    """ "Hündin" has two tokens, "runter" six."""
    found = subwords(tf.constant(["Ein Hündin rennt runter"]))
    assert unknown(found) == [["runter"]]
    again = SourceWords(subwords.tokenizer, subwords.learn_seen([tf.constant(["runter"])]))
    assert unknown(again(tf.constant(["Ein Hündin rennt runter"]))) == [[]]
    assert unknown(again(tf.constant(["Ein RUNTER rennt", "RUNTER"]))) == [[], []]  # whatever its case


def test_without_the_words_of_training_only_those_outside_are_unknown():
    evidence, outputs = examiner(SUBWORDS, "subword", training=())(tf.constant(["Ein Yak rennt runter"]))
    assert evidence == {} and outputs["unknown"].numpy().tolist() == [[b"Yak"]]


def test_the_evidence_by_hand(subwords):
    evidence, _ = subwords(tf.constant(["Ein Hund rennt.", "ein hund hündin", "Hund", ""]))
    found = {name: values.numpy().tolist() for name, values in evidence.items()}
    assert found["unseen_words"] == pytest.approx([0, 1 / 3, 0, 0])
    assert found["unseen_pairs"] == pytest.approx([0, 1 / 2, 0, 0])  # "hund hündin"
    assert np.exp(found["log_words"]) == pytest.approx([5, 4, 2, 1])


def test_other_spellings_and_cases_of_a_word_are_that_word():
    one = examiner([*GENERATION, "▁isn't", "▁é"], "word", training=["ISN’T é"])
    evidence, _ = one(tf.constant(["isn't É", "isn’t e\u0301"]))
    assert evidence["unseen_words"].numpy().tolist() == evidence["unseen_pairs"].numpy().tolist() == [0, 0]


def test_any_batch(subwords):
    assert subwords(tf.constant([], tf.string))[1]["unknown"].shape == [0, 0]
    assert subwords(tf.constant([b"\xff\xfe", " \n "]))[1]["unknown"].shape[0] == 2


def test_the_file_of_a_run(subwords, tmp_path):
    assert source_words.load_seen(tmp_path) is None
    source_words.save_seen(tmp_path, subwords.seen)
    np.testing.assert_array_equal(source_words.load_seen(tmp_path).table, subwords.seen.table)
    for content in (b"", b"no array", (tmp_path / "seen_words.npy").read_bytes()[:-1]):
        (tmp_path / "seen_words.npy").write_bytes(content)
        with pytest.raises(UserError, match=r"seen_words.npy is damaged: expected an array of bytes"):
            source_words.load_seen(tmp_path)

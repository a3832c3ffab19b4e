import random
import re

import hypothesis
import hypothesis.strategies as st
import pytest
import tensorflow as tf

from layers.subwords import LONGEST, byte_pairs, learn_subwords, longest_matches
from layers.text import GENERATION, Vocabulary
from layers.tokenizer import cut_pieces

# the example of the paper on byte-pair encoding
PAPER = {"low": 5, "lower": 2, "newest": 6, "widest": 3}


def cut(pieces, subwords):
    ragged = cut_pieces(tf.constant(pieces, tf.string), Vocabulary([*GENERATION, *subwords]))
    return [[subword.decode() for subword in row] for row in ragged.to_list()]


def test_the_longest_match_from_the_left():
    assert cut(["▁unfolded", "▁un", "xfold"], ["▁", "▁un", "fold", "folde", "d", "▁unf", "x"]) == [
        ["▁unf", "o", "l", "d", "e", "d"],  # what a look ahead would find, ▁un fold, is not the longest
        ["▁un"],
        ["x", "fold"],
    ]


def test_no_pieces():
    assert cut([], ["a"]) == []


def test_a_character_that_begins_no_subword_stands_alone():
    assert cut(["aßßb"], ["a", "b", "ßx"]) == [["a", "ß", "ß", "b"]]


VOCABULARIES = [("a",), ("a", "é", "aé", "éa", "ééé"), ("aß😀", "😀", "aa", "aaa", "éß", "ß")]


@pytest.fixture(scope="module")
def cutters():
    """For each of the vocabularies, one graph: pieces to subwords."""

    def cutter(subwords):
        vocabulary = Vocabulary([*GENERATION, *subwords])
        signature = [tf.TensorSpec([None], tf.string)]
        return tf.function(lambda pieces: cut_pieces(pieces, vocabulary), input_signature=signature)

    return {subwords: cutter(subwords) for subwords in VOCABULARIES}


PIECES = st.lists(st.text("aéß😀", min_size=1, max_size=12), min_size=1, max_size=5)


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(PIECES, st.sampled_from(VOCABULARIES))
def test_matches_are_those_of_a_regular_expression(cutters, pieces, subwords):
    pattern = "|".join([*sorted(subwords, key=len, reverse=True), "."])
    expected = [re.findall(pattern, piece) for piece in pieces]
    found = cutters[subwords](tf.constant(pieces)).to_list()
    assert [[subword.decode() for subword in row] for row in found] == expected
    assert [list(longest_matches(piece, subwords)) for piece in pieces] == expected


def test_byte_pairs_of_the_paper():
    first = byte_pairs(PAPER, 4)
    assert first[0] in ("es", "st")  # both occur 9 times
    assert [*first[1:]] == ["est", "lo", "low"]


def test_learned_subwords_are_the_most_used_first():
    subwords = learn_subwords(PAPER, 14)
    used = dict.fromkeys(subwords, 0)
    for piece, count in PAPER.items():
        for subword in longest_matches(piece, subwords):
            used[subword] += count
    assert subwords == sorted(subwords, key=lambda subword: (-used[subword], subword))
    assert len(subwords) <= 14
    assert set("lowernewestwidest") <= set(subwords)
    assert "low" in subwords and "lo" not in subwords  # lo is in low alone, which is longer


def test_the_order_of_the_pieces_does_not_matter():
    pieces = {"".join(random.Random(seed).choices("abcdeé", k=2 + seed % 7)): 1 + seed % 5 for seed in range(300)}
    shuffled = list(pieces.items())
    random.Random(0).shuffle(shuffled)
    assert learn_subwords(pieces, 100) == learn_subwords(dict(shuffled), 100)


def test_rare_characters_stay_unknown_and_no_subword_goes_across_them():
    subwords = learn_subwords({"▁ab€ab": 1, "▁ab": 3, "▁x": 2}, 50, min_count=2)
    assert "€" not in subwords
    assert {"▁", "a", "b", "x"} <= set(subwords)
    assert list(longest_matches("▁ab€ab", subwords)) == ["▁ab", "€", "a", "b"]  # ab by itself was used once


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ({}, []),
        ({"▁": 1}, ["▁"]),
        ({"▁▅": 2, "▅": 1}, ["▅", "▁"]),  # the sign that sentencepiece keeps for itself
        ({"中": 1, "国": 2}, ["国", "中"]),
    ],
)
def test_what_has_no_pairs(pieces, expected):
    assert learn_subwords(pieces, 10) == expected


def test_a_subword_is_not_too_long():
    assert max(map(len, learn_subwords({"a" * 15 + "bcde" * 20: 5, "▁" + "xyz" * 10: 5}, 200))) <= LONGEST


def test_there_are_as_many_subwords_as_characters_at_least():
    assert learn_subwords({"ab": 1, "a": 1}, 2) == ["a", "b"]
    with pytest.raises(ValueError, match="2 subwords are fewer than the 3 characters that occur 1 times or more"):
        learn_subwords({"abc": 1}, 2)

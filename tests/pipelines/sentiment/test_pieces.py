import numpy as np
import pytest

from layers.text import RESERVED, Vocabulary
from pipelines.sentiment.pieces import Pieces, certainty, draw_all, known_words, log_uniform, soft_targets, take
from pipelines.sentiment.word_ids import LabelledTexts

VOCABULARY = Vocabulary([*RESERVED, ".", "!", *"abcdefghij"])
REVIEWS = ["a b . . . c d e ! f g", "h i j a b c d e f g", "a", "", ". b", "c ! ! d e . f . g h i . j"]


def make_texts(reviews=REVIEWS, classes=2) -> LabelledTexts:
    ids = [[VOCABULARY.words.index(word) for word in review.split()] for review in reviews]
    splits = np.cumsum([0, *map(len, ids)])
    targets = np.eye(classes, dtype=np.float32)[np.arange(len(reviews)) % classes]
    return LabelledTexts(np.concatenate(ids).astype(np.int32), splits, 0, targets)


def words(texts, row) -> str:
    return " ".join(VOCABULARY.words[n] for n in texts.ids[texts.splits[row] : texts.splits[row + 1]])


def test_a_piece_is_some_whole_sentences_or_a_part_of_one():
    sentences = [
        ["a b . . .", "c d e !", "f g"],
        [REVIEWS[1]],
        ["a"],
        [],
        [".", "b"],
        ["c ! !", "d e .", "f .", "g h i .", "j"],
    ]
    texts = make_texts()
    pieces = Pieces(texts, VOCABULARY, seed=1)
    seen = [set() for _ in REVIEWS]
    for epoch in range(600):
        spans = pieces.draw(epoch)
        found = take(texts, spans)
        for row, whole in enumerate(REVIEWS):
            piece = words(found, row)
            seen[row].add(piece)
            assert spans.is_piece[row] == (piece != whole)
    for row, parts in enumerate(sentences):
        runs = {" ".join(parts[i:j]) for i in range(len(parts)) for j in range(i + 1, len(parts) + 1)}
        inner = {" ".join(part.split()[i:j]) for part in parts for i in range(20) for j in range(i + 1, 20)} - {""}
        assert seen[row] <= runs | inner | {REVIEWS[row]}
        if len(parts) > 1:
            assert seen[row] >= runs - {REVIEWS[row]}
            assert seen[row] & (inner - runs) or row == 4
    assert len(seen[1]) > 30  # of one sentence: its parts
    assert seen[2] == {"a"} and seen[3] == {""}


def test_pieces_depend_on_seed_and_epoch_alone():
    texts = make_texts(REVIEWS * 5)
    pieces = Pieces(texts, VOCABULARY, seed=1)
    first = pieces.draw(3, 0.5)
    pieces.draw(4, 0.5)
    again = Pieces(texts, VOCABULARY, seed=1).draw(3, 0.5)
    for name in ("begins", "ends", "is_piece"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    for other in (pieces.draw(4, 0.5), Pieces(texts, VOCABULARY, seed=2).draw(3, 0.5)):
        assert (first.begins != other.begins).any()


def test_the_share_of_pieces_and_the_lengths():
    texts = make_texts([REVIEWS[0]] * 4000)
    spans = Pieces(texts, VOCABULARY, seed=1).draw(0, 0.3)
    assert spans.is_piece.mean() == pytest.approx(0.3, abs=0.03)
    assert (spans.lengths[~spans.is_piece] == 11).all()
    numbers = log_uniform(np.random.default_rng(0).random(10_000), np.full(10_000, 9))
    assert (numbers.min(), numbers.max()) == (1, 9)
    assert (numbers == 1).mean() == pytest.approx(np.log10(2), abs=0.02)


def test_targets_are_the_softer_the_shorter_a_piece_is():
    texts = make_texts()
    spans = Pieces(texts, VOCABULARY, seed=1).draw(0)
    found = soft_targets(texts, spans, softness=5)
    for row, (target, length) in enumerate(zip(texts.targets, spans.lengths, strict=True)):
        c = length / (length + 5) if spans.is_piece[row] else 1
        np.testing.assert_allclose(found[row], c * target + (1 - c) / 2, rtol=1e-6)
    beliefs = np.full((6, 2), [0.9, 0.1])
    rows = np.flatnonzero(spans.is_piece)
    c = (spans.lengths / (spans.lengths + 5))[rows, None]
    taught = soft_targets(texts, spans, 5, beliefs)
    np.testing.assert_allclose(taught[rows], c * texts.targets[rows] + (1 - c) * [0.9, 0.1], rtol=1e-6)
    np.testing.assert_array_equal(taught[~spans.is_piece], texts.targets[~spans.is_piece])
    np.testing.assert_array_equal(soft_targets(texts, spans, 0), texts.targets)
    assert taught.dtype == found.dtype == np.float32
    np.testing.assert_allclose(certainty(np.array([0, 1, 5]), 5), [0, 1 / 6, 1 / 2])


def test_many_pieces_of_each_text():
    texts = make_texts()
    found = draw_all(texts, VOCABULARY, seed=1, draws=50)
    assert 50 * 3 < len(found) < 50 * 4  # of four texts; a part of the one sentence may be all of it
    assert found.labels.mean() == pytest.approx(0.5, abs=0.1)
    assert found.lengths.min() >= 1 and found.splits[-1] == len(found.ids)
    assert len(draw_all(make_texts(["a", ""]), VOCABULARY, 1, 3)) == 0


def test_known_words():
    texts = LabelledTexts(np.array([1, 5, 1, 4, 1]), np.array([0, 3, 3, 4, 5]), 0, np.eye(2)[[0, 1, 0, 1]])
    np.testing.assert_array_equal(known_words(texts, 1), [1, 0, 1, 0])

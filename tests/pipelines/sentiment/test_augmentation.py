import numpy as np
import pytest

from layers.text import RESERVED, UNKNOWN, Vocabulary
from pipelines.sentiment.augmentation import Augmentation, find_strong_words
from pipelines.sentiment.word_ids import LabelledTexts

VOCABULARY = Vocabulary([*RESERVED, ".", "good", "bad", "film", "the"])
GOOD, BAD, FILM, THE = 3, 4, 5, 6


def make_texts(number=400) -> LabelledTexts:
    """Of every fifth text the strong word is that of the other label."""
    rows = [[THE, FILM, 2, (GOOD, BAD)[(row + (row % 5 == 0)) % 2], THE, FILM] for row in range(number)]
    return LabelledTexts(
        np.array(rows, np.int32).ravel(),
        6 * np.arange(number + 1),
        0,
        np.eye(2, dtype=np.float32)[np.arange(number) % 2],
    )


def augment(texts, **changes) -> Augmentation:
    options = {"pieces": 0.0, "piece_softness": 10.0, "strong_word_dropout": 0.0, "seed": 1}
    return Augmentation(texts, VOCABULARY, **(options | changes))


def test_strong_words_are_those_of_one_label():
    strong = find_strong_words(make_texts(), len(VOCABULARY))
    assert strong.tolist() == [False, False, False, True, True, False, False]
    assert not find_strong_words(make_texts(8), len(VOCABULARY)).any()  # may be chance


def test_an_epoch_without_augmentation_is_the_texts_themselves():
    texts = make_texts()
    assert augment(texts).epoch(0) is texts


def test_strong_words_are_dropped_from_whole_reviews():
    texts = make_texts()
    augmentation = augment(texts, strong_word_dropout=0.3)
    found = augmentation.epoch(2)
    dropped = found.ids != texts.ids
    assert set(found.ids[dropped]) == {UNKNOWN}
    assert set(texts.ids[dropped]) == {GOOD, BAD}
    assert dropped.sum() / 400 == pytest.approx(0.3, abs=0.07)
    np.testing.assert_array_equal(augmentation.epoch(2).ids, found.ids)
    assert (augmentation.epoch(3).ids != found.ids).any()
    np.testing.assert_array_equal(found.targets, texts.targets)


def test_pieces_with_beliefs_and_dropped_words():
    texts = make_texts()
    augmentation = augment(texts, pieces=0.5, piece_softness=2.0, strong_word_dropout=0.5)
    plain = augmentation.epoch(1)
    augmentation.beliefs = np.zeros((2, 400, 2), np.float32)
    augmentation.beliefs[1] = [1, 0]
    found, spans = augmentation.epoch(1), augmentation.draw(1)
    assert len(found) == 400 and 100 < spans.is_piece.sum() < 300
    np.testing.assert_array_equal(found.ids, plain.ids)
    is_piece = np.repeat(spans.is_piece, found.lengths)
    assert not (found.ids[is_piece] == UNKNOWN).any()
    assert (found.ids[~is_piece] == UNKNOWN).any()
    np.testing.assert_array_equal(found.lengths, spans.lengths)
    assert (found.targets[spans.is_piece, 0] > plain.targets[spans.is_piece, 0]).all()
    np.testing.assert_array_equal(found.targets[~spans.is_piece], texts.targets[~spans.is_piece])

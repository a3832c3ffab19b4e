"""Every score against a case worked out by hand and a second, slow implementation."""

import itertools
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import sacrebleu

from pipelines.captioning.scores import all_scores, bleu, cider_d, longest_common, novel, rouge_l, words_of
from tests import killing


def split(*texts):
    return [text.split() for text in texts]


def test_words_are_split_as_in_coco_caption():
    assert words_of("A dog's ball.") == ["a", "dog", "'s", "ball"]
    assert words_of("a dog 's ball") == ["a", "dog", "'s", "ball"]
    assert words_of("The man isn’t well-dressed; he said: \"no!\" (twice), didn't he?") == [
        "the", "man", "is", "n't", "well-dressed", "he", "said", "no", "twice", "did", "n't", "he",
    ]  # fmt: skip
    assert words_of("two - three -- 4.5 & red/blue ...") == ["two", "three", "4.5", "&", "red", "/", "blue"]
    assert words_of(" .,!? ") == []


def test_bleu_by_hand():
    """Papineni et al. 2002, the example of section 2.1, and a brevity penalty."""
    caption = split("the the the the the the the")
    references = [split("the cat is on the mat", "there is a cat on the mat")]
    assert bleu(caption, references)[0] == pytest.approx(2 / 7, rel=1e-6)
    # 3 of 3 words, 2 of 2 pairs, 1 of 1 triples; 3 words against 4 (nearest; of 2 and 4, equally near, the shorter)
    found = bleu(split("a b c"), [split("a b c d")])
    assert found[:3] == pytest.approx([math.exp(1 - 4 / 3)] * 3, rel=1e-6)
    assert found[3] == pytest.approx(math.exp(1 - 4 / 3) * (1e-15 / 1e-9) ** (1 / 4), rel=1e-3)  # no group of four
    assert bleu(split("a b c"), [split("a b", "a b c d")])[0] == pytest.approx(1, rel=1e-6)


WORDS = ["a", "dog", "runs", "on", "grass", "the"]


def draw(seed: int, images: int = 12):
    random = np.random.default_rng(seed)

    def sentence():
        return random.choice(WORDS, random.integers(4, 10)).tolist()

    return [sentence() for _ in range(images)], [[sentence() for _ in range(5)] for _ in range(images)]


@pytest.mark.parametrize("seed", range(4))
def test_bleu_equals_sacrebleu(seed):
    captions, references = draw(seed)
    texts = [" ".join(words) for words in captions]
    streams = [[" ".join(each[number]) for each in references] for number in range(5)]
    for n, score in enumerate(bleu(captions, references), start=1):
        metric = sacrebleu.BLEU(tokenize="none", smooth_method="none", max_ngram_order=n)
        assert 100 * score == pytest.approx(metric.corpus_score(texts, streams).score, rel=1e-5, abs=0.01)


def test_cider_by_hand():
    """Two images, one reference each; the n-grams of one occur in one image alone, so each weighs log 2. A caption that
    equals its reference has 10; one that shares no n-gram has 0."""
    captions, references = split("a b c d e", "x y z"), [split("a b c d e"), split("u v w s")]
    assert cider_d(captions, references) == pytest.approx([10, 0])
    # 3 of 4 words: with equal weights the product over both norms is 3/4 for single words, 2/3 for pairs, 1/2 for
    # triples and 0 for fours; lengths are equal.
    captions, references = split("a b c x", "p q r s"), [split("a b c d"), split("p q r s")]
    by_hand = 10 / 4 * (3 / math.sqrt(3 * 4) + 2 / math.sqrt(2 * 3) + 1 / math.sqrt(1 * 2))
    # (x, c x, b c x and a b c x occur in no reference: their frequency counts as one image, so they weigh as much)
    by_hand = 10 / 4 * (3 / 4 + 2 / 3 + 1 / 2)
    assert cider_d(captions, references)[0] == pytest.approx(by_hand)


def slow_cider(captions, references):
    """Vedantam et al. 2015, written as vectors over all n-grams there are."""

    def grams(words, n):
        return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]

    scores = np.zeros(len(captions))
    for n in range(1, 5):
        every = sorted({g for words in [*captions, *itertools.chain(*references)] for g in grams(words, n)})
        frequency = [sum(any(g in grams(other, n) for other in each) for each in references) for g in every]
        weight = np.log(len(references) / np.maximum(frequency, 1))

        def vector(words, n=n, every=every, weight=weight):
            return np.array([grams(words, n).count(g) for g in every]) * weight

        for i, (mine, others) in enumerate(zip(captions, references, strict=True)):
            for other in others:
                g, h = vector(mine), vector(other)
                norms = np.linalg.norm(g) * np.linalg.norm(h)
                if norms:
                    near = np.exp(-((len(mine) - len(other)) ** 2) / 72)
                    scores[i] += 10 / 4 / len(others) * near * np.minimum(g, h) @ h / norms
    return scores


@pytest.mark.parametrize("seed", range(3))
def test_cider_equals_a_slow_implementation(seed):
    captions, references = draw(seed)
    captions[0] = references[0][2]
    found = cider_d(captions, references)
    np.testing.assert_allclose(found, slow_cider(captions, references), rtol=1e-9)
    assert found[0] > 1


ONE = """
import random
from pipelines.captioning.scores import cider_d
draw = random.Random(1)
captions = [[draw.choice("abcdefghij") for _ in range(20)] for _ in range(60)]
print(cider_d(captions, [[captions[(row + 1) % 60], captions[(row + 2) % 60]] for row in range(60)]))
"""


@pytest.mark.extra
def test_cider_is_the_same_to_the_last_digit_in_every_process():
    """Words are hashed otherwise in each, which a run that goes on must not notice."""
    found = {
        subprocess.run(
            [sys.executable, "-c", ONE], cwd=killing.ROOT, env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in (1, 2, 3)
    }  # fmt: skip
    assert len(found) == 1


def test_cider_of_a_caption_that_repeats_itself_is_clipped():
    captions, references = split("a a a a", "p q"), [split("a b c d"), split("p q")]
    assert cider_d(captions, references)[0] == pytest.approx(10 / 4 * 1 / (4 * 2))


def slow_common(a, b):
    if not a or not b:
        return 0
    if a[0] == b[0]:
        return 1 + slow_common(a[1:], b[1:])
    return max(slow_common(a[1:], b), slow_common(a, b[1:]))


def test_rouge_by_hand_and_by_a_slow_implementation():
    # common subsequence "police the gunman" (Lin 2004): P = 3/4, R = 3/4
    assert rouge_l(split("police kill the gunman"), [split("police killed the gunman")]) == pytest.approx(3 / 4)
    # the best precision and the best recall may come from different references
    found = rouge_l(split("a b c d"), [split("a b", "a b c x y z u v")])
    assert found == pytest.approx((1 + 1.44) * (3 / 4) * 1 / (1 + 1.44 * 3 / 4))
    assert rouge_l(split("a"), [split("b")]) == 0
    captions, references = draw(5, 3)
    for mine, others in zip(captions, references, strict=True):
        for other in others:
            assert longest_common(mine, other) == slow_common(mine, other)


def test_all_scores_of_texts():
    scores = all_scores(["A dog runs.", "", "a cat"], [["a dog runs", "no"], ["a bird sings"], ["two cats sleep"]])
    assert list(scores) == [
        "bleu1", "bleu2", "bleu3", "bleu4", "cider", "rouge_l", "exact_match", "distinct_words",
    ]  # fmt: skip
    assert scores["exact_match"] == pytest.approx(1 / 3) and scores["distinct_words"] == 4
    assert all(value >= 0 for value in scores.values())
    assert all_scores(["", ""], [["a"], ["b"]])["bleu4"] == pytest.approx(0, abs=1e-9)
    assert novel(["A dog runs .", "a cat"], ["a dog runs", "a bird"]) == 0.5

"""The sentiment sample is balanced, its test part has new combinations, and counting words does not solve it."""

import json
import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

SPLITS = {"train": 2550, "validation": 400, "test": 400}
ADJECTIVES = """
good great wonderful charming brilliant moving funny clever beautiful gripping delightful superb
bad terrible awful dull boring silly weak clumsy tedious lifeless dreadful poor
"""


@pytest.fixture(scope="module")
def reviews(samples):
    return {split: read(samples / "sentiment" / f"{split}.jsonl") for split in SPLITS}


def read(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def words(text):
    return re.findall(r"\w+|[^\w\s]", text.lower())


def test_sizes_labels_and_no_text_twice(reviews, samples):
    assert {split: len(rows) for split, rows in reviews.items()} == SPLITS
    for rows in reviews.values():
        assert Counter(row["label"] for row in rows) == {"negative": len(rows) // 2, "positive": len(rows) // 2}
    texts = [row["text"] for rows in reviews.values() for row in rows]
    assert len(texts) == len(set(texts))
    assert sum(path.stat().st_size for path in (samples / "sentiment").iterdir()) < 500_000


def test_no_group_is_in_two_parts(reviews):
    groups = {split: {row["group"] for row in rows} for split, rows in reviews.items()}
    assert not groups["train"] & groups["test"] and not groups["train"] & groups["validation"]
    assert not groups["validation"] & groups["test"]


def frames_of_adjectives(rows):
    """Returns (clause without its noun, adverb and adjective; adjective) of every judging clause."""
    pairs = set()
    for row in rows:
        for clause in re.split(r"[.,]| and ", row["text"].lower()):
            clause = re.sub(r"^\s*(although|even though|but)\s", "", f" {clause}".strip() + " ").strip()
            for adjective in set(clause.split()) & set(ADJECTIVES.split()):
                frame = re.sub(r"\b(very|truly|absolutely|really|slightly|somewhat|a little) ", "", clause)
                frame = re.sub(
                    r"\b(film|story|plot|cast|ending|script|hero|score|opening|finale|villain)\b", "…", frame
                )
                pairs.add((re.sub(rf"\ban? {adjective}|\b{adjective}", "_", frame), adjective))
    return pairs


def test_every_test_clause_is_a_new_combination_of_adjective_and_frame(reviews):
    train, test = frames_of_adjectives(reviews["train"]), frames_of_adjectives(reviews["test"])
    assert len({frame for frame, _ in train}) == 18  # the patterns above found the frames, and nothing else
    assert not train & test
    assert {frame for frame, _ in test} <= {frame for frame, _ in train}
    assert {adjective for _, adjective in test} <= {adjective for _, adjective in train}
    assert not train & frames_of_adjectives(reviews["validation"])


def test_every_word_of_the_test_part_is_in_training(reviews):
    known = {word for row in reviews["train"] for word in words(row["text"])}
    assert not {word for row in reviews["test"] for word in words(row["text"])} - known


@pytest.mark.parametrize("order", [1, 2])
def test_a_bag_of_words_or_of_word_pairs_fails(reviews, order):
    """Naive Bayes on words (and pairs of words, with order 2) with add-one smoothing is near chance."""

    def features(text):
        tokens = words(text)
        return set(tokens) | (set(pairwise(tokens)) if order == 2 else set())

    counts = {"negative": Counter(), "positive": Counter()}
    for row in reviews["train"]:
        counts[row["label"]].update(features(row["text"]))
    size = len(counts["negative"] | counts["positive"])
    totals = {label: sum(count.values()) + size for label, count in counts.items()}

    def score(text, label):
        return sum(np.log((counts[label][feature] + 1) / totals[label]) for feature in features(text))

    right = [max(counts, key=lambda label: score(row["text"], label)) == row["label"] for row in reviews["test"]]
    assert np.mean(right) < 0.75


def test_the_sentences_of_the_demo_are_in_no_file(root, reviews):
    demo = (root / "Makefile").read_text("utf-8").split("pipelines.sentiment predict --model $(runs)/")[1]
    sentences = re.findall(r'^\t    "([A-Z][^"]+)"', demo.split("$(python)")[0], flags=re.MULTILINE)
    assert len(sentences) >= 3
    texts = "\n".join(row["text"].lower() for rows in reviews.values() for row in rows)
    assert [sentence for sentence in sentences if sentence.lower() in texts] == []
    known = {word for row in reviews["train"] for word in words(row["text"])}
    assert {word for sentence in sentences for word in words(sentence)} <= known

import unicodedata

import numpy as np
import pytest

from layers.text import GENERATION, Vocabulary
from pipelines.translation import dataset, noise
from pipelines.translation.pairs import Pairs
from pipelines.translation.preprocessing import Preprocessing

SENTENCE = "Zwei Männer grüßen ein Mädchen im Café."
LIMITS: dict = {"level": "subword", "lower_case": False, "max_characters": 100, "max_tokens": 60}


def preprocessing(restore_case: bool = False) -> Preprocessing:
    characters = sorted({*"▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZäöüßéÄÖÜ.!"})
    vocabulary = Vocabulary([*GENERATION, *characters])
    return Preprocessing(vocabulary, vocabulary, restore_case=restore_case, **LIMITS)


def encoded(number: int) -> dataset.Encoded:
    pairs = Pairs(
        [f"{SENTENCE} {'a' * (row % 7)}" for row in range(number)], [f"b{'c' * row}" for row in range(number)]
    )
    return dataset.encode(pairs, preprocessing(), max_ratio=1000)


def distance(one: str, other: str) -> int:
    """Edits between two texts, where swapping two neighbours is one edit (optimal string alignment)."""
    costs = np.zeros((len(one) + 1, len(other) + 1), int)
    costs[:, 0], costs[0] = range(len(one) + 1), range(len(other) + 1)
    for i in range(1, len(one) + 1):
        for j in range(1, len(other) + 1):
            change = costs[i - 1, j - 1] + (one[i - 1] != other[j - 1])
            costs[i, j] = min(change, costs[i - 1, j] + 1, costs[i, j - 1] + 1)
            if i > 1 and j > 1 and one[i - 1] == other[j - 2] and one[i - 2] == other[j - 1]:
                costs[i, j] = min(costs[i, j], costs[i - 2, j - 2] + 1)
    return int(costs[-1, -1])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (noise.lower_case, "zwei männer grüßen ein mädchen im café."),
        (noise.capitals, "ZWEI MÄNNER GRÜSSEN EIN MÄDCHEN IM CAFÉ."),
        (noise.without_final_punctuation, SENTENCE[:-1]),
        (noise.without_accents, "Zwei Maenner gruessen ein Maedchen im Cafe."),
        (noise.decomposed, unicodedata.normalize("NFD", SENTENCE)),
    ],
)
def test_kinds_of_noise(kind, expected):
    assert kind(SENTENCE) == expected
    assert kind("") == ""


def test_a_typo_is_one_edit_and_keeps_the_first_letters():
    random = np.random.default_rng(0)
    texts = [noise.with_typo(SENTENCE, random) for _ in range(300)]
    assert {distance(text, SENTENCE) for text in texts} == {1}
    assert len(set(texts)) > 50
    assert all(text.startswith("Z") and " M" in text and " g" in text for text in texts)
    assert noise.with_typo("a bc", random) == "a bc"  # no word of four letters


def rows_of(pairs: dataset.Encoded) -> list[list[int]]:
    """The ids of each source."""
    return [row.tolist() for row in np.split(pairs.sources.ids, pairs.sources.splits[1:-1])]


def test_noise_is_drawn_anew_in_every_epoch_and_again_after_a_restart():
    pairs, options = encoded(200), {"preprocessing": preprocessing(), "share": 0.5}
    first = noise.with_noise(pairs, seed=1, epoch=0, **options)
    again, next_epoch, other_seed = (
        noise.with_noise(pairs, seed=seed, epoch=epoch, **options) for seed, epoch in ((1, 0), (1, 1), (2, 0))
    )
    np.testing.assert_array_equal(first.sources.ids, again.sources.ids)
    assert rows_of(first) != rows_of(next_epoch)
    assert rows_of(first) != rows_of(other_seed)


def test_a_share_of_the_sources_changes_and_no_target():
    pairs = encoded(400)
    noisy = noise.with_noise(pairs, preprocessing(), share=0.3, seed=0, epoch=0)
    before, after = (rows_of(each) for each in (pairs, noisy))
    changed = np.mean([one != other for one, other in zip(before, after, strict=True)])
    assert 0.2 < changed < 0.36
    assert noisy.targets is pairs.targets
    assert len(noisy) == len(pairs)
    assert (noisy.sources.lengths > 0).all()


def test_a_source_that_noise_makes_too_long_remains():
    sentence = "ä" * 60 + " a"
    pairs = dataset.encode(Pairs([sentence[:58]] * 50, ["b"] * 50), preprocessing(), max_ratio=1000)
    noisy = noise.with_noise(pairs, preprocessing(), share=0.99, seed=0, epoch=0)
    assert noisy.sources.lengths.max() <= LIMITS["max_tokens"]


def test_only_the_source_is_read_in_another_case():
    both = preprocessing(restore_case=True)
    assert both.source.restore_case
    assert not both.target.restore_case

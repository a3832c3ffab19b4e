"""Sentences as people type them, for `evaluate --robust`: each is a change of all sentences, and the same each time."""

import dataclasses
from collections.abc import Callable

import numpy as np

from pipelines.common.evaluation.robustness import Distortion
from pipelines.translation.noise import capitals, lower_case, with_typo, without_accents, without_final_punctuation

SEED = 1


@dataclasses.dataclass(frozen=True)
class Changed:
    """Distorted sentences.

    Attributes:
        sources: the sentences.
        references: one or more of each.
        unchanged: translations of the sentences as they are, whose scores on the same references those of the distorted
            sentences are compared with. None: the scores of all sentences as they are.
    """

    sources: list[str]
    references: list[list[str]]
    unchanged: list[str] | None = None


# Each takes the sources, the translations of these, and one or more references of each source.


def one_by_one(change: Callable[[str], str]) -> Callable:
    """Returns a distortion that changes each sentence by itself; the references stay."""

    def changed(sources: list[str], texts: list[str], references: list[list[str]]) -> Changed:
        return Changed([change(source) for source in sources], references)

    return changed


def with_one_typo(sources: list[str], texts: list[str], references: list[list[str]]) -> Changed:
    """Changes two letters of a word in each sentence, by a seed; the references stay."""
    random = np.random.default_rng(SEED)
    return Changed([with_typo(source, random) for source in sources], references)


def joined(sources: list[str], texts: list[str], references: list[list[str]]) -> Changed:
    """Joins the first sentence with the second one, and so on, a last one without another with the first. The
    references are joined in their order, as many as the sentence with fewer has."""
    pairs = [(first, (first + 1) % len(sources)) for first in range(0, len(sources), 2)]
    return Changed(
        [f"{sources[first]} {sources[second]}" for first, second in pairs],
        [
            [f"{one} {other}" for one, other in zip(references[first], references[second], strict=False)]
            for first, second in pairs
        ],
        [f"{texts[first]} {texts[second]}" for first, second in pairs],
    )


def first_halves(sources: list[str], texts: list[str], references: list[list[str]]) -> Changed:
    """Cuts each sentence after half of its words. The reference is what the model itself writes first: as many words of
    its translation of the whole sentence as are half of it. The model's own words are not a good translation, but show
    whether it stays with what it is given."""
    own = [first_half(text) for text in texts]
    return Changed([first_half(source) for source in sources], [[text] for text in own], own)


def first_half(text: str) -> str:
    """Returns the first half of the words, one more if their number is odd."""
    words = text.split()
    return " ".join(words[: -(-len(words) // 2)])


DISTORTIONS = (
    Distortion(
        "lower_case",
        "lower case, no full stop",
        one_by_one(lambda source: lower_case(without_final_punctuation(source))),
    ),
    Distortion("capitals", "capitals", one_by_one(capitals)),
    Distortion("typo", "one typing error", with_one_typo),
    Distortion("no_accents", "without accents (ä: ae)", one_by_one(without_accents)),
    Distortion("joined", "two sentences joined", joined),
    Distortion("half", "first half: against its own output", first_halves),
)

"""Renders the sample of the sentiment task: short film reviews from a grammar, whose label no single word determines.

A third of the clauses are negated ("not a good film"). Where two clauses disagree, the structure of the sentence
determines the label: the clause after "but", the main clause of an "although" clause, or the boosted clause beside a
downtoned one ("truly wonderful", "slightly dull"). A bag of words is therefore near chance, while a model that uses the
order of words can be perfect.

The test part measures generalisation: a pair of adjective and sentence frame ("dull", "the … is far from …") belongs to
one split. The training reviews have no pair of a test review, but they have its adjective in other frames and its frame
with other adjectives.
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path

from files import write_lines

SPLITS = {"train": 2550, "validation": 400, "test": 400}  # reviews; half of them positive

ADJECTIVES = {
    "positive": "good great wonderful charming brilliant moving funny clever beautiful gripping delightful superb",
    "negative": "bad terrible awful dull boring silly weak clumsy tedious lifeless dreadful poor",
}
PARTS_OF_A_FILM = ["story", "plot", "cast", "ending", "script", "hero", "score", "opening", "finale", "villain"]

# {an} is the article of the following word, {part} any noun except "film". A negated frame inverts the adjective.
AFFIRMED = {
    "is": "the {noun} is {adjective}",
    "was": "the {noun} was {adjective}",
    "find": "I found the {noun} {adjective}",
    "think": "I thought the {noun} was {adjective}",
    "has": "it has {an} {adjective} {part}",
    "this": "this is {an} {adjective} film",
    "get": "what we get is {an} {adjective} {part}",
    "everybody": "everybody called the {noun} {adjective}",
    "remains": "the {noun} remains {adjective} to the last minute",
}
NEGATED = {
    "not": "the {noun} is not {adjective}",
    "never": "the {noun} was never {adjective}",
    "isn't": "the {noun} isn't {adjective}",
    "not find": "I did not find the {noun} {adjective}",
    "not have": "it does not have {an} {adjective} {part}",
    "this not": "this is not {an} {adjective} film",
    "nobody": "nobody called the {noun} {adjective}",
    "far from": "the {noun} is far from {adjective}",
    "wrong": "it would be wrong to call the {noun} {adjective}",
}
FRAMES = AFFIRMED | NEGATED
BOOSTERS = ["very", "truly", "absolutely", "really"]
DOWNTONERS = ["slightly", "somewhat", "a little"]
# Not every adverb goes with every negation: "is not very good" is English, "is far from slightly good" is not.
PLAIN_ADVERBS = {name: BOOSTERS + DOWNTONERS for name in ("is", "was", "find", "think", "remains")}
PLAIN_ADVERBS |= {name: ["very", "really"] for name in ("has", "this", "get", "not", "never", "isn't", "this not")}
WEIGHED = ("is", "was", "find", "think", "remains")  # frames that take boosters and downtoners

FILLERS = [
    "we saw it in a small cinema by the sea",
    "my sister had chosen it for the evening",
    "it runs for nearly two hours",
    "I watched it on a long journey by train",
    "most of it takes place in one house",
    "the book came out many years ago",
    "a friend lent it to me last winter",
    "there were only five people in the room",
]


@dataclass(frozen=True)
class Clause:
    text: str
    label: str
    frame: str
    adjective: str


class Reviewer:
    """Writes reviews of one split, from the pairs of adjective and frame that belong to it."""

    def __init__(self, split: str, random_state: random.Random):
        self.split = split
        self.random = random_state.random  # the only method whose sequence Python guarantees
        self.unsaid: list[str] = []  # nouns that the review has not used yet; it uses none twice

    def pick(self, items):
        return items[int(self.random() * len(items))]

    def clause(self, label: str, adverbs: list[str] | None = None) -> Clause:
        """Returns a clause that means `label`; with `adverbs`, it has one of them, in a frame that allows them."""
        names = WEIGHED if adverbs else list(self.pick([AFFIRMED, AFFIRMED, NEGATED]))
        frame = self.pick([name for name in names if "film" in self.unsaid or "film" not in FRAMES[name]])
        polarity = label if frame in AFFIRMED else opposite(label)
        words = ADJECTIVES[polarity].split()
        adjective = self.pick([word for word in words if split_of(words.index(word), frame) == self.split])
        if adverbs is None and frame in PLAIN_ADVERBS and self.random() < 0.4:
            adverbs = PLAIN_ADVERBS[frame]
        phrase = f"{self.pick(adverbs)} {adjective}" if adverbs else adjective
        noun = "film" if "film" in FRAMES[frame] else self.pick([word for word in self.unsaid if fits(word, frame)])
        self.unsaid.remove(noun)
        article = "an" if phrase[0] in "aeiou" else "a"
        return Clause(FRAMES[frame].format(noun=noun, part=noun, adjective=phrase, an=article), label, frame, adjective)

    def single(self, label):
        decisive = self.clause(label)
        return decisive, [decisive.text]

    def agreement(self, label):
        decisive, other = self.clause(label), self.clause(label)
        return decisive, self.pick([[f"{other.text}, and {decisive.text}"], [other.text, decisive.text]])

    def contrast(self, label):
        """The clause after "but" determines the label, in the same sentence or in a later one."""
        decisive, other = self.clause(label), self.clause(opposite(label))
        together, apart = [f"{other.text}, but {decisive.text}"], [other.text, f"but {decisive.text}"]
        return decisive, self.pick([together, together, apart, [apart[0], self.pick(FILLERS), apart[1]]])

    def concession(self, label):
        """The main clause determines the label, before or after the clause of "although"."""
        decisive, other = self.clause(label), self.clause(opposite(label))
        granted = f"{self.pick(['although', 'although', 'even though'])} {other.text}"
        return decisive, [self.pick([f"{granted}, {decisive.text}", f"{decisive.text}, {granted}"])]

    def intensity(self, label):
        """Of two clauses, the boosted one determines the label, not the downtoned one."""
        decisive, other = self.clause(label, BOOSTERS), self.clause(opposite(label), DOWNTONERS)
        return decisive, [self.pick([f"{decisive.text} and {other.text}", f"{other.text} and {decisive.text}"])]

    def review(self, label: str) -> dict[str, str]:
        self.unsaid = ["film", *PARTS_OF_A_FILM]
        kinds = [self.single] * 5 + [self.agreement] * 3 + [self.contrast] * 5 + [self.concession] * 4
        pattern = self.pick(kinds + [self.intensity] * 3)
        decisive, sentences = pattern(label)
        if self.random() < 0.35:
            sentences = self.pick([[self.pick(FILLERS), *sentences], [*sentences, self.pick(FILLERS)]])
        text = " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)
        return {"text": text, "label": label, "group": f"{pattern.__name__}/{decisive.frame}/{decisive.adjective}"}


def fits(noun: str, frame: str) -> bool:
    """Returns whether the noun can be used in the frame; a film does not have a film."""
    return noun != "film" or "{part}" not in FRAMES[frame]


def opposite(label: str) -> str:
    return "positive" if label == "negative" else "negative"


def split_of(adjective: int, frame: str) -> str:
    """Returns the split of a pair: of six adjectives in a frame four train, one validates, one tests."""
    return {0: "test", 1: "validation"}.get((adjective + list(FRAMES).index(frame)) % 6, "train")


def render(folder: Path) -> None:
    """Writes {train,validation,test}.jsonl: text, label, and as group the pattern, frame and adjective of the label."""
    for seed, (split, count) in enumerate(SPLITS.items()):
        reviewer = Reviewer(split, random.Random(seed))
        reviews: dict[str, dict[str, str]] = {}  # by text, so that each is there only once
        while len(reviews) < count:
            review = reviewer.review(("negative", "positive")[len(reviews) % 2])
            reviews.setdefault(review["text"], review)
        rows = sorted(reviews.values(), key=lambda _: reviewer.random())
        write_lines(folder / f"{split}.jsonl", [json.dumps(row, ensure_ascii=False) for row in rows])

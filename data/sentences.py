"""Renders the sample of the translation task: English sentences about coloured shapes, translated into French.

Each sentence has one translation.

The translation needs what English does not express, or expresses elsewhere:

    gender and number   two small white stars              deux petites étoiles blanches
    word order          the large green square             le grand carré vert
    elision             the star, the small star           l'étoile, la petite étoile
    contraction         above the square, above the stars  au-dessus du carré, au-dessus des étoiles
    negation            the cross is not, ... are not      la croix n'est pas, les croix ne sont pas
    questions           Is the star red?                   L'étoile est-elle rouge ?
    phrases that swap   Inside the circle there is a star. Il y a une étoile dans le cercle.

The test part measures generalisation: in each of three places of a sentence (first noun phrase, second noun phrase,
predicate), a pair of colour and noun belongs to one split. Every test sentence has a pair that the training part never
has in that place. The training part has the pair in other places, and the noun with other colours in that place.

PLURALS, NEGATIONS, QUESTIONS, SIZED and COLOURED are shares and PATTERNS are weights; they set the difficulty.
"""

from dataclasses import dataclass
from pathlib import Path

from files import write_lines
from world import COLOURS, SHAPES, Dice

SPLITS = {"train": 8000, "val": 300, "test": 400}  # sentences
PLURALS = 0.35  # the share of noun phrases
NEGATIONS = 0.25  # of the statements
QUESTIONS = 0.3  # of the sentences with "is" or "are"
SIZED, COLOURED = 0.6, 0.8  # of noun phrases
PATTERNS = {"coloured": 2, "placed": 3, "there": 3, "towards": 3, "doing": 2}

# Forms of an adjective: masculine and feminine singular, masculine and feminine plural.
ADJECTIVES = {
    "small": ("petit", "petite", "petits", "petites"),
    "large": ("grand", "grande", "grands", "grandes"),
    "red": ("rouge", "rouge", "rouges", "rouges"),
    "green": ("vert", "verte", "verts", "vertes"),
    "blue": ("bleu", "bleue", "bleus", "bleues"),
    "yellow": ("jaune", "jaune", "jaunes", "jaunes"),
    "white": ("blanc", "blanche", "blancs", "blanches"),
}
NOUNS = {  # English plural, French singular and plural, feminine
    "circle": ("circles", "cercle", "cercles", False),
    "square": ("squares", "carré", "carrés", False),
    "triangle": ("triangles", "triangle", "triangles", False),
    "star": ("stars", "étoile", "étoiles", True),
    "cross": ("crosses", "croix", "croix", True),
}
PREPOSITIONS = {
    "to the left of": "à gauche de",
    "to the right of": "à droite de",
    "above": "au-dessus de",
    "below": "sous",
    "inside": "dans",
}
VERBS = {  # singular, plural
    "moving": ("se déplace", "se déplacent"),
    "turning": ("tourne", "tournent"),
    "growing": ("s'agrandit", "s'agrandissent"),
}


@dataclass(frozen=True)
class Phrase:
    """A noun phrase in both languages; `size` and `colour` may be empty."""

    noun: str
    size: str
    colour: str
    plural: bool

    @property
    def feminine(self) -> bool:
        return NOUNS[self.noun][3]

    def agreeing(self, adjective: str) -> str:
        return ADJECTIVES[adjective][2 * self.plural + self.feminine]

    def english(self, article: str) -> str:
        noun = NOUNS[self.noun][0] if self.plural else self.noun
        return " ".join(filter(None, [article, self.size, self.colour, noun]))

    def french(self, determiner: str = "") -> str:
        """Returns the phrase with "le" and its forms, or with another determiner."""
        noun = NOUNS[self.noun][1 + self.plural]
        before, after = (self.agreeing(word) if word else "" for word in (self.size, self.colour))
        words = " ".join(filter(None, [before, noun, after]))
        if determiner:
            return f"{determiner} {words}"
        if self.plural:
            return f"les {words}"
        return f"l'{words}" if words[0] == "é" else f"{'la' if self.feminine else 'le'} {words}"

    @property
    def indefinite(self) -> tuple[str, str]:
        if self.plural:
            return self.english("two"), self.french("deux")
        return self.english("a"), self.french("une" if self.feminine else "un")

    @property
    def definite(self) -> tuple[str, str]:
        return self.english("the"), self.french()


def with_preposition(preposition: str, phrase: str) -> str:
    """Returns a French preposition with a phrase; "de" and an article become one word."""
    if preposition.endswith(" de"):
        for article, joined in (("le ", "du "), ("les ", "des ")):
            if phrase.startswith(article):
                return preposition.removesuffix("de") + joined + phrase.removeprefix(article)
    return f"{preposition} {phrase}"


@dataclass(frozen=True)
class Sentence:
    english: str
    french: str
    pairs: tuple[tuple[str, str, int], ...]  # colour, noun, place

    def split(self) -> str:
        """Returns the split of the sentence; "none" if it has pairs of both the validation and the test part."""
        owners = {split_of(*pair) for pair in self.pairs} - {"train"}
        return "none" if len(owners) > 1 else owners.pop() if owners else "train"


def split_of(colour: str, noun: str, place: int) -> str:
    """Returns the split of a colour and a noun in a place: of 25 pairs two validate, two or three test."""
    key = list(COLOURS).index(colour) * len(SHAPES) + SHAPES.index(noun) + 2 * place
    return {0: "test", 1: "val"}.get(key % 12, "train")


class Writer:
    """Writes random sentences of any split (`Sentence.split`)."""

    def __init__(self, dice: Dice):
        self.dice = dice
        methods = {
            "coloured": self.coloured,
            "placed": self.placed,
            "there": self.there,
            "towards": self.towards,
            "doing": self.doing,
        }
        self.patterns = [methods[pattern] for pattern, weight in PATTERNS.items() for _ in range(weight)]

    def chance(self, share: float) -> bool:
        return self.dice.random() < share

    def phrase(self, coloured: bool = True) -> Phrase:
        return Phrase(
            self.dice.pick(SHAPES),
            self.dice.pick(["small", "large"]) if self.chance(SIZED) else "",
            self.dice.pick(list(COLOURS)) if coloured and self.chance(COLOURED) else "",
            self.chance(PLURALS),
        )

    def two_phrases(self) -> tuple[Phrase, Phrase]:
        """Returns two phrases with different nouns."""
        first, second = self.phrase(), self.phrase()
        while first.noun == second.noun:
            second = self.phrase()
        return first, second

    def sentence(self) -> Sentence:
        return self.dice.pick(self.patterns)()

    def coloured(self) -> Sentence:
        """The small stars are not green."""
        subject, colour = self.phrase(coloured=False), self.dice.pick(list(COLOURS))
        return finished(*self.being(subject, colour, subject.agreeing(colour)), (subject,), colour)

    def placed(self) -> Sentence:
        """Is the red star inside the large circle?"""
        subject, other = self.two_phrases()
        preposition = self.dice.pick(list(PREPOSITIONS))
        place = f"{preposition} {other.definite[0]}"
        lieu = with_preposition(PREPOSITIONS[preposition], other.definite[1])
        return finished(*self.being(subject, place, lieu), (subject, other))

    def there(self) -> Sentence:
        """Inside the large circle there are two red stars."""
        other, things = self.two_phrases()
        preposition = self.dice.pick(list(PREPOSITIONS))
        lieu = with_preposition(PREPOSITIONS[preposition], other.definite[1])
        english = f"{preposition} {other.definite[0]} there {'are' if things.plural else 'is'} {things.indefinite[0]}."
        return finished(english, f"il y a {things.indefinite[1]} {lieu}.", (other, things))

    def towards(self) -> Sentence:
        """The large circle is moving towards the red star."""
        subject, goal = self.two_phrases()
        return finished(*self.acting(subject, "moving", goal), (subject, goal))

    def doing(self) -> Sentence:
        """The large blue circle is turning."""
        subject = self.phrase()
        return finished(*self.acting(subject, self.dice.pick(["turning", "growing"])), (subject,))

    def being(self, subject: Phrase, english: str, french: str) -> tuple[str, str]:
        """Returns a statement, negation or question with "is", in both languages."""
        the, le = subject.definite
        is_, est = ("are", "sont") if subject.plural else ("is", "est")
        if self.chance(QUESTIONS):
            pronoun = ("elle" if subject.feminine else "il") + ("s" if subject.plural else "")
            return f"{is_} {the} {english}?", f"{le} {est}-{pronoun} {french} ?"
        if self.chance(NEGATIONS):
            n_est = "ne sont" if subject.plural else "n'est"
            return f"{the} {is_} not {english}.", f"{le} {n_est} pas {french}."
        return f"{the} {is_} {english}.", f"{le} {est} {french}."

    def acting(self, subject: Phrase, verb: str, goal: Phrase | None = None) -> tuple[str, str]:
        """Returns a statement or negation with a verb, in both languages."""
        the, le = subject.definite
        is_, fait = "are" if subject.plural else "is", VERBS[verb][subject.plural]
        towards, vers = (f" towards {goal.definite[0]}", f" vers {goal.definite[1]}") if goal else ("", "")
        if self.chance(NEGATIONS):
            return f"{the} {is_} not {verb}{towards}.", f"{le} ne {fait} pas{vers}."
        return f"{the} {is_} {verb}{towards}.", f"{le} {fait}{vers}."


def finished(english: str, french: str, phrases: tuple[Phrase, ...], said: str = "") -> Sentence:
    """Returns a capitalized sentence; `said` is the colour in its predicate."""
    pairs = [(phrase.colour, phrase.noun, place) for place, phrase in enumerate(phrases) if phrase.colour]
    pairs += [(said, phrases[0].noun, 2)] if said else []
    return Sentence(english[0].upper() + english[1:], french[0].upper() + french[1:], tuple(pairs))


def render(folder: Path) -> None:
    """Writes {train,val,test}.{en,fr}; line n of one is the translation of line n of the other."""
    for seed, (split, count) in enumerate(SPLITS.items()):
        writer = Writer(Dice(200 + seed))
        pairs: dict[str, str] = {}  # by the English sentence, so that each is there only once
        while len(pairs) < count:
            sentence = writer.sentence()
            if sentence.split() == split:
                pairs[sentence.english] = sentence.french
        write_lines(folder / f"{split}.en", pairs)
        write_lines(folder / f"{split}.fr", pairs.values())

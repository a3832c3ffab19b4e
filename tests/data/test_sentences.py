"""Checks French agreement in the translation sample with second tables, and that the test part is new."""

import re
from collections import defaultdict
from itertools import combinations

import pytest

LINES = {"train": 8000, "val": 300, "test": 400}

# French word: the English it stands for, "m" or "f" (or either), "s" or "p" (or either).
NOUNS = {
    "cercle": ("circle", "m", "s"), "cercles": ("circle", "m", "p"), "carré": ("square", "m", "s"),
    "carrés": ("square", "m", "p"), "triangle": ("triangle", "m", "s"), "triangles": ("triangle", "m", "p"),
    "étoile": ("star", "f", "s"), "étoiles": ("star", "f", "p"), "croix": ("cross", "f", "sp"),
}  # fmt: skip
SIZES = {
    "petit": ("small", "m", "s"), "petite": ("small", "f", "s"), "petits": ("small", "m", "p"),
    "petites": ("small", "f", "p"), "grand": ("large", "m", "s"), "grande": ("large", "f", "s"),
    "grands": ("large", "m", "p"), "grandes": ("large", "f", "p"),
}  # fmt: skip
COLOURS = {
    "rouge": ("red", "mf", "s"), "rouges": ("red", "mf", "p"), "jaune": ("yellow", "mf", "s"),
    "jaunes": ("yellow", "mf", "p"), "vert": ("green", "m", "s"), "verte": ("green", "f", "s"),
    "verts": ("green", "m", "p"), "vertes": ("green", "f", "p"), "bleu": ("blue", "m", "s"),
    "bleue": ("blue", "f", "s"), "bleus": ("blue", "m", "p"), "bleues": ("blue", "f", "p"),
    "blanc": ("white", "m", "s"), "blanche": ("white", "f", "s"), "blancs": ("white", "m", "p"),
    "blanches": ("white", "f", "p"),
}  # fmt: skip
DETERMINERS = {
    "le": ("the", "m", "s"), "la": ("the", "f", "s"), "l'": ("the", "mf", "s"), "les": ("the", "mf", "p"),
    "du": ("the", "m", "s"), "des": ("the", "mf", "p"), "un": ("a", "m", "s"), "une": ("a", "f", "s"),
    "deux": ("two", "mf", "p"),
}  # fmt: skip
VERBS = {
    "est": ("be", "s"), "sont": ("be", "p"), "déplace": ("moving", "s"), "déplacent": ("moving", "p"),
    "tourne": ("turning", "s"), "tournent": ("turning", "p"), "agrandit": ("growing", "s"),
    "agrandissent": ("growing", "p"),
}  # fmt: skip
PLACES = {
    "à gauche": "to the left of", "à droite": "to the right of", "au-dessus": "above", "sous": "below",
    "dans": "inside", "vers": "towards",
}  # fmt: skip


def either(words):
    return "|".join(sorted(words, key=len, reverse=True))


FRENCH_PHRASE = re.compile(
    rf"\b(?P<det>l'|(?:{either(word for word in DETERMINERS if word.isalpha())})\b) ?(?:(?P<size>{either(SIZES)}) )?"
    rf"(?P<noun>{either(NOUNS)})\b(?: (?P<colour>{either(COLOURS)})\b)?",
    re.IGNORECASE,
)
ENGLISH_PHRASE = re.compile(
    r"\b(?P<det>the|a|two) (?:(?P<size>small|large) )?(?:(?P<colour>red|green|blue|yellow|white) )?"
    r"(?P<noun>circle|square|triangle|star|cross)(?P<plural>e?s)?\b",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def pairs(samples):
    def read(split, language):
        return (samples / "translation" / f"{split}.{language}").read_text("utf-8").splitlines()

    return {split: list(zip(read(split, "en"), read(split, "fr"), strict=True)) for split in LINES}


@pytest.fixture(scope="module")
def everything(pairs):
    return [pair for rows in pairs.values() for pair in rows]


def english_phrases(sentence):
    return [
        (m["det"].lower(), m["size"], m["colour"], m["noun"], "p" if m["plural"] else "s")
        for m in ENGLISH_PHRASE.finditer(sentence)
    ]


def french_phrases(sentence):
    """Checks the agreement of the noun phrases and returns them in English."""
    phrases = []
    for m in FRENCH_PHRASE.finditer(sentence):
        parts = [DETERMINERS[m["det"].lower()], NOUNS[m["noun"]]]
        parts += [SIZES[m["size"]]] if m["size"] else []
        parts += [COLOURS[m["colour"]]] if m["colour"] else []
        for place in (1, 2):
            assert set.intersection(*(set(part[place]) for part in parts)), f"no agreement in {m[0]!r}: {sentence}"
        number = set.intersection(*(set(part[2]) for part in parts)).pop()
        size, colour = m["size"] and SIZES[m["size"]][0], m["colour"] and COLOURS[m["colour"]][0]
        phrases.append((parts[0][0], size, colour, parts[1][0], number))
    return phrases


def test_sizes_and_no_sentence_twice(pairs, everything):
    assert {split: len(rows) for split, rows in pairs.items()} == LINES
    for language in (0, 1):
        assert len({pair[language] for pair in everything}) == len(everything)
    assert all(english[0].isupper() and french[0].isupper() for english, french in everything)
    assert all(4 <= len(english.split()) <= 14 for english, _ in everything)


def test_noun_phrases_agree_and_have_the_same_meaning(everything):
    for english, french in everything:
        said, meant = french_phrases(french), english_phrases(english)
        if " there " in english:
            meant.reverse()
        assert said == meant, (english, french)


def test_verbs_negation_and_questions(everything):
    for english, french in everything:
        number = french_phrases(french)[0][4]
        if " there " in english:
            assert french.startswith("Il y a ")
        else:
            (verb,) = re.findall(rf"\b({either(VERBS)})\b", french)
            assert VERBS[verb][1] == number == ("p" if re.search(r"\bare\b", english, re.IGNORECASE) else "s")
            doing = re.search(r"\b(moving|turning|growing)\b", english)
            assert VERBS[verb][0] == (doing[0] if doing else "be")
            assert ("se " in french or "s'" in french) == (verb[0] in "da")
        denied = re.search(r"\b(?:ne |n')(?:se |s')?(\w+) pas\b", french)
        assert bool(denied) == (" not " in english) == (" pas" in french), french
        assert re.search(r"\bne [aeiouyéh]|n'[^e]|\bse [aeiouéh]|s'[^a]", french) is None, french
        assert re.search(r"\w( \?|\.)$", french) and english[-1] == french[-1], french
        asked = re.search(r"-(ils?|elles?) ", french)
        assert bool(asked) == (english[-1] == "?")
        if asked:
            feminine = NOUNS[FRENCH_PHRASE.search(french)["noun"]][1] == "f"
            assert asked[1] == ("elle" if feminine else "il") + ("s" if number == "p" else "")


def test_elision_and_contraction(everything):
    for _, french in everything:
        text = french.lower()
        assert re.search(r"\b(le|la|de|que) [aeiouyhéà]|\bde les?\b", text) is None, french
        assert re.search(r"l'(?!étoile\b)", text) is None, french
        assert re.search(r"\b(du|des) ", text) is None or re.search(r"(gauche|droite|dessus) (du|des) ", text), french


def test_places_and_colours_of_the_subject(everything):
    for english, french in everything:
        place = re.search(rf"\b({either(PLACES)})\b", french, re.IGNORECASE)
        meant = re.search(rf"\b({either(PLACES.values())})\b", english, re.IGNORECASE)
        assert bool(place) == bool(meant)
        if place:
            assert PLACES[place[1].lower()] == meant[1].lower(), (english, french)
            of = bool(re.search(rf"{place[1]} d(e|u|es) ", french))
            assert of == (place[1] in ("à gauche", "à droite", "au-dessus")), french
        said = re.search(rf"({either(COLOURS)}) ?[.?]$", french)
        if said and not place and re.search(r"\b(est|sont)\b", french):
            phrase = FRENCH_PHRASE.search(french)
            noun, colour = NOUNS[phrase["noun"]], COLOURS[said[1]]
            assert noun[1] in colour[1] and french_phrases(french)[0][4] in colour[2], french
            assert re.search(rf"\b{colour[0]}[.?]$", english)


BY_HAND = """
The star is turning.                                  L'étoile tourne.
The crosses are not growing.                          Les croix ne s'agrandissent pas.
Are the squares yellow?                               Les carrés sont-ils jaunes ?
Is the small cross white?                             La petite croix est-elle blanche ?
The small crosses are not white.                      Les petites croix ne sont pas blanches.
The circles are not white.                            Les cercles ne sont pas blancs.
Are the green circles above the large stars?          Les cercles verts sont-ils au-dessus des grandes étoiles ?
Is the small red cross inside the blue star?          La petite croix rouge est-elle dans l'étoile bleue ?
Below the circles there are two crosses.              Il y a deux croix sous les cercles.
To the left of the large star there is a small red triangle.
  Il y a un petit triangle rouge à gauche de la grande étoile.
The small yellow circle is not moving towards the cross.
  Le petit cercle jaune ne se déplace pas vers la croix.
"""


def test_sentences_translated_by_hand(everything):
    translations = dict(everything)
    by_hand = dict(re.findall(r"(\S.*?[.?])\s{2,}(\S.*?[.?])$", BY_HAND, re.MULTILINE))
    assert len(by_hand) == 11
    assert {english: translations[english] for english in by_hand} == by_hand


def slots(english):
    """Returns (colour, noun, place) of both noun phrases and of the predicate."""
    phrases = english_phrases(english)
    found = {(colour, noun, place) for place, (_, _, colour, noun, _) in enumerate(phrases) if colour}
    said = re.search(r" (red|green|blue|yellow|white)[.?]$", english)
    return found | ({(said[1], phrases[0][3], "said")} if said else set())


def test_every_test_sentence_has_colour_and_noun_in_a_new_place(pairs):
    seen = {split: [slots(english) for english, _ in rows] for split, rows in pairs.items()}
    train = set().union(*seen["train"])
    for split in ("val", "test"):
        assert all(found - train for found in seen[split])
    new = {split: set().union(*seen[split]) - train for split in ("val", "test")}
    assert not new["val"] & new["test"]
    assert {place for *_, place in new["test"]} == {0, 1, "said"}
    # Yet training shows these colours with these nouns elsewhere, and other colours with them in that place.
    elsewhere = {pair[:2] for pair in train}
    assert {pair[:2] for pair in new["test"]} <= elsewhere and len(elsewhere) == 25
    others = defaultdict(set)
    for colour, noun, place in train:
        others[noun, place].add(colour)
    assert all(3 <= len(others[noun, place]) <= 4 for _, noun, place in new["test"])


def test_every_word_is_in_training(pairs):
    for language, size in ((0, (35, 60)), (1, (55, 90))):
        words = {
            split: {w for pair in rows for w in re.findall(r"[\w'-]+", pair[language])} for split, rows in pairs.items()
        }
        assert words["test"] | words["val"] <= words["train"]
        assert size[0] <= len({word.lower() for word in words["train"]}) <= size[1]
    assert all(not set(pairs[one]) & set(pairs[other]) for one, other in combinations(pairs, 2))

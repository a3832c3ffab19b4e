"""Noise in source sentences: what people type instead of the sentences of a corpus.

Training writes a share of the source sentences otherwise in every epoch (--noise), and keeps their translations. So a
model learns that a sentence without its full stop, in capitals or with a slip of the finger means the same (Belinkov
and Bisk: Synthetic and Natural Noise Both Break Neural Machine Translation, 2018, https://arxiv.org/abs/1711.02173).
"""

import dataclasses
import re
import unicodedata
from collections.abc import Callable

import numpy as np

from pipelines.common.data.loading import encode_texts
from pipelines.translation.dataset import Encoded, Sentences
from pipelines.translation.preprocessing import Preprocessing

STREAM = 1  # of random numbers, beside those that order the batches
KINDS_AT_ONCE = 2  # at most, in one sentence
FINAL_PUNCTUATION = re.compile(r"\s*[.!?…]+\s*$")
IN_ASCII = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "œ": "oe",
                          "Œ": "Oe", "æ": "ae", "ø": "o"})  # fmt: skip
QUOTES = str.maketrans({"'": "’", '"': "“"})


def lower_case(text: str) -> str:
    return text.lower()


def capitals(text: str) -> str:
    return text.upper()


def without_final_punctuation(text: str) -> str:
    return FINAL_PUNCTUATION.sub("", text)


def without_accents(text: str) -> str:
    """Returns the text as it is typed on a keyboard without accents: "Mädchen" as "Maedchen", "café" as "cafe"."""
    parts = unicodedata.normalize("NFD", unicodedata.normalize("NFC", text).translate(IN_ASCII))
    return "".join(character for character in parts if not unicodedata.combining(character))


def decomposed(text: str) -> str:
    """Returns the text in Unicode's form NFD, and with typographic quotation marks."""
    return unicodedata.normalize("NFD", text.translate(QUOTES))


def with_typo(text: str, random: np.random.Generator) -> str:
    """Returns the text with one slip in a word of four letters or more: two letters swapped, or one of them doubled,
    left out or replaced by another letter of the text. The first letter of a word stays."""
    places = [place for word in re.finditer(r"[^\W\d_]{4,}", text) for place in range(word.start() + 1, word.end() - 1)]
    if not places:
        return text
    place = places[random.integers(len(places))]
    here, after = text[place], text[place + 1]
    letters = [character for character in text.lower() if character.isalpha()]
    slips = [after + here, here + here + after, after, letters[random.integers(len(letters))] + after]
    slips = [slip for slip in slips if slip != here + after]
    return text[:place] + slips[random.integers(len(slips))] + text[place + 2 :]


def punctuated_otherwise(text: str, random: np.random.Generator) -> str:
    """Returns the text without its final punctuation, or with another one."""
    endings = ("", "", "", "!", "!!", "..", "...", " .")
    return without_final_punctuation(text) + endings[random.integers(len(endings))]


def typed_by_someone(text: str, random: np.random.Generator) -> str:
    """Returns the text with one or two kinds of noise; slips are the most frequent, and the hardest to read."""
    kinds: list[Callable[[str], str]] = [
        lower_case,
        capitals,
        lambda text: punctuated_otherwise(text, random),
        without_accents,
        decomposed,
        *[lambda text: with_typo(text, random)] * 4,
        lambda text: with_typo(with_typo(text, random), random),
        lambda text: without_final_punctuation(text).lower(),
    ]
    for number in random.permutation(len(kinds))[: random.integers(1, KINDS_AT_ONCE + 1)]:
        text = kinds[number](text)
    return text


def with_noise(encoded: Encoded, preprocessing: Preprocessing, *, share: float, seed: int, epoch: int) -> Encoded:
    """Returns the pairs with noise in a `share` of the sources, drawn anew for every `epoch`. A source that noise makes
    longer than the limits, or empty, remains as it is."""
    random = np.random.default_rng((seed, epoch, STREAM))
    rows = np.flatnonzero(random.random(len(encoded)) < share)
    texts = [typed_by_someone(encoded.texts[row], random) for row in rows.tolist()]
    noisy = Sentences(*encode_texts(texts, preprocessing.source.encode))
    good = ~noisy.cut & (noisy.lengths > 0)
    sources = encoded.sources.replaced(rows[good], noisy.take(np.flatnonzero(good)))
    return dataclasses.replace(encoded, sources=sources)

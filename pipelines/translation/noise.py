"""Noise in source sentences: what people type instead of the sentences of a corpus.

Training changes a share of the source sentences in every epoch (--noise), and keeps their translations. So a model
learns that a sentence without its full stop, in capitals or with a typing error means the same (Belinkov and Bisk:
Synthetic and Natural Noise Both Break Neural Machine Translation, 2018, https://arxiv.org/abs/1711.02173).
"""

import dataclasses
import re
import unicodedata
from collections.abc import Callable

import numpy as np

from pipelines.common.data import corpora
from pipelines.common.data.corpora import TEXTS_AT_ONCE
from pipelines.common.data.loading import encoded_batches
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
    """Returns the text with one typing error in a word of four letters or more: two letters are swapped, or one is
    doubled, left out or replaced by another letter of the text. The first letter of a word stays."""
    places = [place for word in re.finditer(r"[^\W\d_]{4,}", text) for place in range(word.start() + 1, word.end() - 1)]
    if not places:
        return text
    place = places[random.integers(len(places))]
    here, after = text[place], text[place + 1]
    letters = [character for character in text.lower() if character.isalpha()]
    errors = [after + here, here + here + after, after, letters[random.integers(len(letters))] + after]
    errors = [error for error in errors if error != here + after]
    return text[:place] + errors[random.integers(len(errors))] + text[place + 2 :]


def punctuated_otherwise(text: str, random: np.random.Generator) -> str:
    """Returns the text without its final punctuation, or with another one."""
    endings = ("", "", "", "!", "!!", "..", "...", " .")
    return without_final_punctuation(text) + endings[random.integers(len(endings))]


def typed_by_someone(text: str, random: np.random.Generator) -> str:
    """Returns the text with one or two kinds of noise; typing errors are the most frequent, and cost most."""
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
    texts = (typed_by_someone(encoded.texts[row], random) for row in rows.tolist())

    def write(append: corpora.Append) -> dict:
        append("ids", np.zeros(0, np.int32))
        splits = corpora.Splits(append, "splits")
        done = 0

        def add(end: int, chosen: np.ndarray, others: Sentences):
            """Appends the sentences from `done` to `end`, with `others` in the places `chosen`."""
            found = encoded.sources.take(np.arange(done, end)).replaced(chosen - done, others)
            append("ids", found.ids)
            splits.add(found.lengths)

        for start, (ids, lengths, cut) in zip(
            range(0, len(rows), TEXTS_AT_ONCE), encoded_batches(texts, preprocessing.source.encode), strict=True
        ):
            noisy = Sentences(ids, np.concatenate([[0], np.cumsum(lengths)]))
            chosen = rows[start : start + TEXTS_AT_ONCE]
            good = ~cut & (lengths > 0)
            add(chosen[-1] + 1, chosen[good], noisy.take(np.flatnonzero(good)))
            done = chosen[-1] + 1
        add(len(encoded), rows[:0], encoded.sources.take(rows[:0]))
        corpora.release(encoded.sources.ids)
        return {}

    folder = encoded.folder
    found = corpora.in_memory(write) if folder is None else corpora.in_temporary_files(folder, write)
    return dataclasses.replace(encoded, sources=Sentences(found.arrays["ids"], found.arrays["splits"]))

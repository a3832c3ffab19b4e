"""Word vectors in text files, for embeddings to start from: GloVe, word2vec and fastText, plain or compressed.

Each line has a word and its numbers, separated by spaces. In the formats of word2vec and fastText (.vec), a first line
of two integers announces the number of vectors and their width. GloVe has no such line.
"""

import contextlib
import dataclasses
import math
import pathlib
import re
import sys
from collections.abc import Generator, Sequence

import numpy as np

from layers.text import MARK
from pipelines.common.data.corpora import slices
from pipelines.common.data.tables import read_byte_lines
from pipelines.common.errors import UserError

HEADER = re.compile(rb"(\d{1,15})\s+(\d{1,15})")
NUMBER = re.compile(rb"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|[-+]?(nan|inf)", re.IGNORECASE)
FRACTION = re.compile(rb"[-+]?\d*\.\d+(e[-+]?\d+)?", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class WordVectors:
    """The vectors of a vocabulary, as read from a file.

    Attributes:
        path: the file.
        values: float32[words, units], zero where the file has no vector.
        found: bool[words], whether the file has one.
    """

    path: pathlib.Path
    values: np.ndarray
    found: np.ndarray

    def embeddings(self, seed: int) -> np.ndarray:
        """Returns float32[words, units]: the vectors of the file, and for a word without one a random one, each of its
        numbers from the normal distribution with the mean and the standard deviation of that number in the file's."""
        known = self.values[self.found].astype(np.float64)
        random = np.random.default_rng(seed).normal(known.mean(axis=0), known.std(axis=0), self.values.shape)
        return np.where(self.found[:, None], self.values, random.astype(np.float32))

    def coverage(self, ids) -> str:
        """Returns a sentence: how many words of the vocabulary, and of the training texts, have a vector.

        Args:
            ids: int[n], the words of the training texts, one text after the other.
        """
        running = sum(int(self.found[part].sum()) for part in slices(ids)) / max(len(ids), 1)
        return (
            f"{self.path}: vectors for {self.found.sum():,} of the {len(self.found):,} words of the vocabulary"
            f" ({self.found.mean():.1%}), which are {running:.1%} of the words of the training texts"
        )


def read(path, words: Sequence[str], units: int) -> WordVectors:
    """Reads the vectors of the words of a vocabulary. The numbers of other words are not read.

    A word is looked up as it is, without MARK at its start, then both in lower case. Of several vectors of one word the
    first is used. The words of the file need not be UTF-8, and may contain spaces.

    Args:
        words: the vocabulary, in the order of its ids.
        units: width of the embeddings, --embedding-units.

    Raises:
        UserError: The file is missing or damaged, a line is not a word with a vector of the right width, a number is
            unreadable or not finite, the vectors have another width than `units`, or no word was found.
    """
    path = pathlib.Path(path)
    rows: dict[bytes, list[tuple[int, int]]] = {}  # spelling -> (its place among the spellings of a word, the word)
    for row, word in enumerate(words):
        for rank, spelling in enumerate(spellings(word)):
            rows.setdefault(spelling.encode(), []).append((rank, row))
    values, best = np.zeros((len(words), units), np.float32), np.full(len(words), np.inf)
    with contextlib.closing(read_rows(path, units)) as found:
        for line, spelt, numbers in found:
            for rank, row in rows.get(spelt, ()):
                if rank < best[row]:
                    values[row], best[row] = parse(numbers, units, f"{path}, line {line}"), rank
    if np.isinf(best).all():
        raise UserError(
            f"{path} has no vector for any of the {len(words):,} words of the vocabulary, such as {words[-1]!r}:"
            " expected vectors of words in the language of the data"
        )
    return WordVectors(path, values, np.isfinite(best))


def spellings(word: str) -> list[str]:
    """Returns what a word is looked up as, in this order."""
    bare = word.removeprefix(MARK)
    return list(dict.fromkeys(each for each in (word, bare, word.lower(), bare.lower()) if each))


def read_rows(path: pathlib.Path, units: int) -> Generator[tuple[int, bytes, bytes]]:
    """Yields (line, word, numbers) for each vector of a file; UserError if one does not have `units` numbers."""
    announced, rows = None, 0
    with contextlib.closing(read_byte_lines(path)) as lines:
        for line, text in enumerate(lines, start=1):
            text, place = text.rstrip(), f"{path}, line {line}"
            header = HEADER.fullmatch(text) if line == 1 else None
            if header:
                announced = int(header[1])
                require_width(path, int(header[2]), units)
            elif text:
                if not rows and announced is None and len(text.split()) != 1 + units:
                    require_width(path, count_numbers(text) or units, units)
                rows += 1
                yield line, *split_row(text, units, place)
    if not rows:
        raise UserError(f"{path} has no vectors: expected a word and {units} numbers in each line")
    if announced not in (None, rows):
        print(f"{path}: the first line announces {announced:,} vectors, but there are {rows:,}", file=sys.stderr)


def split_row(text: bytes, width: int, place: str) -> tuple[bytes, bytes]:
    """Splits a row into its word and its numbers; UserError if there are fewer or more numbers."""
    if text.count(b" ") == width and b"\t" not in text:  # the usual form
        word, _, numbers = text.partition(b" ")
        return word, numbers
    word, *fields = text.rsplit(None, width)
    if len(fields) == width - 1 and text[:1].isspace():
        return b"", text  # the word is white space
    # Only a word may contain spaces. No known file has a word that ends in a space and a fraction.
    if len(fields) < width or FRACTION.fullmatch(word.split()[-1]):
        raise wrong_row(text, width, place)
    return word.strip(), b" ".join(fields)


def parse(numbers: bytes, width: int, place: str) -> np.ndarray:
    """Returns float32[width]; UserError for a number that is unreadable or not finite."""
    fields = numbers.split()
    if len(fields) != width:
        raise wrong_row(numbers, width, place)
    with np.errstate(over="ignore"):
        vector = np.array([to_number(field) for field in fields]).astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(vector))
    if len(wrong):
        field = fields[wrong[0]].decode(errors="replace")
        raise UserError(f"{place}: {field[:40]!r} in the vector, expected a finite number")
    return vector


def to_number(field: bytes) -> float:
    """Returns a number, NaN if it is unreadable."""
    try:
        return float(field)
    except ValueError:
        return math.nan


def require_width(path: pathlib.Path, width: int, units: int):
    """Raises UserError unless the vectors of a file are as wide as the embeddings."""
    if width != units:
        raise UserError(
            f"{path} has vectors of {width} numbers, but --embedding-units is {units}: give --embedding-units {width}"
        )


def count_numbers(text: bytes) -> int:
    """Returns how many numbers are at the end of a row, whose first field is the word or its beginning."""
    _, *fields = text.split()
    return next((n for n, field in enumerate(reversed(fields)) if not NUMBER.fullmatch(field)), len(fields))


def wrong_row(text: bytes, width: int, place: str) -> UserError:
    """Returns the error for a row that is not a word and a vector."""
    if b"\0" in text:
        return UserError(f"{place} is not text: expected word vectors as text, not a binary file or an archive")
    return UserError(f"{place}: {count_numbers(text)} numbers, expected a word and {width} numbers")

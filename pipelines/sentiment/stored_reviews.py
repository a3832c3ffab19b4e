"""Reviews on disk: read once into a corpus, of which only the numbers of rows are in memory."""

import dataclasses
import functools
import hashlib
import itertools
import pathlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from pipelines.common.cache_folders import digest
from pipelines.common.data import corpora
from pipelines.common.data.loading import batched
from pipelines.common.data.ranks import ranks
from pipelines.sentiment.reviews import Reviews, Stream, hashes


@dataclasses.dataclass(frozen=True)
class StoredReviews:
    """Some reviews of a corpus; Reviews has the same methods.

    Attributes:
        corpus: the arrays that `write_reviews` has written.
        rows: int64[reviews], their numbers in the corpus.
        names: see Reviews.
    """

    corpus: corpora.Arrays
    rows: np.ndarray
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def folder(self) -> pathlib.Path:
        assert self.corpus.folder is not None
        return self.corpus.folder

    @property
    def texts(self) -> corpora.Texts:
        return corpora.Texts.of(self.corpus, "texts", self.rows)

    @property
    def places(self) -> corpora.Texts:
        return corpora.Texts.of(self.corpus, "places", self.rows)

    def take(self, rows: np.ndarray) -> "StoredReviews":
        """Returns the reviews of these numbers."""
        return dataclasses.replace(self, rows=self.rows[rows])

    def ranks(self) -> np.ndarray:
        """Returns int64[reviews], the number of the group of each review: see `splits.ranks_of`."""
        return self.derived("ranks", self.write_ranks)["ranks"][self.rows]

    def hashes(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns uint64[reviews], hashes of the texts, and uint64[reviews], hashes of the groups."""
        found = self.derived("hashes", self.write_hashes)
        return found["texts"][self.rows], found["groups"][self.rows]

    def coded_labels(self) -> tuple[list, np.ndarray]:
        """Returns the different labels, and int32[reviews], the number of the label of each review among them."""
        return self.corpus.facts["labels"], self.corpus.arrays["labels"][self.rows]

    def key(self) -> dict:
        """Returns what the texts depend on, in JSON values."""
        return {"corpus": self.folder.name, "rows": hashlib.sha256(self.rows.data).hexdigest()}

    def derived(self, kind: str, write: Callable[[corpora.Append], dict]) -> dict[str, np.ndarray]:
        """Returns arrays that are computed from those of the corpus, once, into another corpus."""
        return corpora.on_disk(self.folder.parent, {"corpus": self.folder.name, "kind": kind}, write).arrays

    def groups(self) -> Iterator[str]:
        """Yields the group of each review of the corpus."""
        groups, texts = (corpora.Texts.of(self.corpus, name) for name in ("groups", "texts"))
        return (group or text for group, text in zip(groups, texts, strict=True))

    def write_ranks(self, append: corpora.Append) -> dict:
        append("ranks", ranks(self.groups(), self.folder))
        return {}

    def write_hashes(self, append: corpora.Append) -> dict:
        for name, texts in (("texts", corpora.Texts.of(self.corpus, "texts")), ("groups", self.groups())):
            append(name, np.zeros(0, np.uint64))
            for batch in batched(texts, corpora.TEXTS_AT_ONCE):
                append(name, hashes(batch))
        return {}


def store(stream: Stream, cache: pathlib.Path) -> StoredReviews:
    """Returns the reviews of a stream, written into a folder of the cache unless it has them."""
    found = corpora.on_disk(cache, stream.key(), functools.partial(write_reviews, stream))
    return StoredReviews(found, np.arange(len(corpora.Texts.of(found, "texts"))), stream.names)


def write_reviews(stream: Stream, append: corpora.Append) -> dict:
    """Appends the texts, groups, places and labels of a stream of reviews; returns the different labels.

    The group of a review is empty if it is the text. Reviews without labels have no places, which are for messages.
    """
    texts, groups, places = (corpora.TextWriter(append, name) for name in ("texts", "groups", "places"))
    labels: dict[str | int, int] = {}
    append("labels", np.zeros(0, np.int32))
    for batch in batched(stream, corpora.TEXTS_AT_ONCE):
        texts.add(text for text, *_ in batch)
        groups.add("" if group == text else group for text, _, group, _ in batch)
        places.add("" if label == "" else place for _, label, _, place in batch)
        codes = [labels.setdefault(label, len(labels)) for _, label, _, _ in batch]
        append("labels", np.array(codes, np.int32))
    return {"labels": list(labels)}


def all_texts(parts: Iterable[Reviews | StoredReviews]) -> Iterator[str]:
    """Yields the texts of some parts of the data."""
    return itertools.chain.from_iterable(part.texts for part in parts)


def key_of(parts: Iterable[Reviews | StoredReviews]) -> str:
    """Returns a digest of what the texts of some parts depend on."""
    return digest([part.key() for part in parts])

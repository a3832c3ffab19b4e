"""Reviews, in memory or on disk, and how they are read from files, folders and tensorflow-datasets."""

import dataclasses
import functools
import hashlib
import itertools
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from pipelines.common.cache_folders import digest, identities
from pipelines.common.data import corpora, sources
from pipelines.common.data.loading import batched, without_autotune
from pipelines.common.data.splits import ranks
from pipelines.common.data.tables import as_label, read_lines, read_rows
from pipelines.common.errors import UserError
from pipelines.common.files import data_files
from pipelines.sentiment.text_config import DataConfig

NAMED = {"imdb": ("tfds:imdb_reviews", "https://ai.stanford.edu/~amaas/data/sentiment/")}
Row = tuple[str, str | int, str, str]  # text, label, group and place of a review
UNLABELLED = "unsup"
TFDS_UNLABELLED = "unsupervised"

# Reviews --------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Reviews:
    """Some reviews of a corpus.

    Attributes:
        corpus: the arrays that `write_reviews` has written, in memory or on disk.
        rows: int64[reviews], their numbers in the corpus.
        names: of the labels 0, 1, …, if the layout of the data has them.
    """

    corpus: corpora.Arrays
    rows: np.ndarray
    names: tuple[str, ...] = ()

    @classmethod
    def all_of(cls, corpus: corpora.Arrays, names: tuple[str, ...] = ()) -> "Reviews":
        """Returns all reviews of a corpus."""
        return cls(corpus, np.arange(len(corpora.Texts.of(corpus, "texts"))), names)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def texts(self) -> corpora.Texts:
        return corpora.Texts.of(self.corpus, "texts", self.rows)

    @property
    def places(self) -> corpora.Texts:
        """File and line, for error messages."""
        return corpora.Texts.of(self.corpus, "places", self.rows)

    @property
    def groups(self) -> Iterator[str]:
        """Yields the group of each review: reviews of one group stay in one part of a split."""
        groups = corpora.Texts.of(self.corpus, "groups", self.rows)
        return (group or text for group, text in zip(groups, self.texts, strict=True))

    def take(self, rows) -> "Reviews":
        """Returns the reviews of these numbers, int[n]."""
        return dataclasses.replace(self, rows=self.rows[rows])

    def ranks(self) -> np.ndarray:
        """Returns int64[reviews], the number of the group of each review: see `splits.ranks_of`."""
        return self.derived("ranks", write_ranks)["ranks"][self.rows]

    def hashes(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns uint64[reviews], hashes of the texts, and uint64[reviews], hashes of the groups."""
        found = self.derived("hashes", write_hashes)
        return found["texts"][self.rows], found["groups"][self.rows]

    def coded_labels(self) -> tuple[list[str | int], np.ndarray]:
        """Returns the different labels, and int32[reviews], the number of the label of each review among them.

        Labels are names, as `as_label` returns them; or integers, if there are `names` for them; or empty strings, if
        the reviews were read without labels.
        """
        return self.corpus.facts["labels"], self.corpus.arrays["labels"][self.rows]

    def key(self) -> dict:
        """Returns what the texts depend on, in JSON values."""
        if self.corpus.folder is None:
            return {"texts": digest(list(self.texts))}
        return {"corpus": self.corpus.folder.name, "rows": hashlib.sha256(self.rows.data).hexdigest()}

    def derived(self, kind: str, write: Callable[["Reviews", corpora.Append], dict]) -> dict[str, np.ndarray]:
        """Returns arrays that are computed from all reviews of the corpus; on disk once, into another corpus."""
        write_all, folder = functools.partial(write, Reviews.all_of(self.corpus)), self.corpus.folder
        if folder is None:
            return corpora.in_memory(write_all).arrays
        return corpora.on_disk(folder.parent, {"corpus": folder.name, "kind": kind}, write_all).arrays


def write_ranks(reviews: Reviews, append: corpora.Append) -> dict:
    append("ranks", ranks(reviews.groups, reviews.corpus.folder))
    return {}


def write_hashes(reviews: Reviews, append: corpora.Append) -> dict:
    for name, texts in (("texts", reviews.texts), ("groups", reviews.groups)):
        append(name, np.zeros(0, np.uint64))
        for batch in batched(texts, corpora.TEXTS_AT_ONCE):
            hashes = (hashlib.blake2b(text.encode(), digest_size=8).digest() for text in batch)
            append(name, np.frombuffer(b"".join(hashes), np.uint64))
    return {}


def write_reviews(rows: Iterable[Row], append: corpora.Append) -> dict:
    """Appends the texts, groups, places and labels of reviews; returns the different labels.

    The group of a review is empty if it is the text. Reviews without labels have no places, which are for messages.
    """
    texts, groups, places = (corpora.TextWriter(append, name) for name in ("texts", "groups", "places"))
    labels: dict[str | int, int] = {}
    append("labels", np.zeros(0, np.int32))
    for batch in batched(rows, corpora.TEXTS_AT_ONCE):
        texts.add(text for text, *_ in batch)
        groups.add("" if group == text else group for text, _, group, _ in batch)
        places.add("" if label == "" else place for _, label, _, place in batch)
        codes = [labels.setdefault(label, len(labels)) for _, label, _, _ in batch]
        append("labels", np.array(codes, np.int32))
    return {"labels": list(labels)}


def in_memory(rows: Iterable[Row], names: tuple[str, ...] = ()) -> Reviews:
    """Returns reviews in memory."""
    return Reviews.all_of(corpora.in_memory(functools.partial(write_reviews, rows)), names)


def all_texts(parts: Iterable[Reviews]) -> Iterator[str]:
    """Yields the texts of some parts of the data."""
    return itertools.chain.from_iterable(part.texts for part in parts)


# Reading --------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Stream:
    """Reviews as an iterable of rows, which reads them anew whenever it is iterated.

    Attributes:
        rows: yields the rows.
        key: returns what they depend on, in JSON values: the files by name, size and time, and how they are read.
        names: see Reviews.
    """

    rows: Callable[[], Iterator[Row]]
    key: Callable[[], dict]
    names: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Row]:
        return self.rows()

    def read(self, cache: pathlib.Path | None = None) -> Reviews:
        """Returns all reviews: in memory, or from a folder of the cache, into which they are written once."""
        if cache is None:
            return in_memory(self, self.names)
        return Reviews.all_of(corpora.on_disk(cache, self.key(), functools.partial(write_reviews, self)), self.names)


def open_file(path: pathlib.Path, data: DataConfig, grouped: bool, label: str) -> Stream:
    """Returns a table as a stream: texts, the labels in the column `label` if it is not "", groups if `grouped` or
    present."""

    def key() -> dict:
        columns = [data.text_column, label, data.group_column]
        return {"data": identities([path]), "columns": columns, "grouped": grouped, "quoting": data.quoting}

    return Stream(functools.partial(read_file, path, data, grouped, label), key)


def read_file(path: pathlib.Path, data: DataConfig, grouped: bool, label: str) -> Iterator[Row]:
    """Yields the rows of `open_file`."""
    text, group = data.text_column, data.group_column
    columns = [text, *([label] if label else []), *([group] if group and grouped else [])]
    for line, row in read_rows(path, columns, data.quoting):
        place = f"{path}, line {line}"
        if not isinstance(row[text], str):
            raise UserError(f"{place}: {text} is {row[text]!r}, expected a string")
        own_label = as_label(row[label], f"{place}: {label}") if label else ""
        known = group in row and (grouped or row[group] not in (None, ""))
        yield row[text], own_label, as_label(row[group], f"{place}: {group}") if known else row[text], place


def open_folder(folder: pathlib.Path, data: DataConfig, grouped: bool) -> Stream:
    """Returns the layout of aclImdb as a stream: a folder for each label (but unsup), a file for each review.

    The name `12_7.txt` is that of review 12, and line 12 (from 0) of `urls_LABEL.txt` is its film, the group if the
    configuration has a group column.
    """
    folders = [entry for entry in data_files(folder) if entry.is_dir() and entry.name != UNLABELLED]
    if not folders:
        raise UserError(f"{folder} has no folders: expected one for each label, such as pos and neg")
    names = [as_label(entry.name, f"{entry}: the label") for entry in folders]
    labels = tuple(dict.fromkeys(names))
    with_films = bool(grouped and data.group_column)

    def rows() -> Iterator[Row]:
        for entry, name in zip(folders, names, strict=True):
            empty = True
            films = film_urls(urls_of(entry)) if with_films else None
            for row in read_text_files(entry, labels.index(name), films):
                empty = False
                yield row
            if empty:
                raise UserError(f"{entry} is empty: expected reviews of the label {name} as files NUMBER_RATING.txt")

    return Stream(rows, lambda: text_files_key(folders, with_films), labels)


def open_unlabelled_folder(folder: pathlib.Path, data: DataConfig) -> Stream:
    """Returns a folder of unlabelled reviews as a stream, with their films if these are known."""
    with_films = bool(data.group_column) and urls_of(folder).is_file()
    return Stream(
        lambda: read_text_files(folder, "", film_urls(urls_of(folder)) if with_films else None),
        lambda: text_files_key([folder], with_films),
    )


def text_files_key(folders: list[pathlib.Path], with_films: bool) -> dict:
    """Returns the key of the text files of some folders, and of the files of their films."""
    found = {folder.name: digest(identities(data_files(folder, "*.txt"))) for folder in folders}
    return {"data": found, "films": identities(map(urls_of, folders)) if with_films else None}


def urls_of(folder: pathlib.Path) -> pathlib.Path:
    """Returns the file of the films of the reviews in a folder."""
    return folder.with_name(f"urls_{folder.name}.txt")


def read_text_files(folder: pathlib.Path, label: int | str, films: dict[str, str] | None) -> Iterator[Row]:
    """Yields the reviews NUMBER_RATING.txt of a folder. They have one label; `films` are their groups."""
    for path in data_files(folder, "*.txt"):
        try:
            text = path.read_bytes().decode()
        except OSError as error:
            raise UserError(f"{path} could not be read: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: byte {error.start + 1} is not UTF-8; expected a file in UTF-8") from error
        film = None if films is None else films.get(path.stem.split("_")[0])
        if films is not None and film is None:
            raise UserError(f"{urls_of(folder)} has no line for the review {path.name}")
        yield text, label, film or text, str(path)


def film_urls(path: pathlib.Path) -> dict[str, str]:
    """Reads the film of each review, by the number of the review."""
    lines = (line.rstrip("\r\n") for line in read_lines(path))
    return {str(number): line.removesuffix("usercomments") for number, line in enumerate(lines)}


def open_tfds(name: str, part: str, data: DataConfig, grouped: bool, label: str) -> Stream:
    """Returns a part of a data set of tensorflow-datasets as a stream, with the labels in the column `label` if it is
    not ""."""
    builder = sources.prepare_tfds(name.removeprefix(sources.TFDS), data.manual_dir)
    features = builder.info.features
    for column in (data.text_column, *([label] if label else [])):
        if column not in features:
            raise UserError(f"{name} has the features {', '.join(features)}: expected {column}")
    group = data.group_column if grouped and data.group_column in features else ""
    if grouped and data.group_column and not group and part != TFDS_UNLABELLED:
        print(f"{name} has no {data.group_column}: the split keeps only equal texts together", file=sys.stderr)
    names = getattr(features[label], "names", None) if label else None

    def rows() -> Iterator[Row]:
        for number, row in enumerate(without_autotune(builder.as_dataset(split=part)).as_numpy_iterator()):
            text = row[data.text_column].decode(errors="replace")
            place = f"{name}, example {number} of {part}"
            own_label = tfds_label(row[label], bool(names), f"{place}: {label}") if label else ""
            yield text, own_label, str(row[group]) if group else text, place

    def key() -> dict:
        info = builder.info
        size = info.splits[part].num_examples if part in info.splits else None
        return {"data": [info.full_name, part, size], "columns": [data.text_column, label, group]}

    return Stream(rows, key, tuple(names or ()))


def tfds_label(value, named: bool, where: str) -> str | int:
    """Returns the label of an example: its number if the numbers are `named`, otherwise its name."""
    if named:
        return int(value)
    return as_label(value.decode() if isinstance(value, bytes) else value.item(), where)

"""Reads reviews, with or without labels, from files, folders and tensorflow-datasets."""

import dataclasses
import functools
import hashlib
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from pipelines.common.cache_folders import digest, identities
from pipelines.common.data import sources
from pipelines.common.data.labels import as_label
from pipelines.common.data.loading import without_autotune
from pipelines.common.data.splits import ranks_of
from pipelines.common.data.tables import ENDINGS, read_lines, read_rows
from pipelines.common.errors import UserError
from pipelines.common.files import data_files
from pipelines.sentiment.text_config import DataConfig

NAMED = {"imdb": ("tfds:imdb_reviews", "https://ai.stanford.edu/~amaas/data/sentiment/")}
PARTS = ("train", "validation", "test")
Row = tuple[str, str | int, str, str]  # text, label, group and place of a review
UNLABELLED = "unsup"
TFDS_UNLABELLED = "unsupervised"


@dataclasses.dataclass(frozen=True)
class Reviews:
    """Reviews as strings, in memory. StoredReviews (stored_reviews.py) are those on disk.

    Attributes:
        texts: the reviews.
        labels: names, as `as_label` returns them; or integers, if the layout of the data has `names` for them; or empty
            strings, if the reviews were read without labels.
        groups: reviews of one group stay in one part of a split.
        places: file and line, for error messages.
        names: of the labels 0, 1, …, if the layout of the data has them.
    """

    texts: list[str]
    labels: list[str | int]
    groups: list[str]
    places: list[str]
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Iterable[int]) -> "Reviews":
        """Returns the reviews of these numbers."""
        rows = list(rows)

        def pick(values):
            return [values[row] for row in rows]

        return Reviews(pick(self.texts), pick(self.labels), pick(self.groups), pick(self.places), self.names)

    def ranks(self) -> np.ndarray:
        """Returns int64[reviews], the number of the group of each review: see `splits.ranks_of`."""
        return ranks_of(self.groups)

    def hashes(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns uint64[reviews], hashes of the texts, and uint64[reviews], hashes of the groups."""
        return hashes(self.texts), hashes(self.groups)

    def coded_labels(self) -> tuple[list, np.ndarray]:
        """Returns the different labels, and int32[reviews], the number of the label of each review among them."""
        numbers: dict[str | int, int] = {}
        codes = np.fromiter((numbers.setdefault(label, len(numbers)) for label in self.labels), np.int32, len(self))
        return list(numbers), codes

    def key(self) -> dict:
        """Returns what the texts depend on, in JSON values."""
        return {"texts": digest(self.texts)}


def hashes(texts: Iterable[str]) -> np.ndarray:
    """Returns uint64[texts], a hash of each text."""
    found = (hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(b"".join(found), np.uint64)


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

    def read(self) -> Reviews:
        """Returns all reviews, in memory."""
        found = Reviews([], [], [], [], self.names)
        for text, label, group, place in self:
            found.texts.append(text)
            found.labels.append(label)
            found.groups.append(group)
            found.places.append(place)
        return found


def locate(data: DataConfig) -> pathlib.Path | str:
    """Returns the path of the data, or its name `tfds:NAME`."""
    return sources.locate(data.location, "sentiment", NAMED)


def own_parts(where: pathlib.Path | str) -> tuple[str, ...]:
    """Returns the parts that the data has before any split. A single file is "train"."""
    if isinstance(where, str):
        return ("train", "test")
    if where.is_file():
        return ("train",)
    parts = tuple(part for part in PARTS if (where / part).is_dir() or part_files(where, part))
    if "train" in parts or "test" in parts:
        return parts
    raise UserError(f"{where} has no reviews: expected train.csv, .tsv or .jsonl (.gz, .xz), or folders train/LABEL/")


def part_files(folder: pathlib.Path, part: str) -> list[pathlib.Path]:
    """Returns the tables of a part."""
    return [folder / (part + ending) for ending in ENDINGS if (folder / (part + ending)).is_file()]


def read(where: pathlib.Path | str, part: str, data: DataConfig, grouped: bool, labelled: bool = True) -> Reviews:
    """Reads one part; the arguments are those of `open_part`."""
    return open_part(where, part, data, grouped, labelled).read()


def open_part(where: pathlib.Path | str, part: str, data: DataConfig, grouped: bool, labelled: bool = True) -> Stream:
    """Returns one part as a stream.

    Args:
        where: as `locate` returns it.
        part: "train", "validation" or "test".
        data: names of the columns.
        grouped: require the group column, for a split.
        labelled: require the label column. `data` is then the DataConfig of a classifier.
    """
    label = label_column(data, labelled)
    if isinstance(where, str):
        return open_tfds(where, part, data, grouped, label)
    if where.is_file():
        return open_file(where, data, grouped, label)
    files = part_files(where, part)
    if len(files) > 1:
        raise UserError(f"{where} has both {files[0].name} and {files[1].name}: expected one file for {part}")
    if files:
        return open_file(files[0], data, grouped, label)
    return open_folder(where / part, data, grouped)


def label_column(data, labelled: bool) -> str:
    """Returns the name of the label column, "" without labels: the data of a language model has no label column."""
    return data.label_column if labelled else ""


def open_unlabelled(where: pathlib.Path | str, data: DataConfig) -> Stream | None:
    """Returns the unlabelled reviews as a stream, with their groups where these are known; None if there are none."""
    if isinstance(where, str):
        builder = sources.prepare_tfds(where.removeprefix(sources.TFDS), data.manual_dir)
        return open_tfds(where, TFDS_UNLABELLED, data, True, "") if TFDS_UNLABELLED in builder.info.splits else None
    if where.is_file():
        return None
    files, folder = part_files(where, UNLABELLED), where / "train" / UNLABELLED
    if len(files) > 1:
        raise UserError(f"{where} has both {files[0].name} and {files[1].name}: expected one file for {UNLABELLED}")
    if files:
        return open_file(files[0], data, grouped=False, label="")
    if not folder.is_dir():
        return None
    films = folder.with_name(f"urls_{UNLABELLED}.txt")
    with_films = bool(data.group_column) and films.is_file()
    return Stream(
        lambda: read_text_files(folder, "", film_urls(films) if with_films else None),
        lambda: text_files_key([folder], with_films),
    )


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


def join(first: Reviews, second: Reviews) -> Reviews:
    """Concatenates two parts of the same data."""
    lists = ("texts", "labels", "groups", "places")
    return dataclasses.replace(first, **{name: getattr(first, name) + getattr(second, name) for name in lists})

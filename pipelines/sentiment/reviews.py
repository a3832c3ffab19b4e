"""Labelled reviews as they are read: from files, from folders, from tensorflow-datasets."""

import dataclasses
import pathlib
import sys

from pipelines.common import sources
from pipelines.common.errors import UserError
from pipelines.common.tables import ENDINGS, read_rows
from pipelines.sentiment.config import Config

PARTS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Reviews:
    """Reviews as they were read.

    `labels` are as in the file, or integers where `names` (of the integers) is known from the layout of the data.
    """

    texts: list[str]
    labels: list[str | int]
    groups: list[str]  # reviews of one group stay on one side of a split
    places: list[str]  # file and line, for messages
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows) -> "Reviews":
        def pick(values):
            return [values[row] for row in rows]

        return Reviews(pick(self.texts), pick(self.labels), pick(self.groups), pick(self.places), self.names)


def own_parts(where: pathlib.Path | str) -> tuple[str, ...]:
    """The parts that the data itself has; a single file is all "train"."""
    if isinstance(where, str):
        return ("train", "test")
    if where.is_file():
        return ("train",)
    parts = tuple(part for part in PARTS if (where / part).is_dir() or part_files(where, part))
    if "train" in parts or "test" in parts:
        return parts
    raise UserError(f"{where} holds no reviews: expected train.csv, .tsv or .jsonl (.gz, .xz), or folders train/LABEL/")


def part_files(folder: pathlib.Path, part: str) -> list[pathlib.Path]:
    return [folder / (part + ending) for ending in ENDINGS if (folder / (part + ending)).is_file()]


def read(where: pathlib.Path | str, part: str, config: Config, grouped: bool) -> Reviews:
    """Reads one part. `grouped`: the config's group column is needed, for a split."""
    if isinstance(where, str):
        return read_tfds(where, part, config, grouped)
    if where.is_file():
        return read_file(where, config, grouped)
    files = part_files(where, part)
    if len(files) > 1:
        raise UserError(f"{where} holds both {files[0].name} and {files[1].name}: expected one file for {part}")
    return read_file(files[0], config, grouped) if files else read_folder(where / part, config, grouped)


def read_file(path: pathlib.Path, config: Config, grouped: bool) -> Reviews:
    """Reads a table with a text and a label a row."""
    text, label, group = config.text_column, config.label_column, config.group_column if grouped else ""
    found = Reviews([], [], [], [])
    for line, row in read_rows(path, [text, label, *([group] if group else [])]):
        place = f"{path}, line {line}"
        if not isinstance(row[text], str):
            raise UserError(f"{place}: {text} is {row[text]!r}, expected a string")
        found.texts.append(row[text])
        found.labels.append(as_label(row[label], f"{place}: {label}"))
        found.groups.append(str(row[group]) if group else row[text])
        found.places.append(place)
    return found


def as_label(value, where: str) -> str | int:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    raise UserError(f"{where} is {value!r}, expected a name or an integer")


def read_folder(folder: pathlib.Path, config: Config, grouped: bool) -> Reviews:
    """Reads the layout of aclImdb: a folder for each label (unsup is left out), a file for each review.

    The names `12_7.txt` carry the number of a review; line 12 of `urls_LABEL.txt` beside is its film, which is the
    group when the config has a group column.
    """
    labels = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name != "unsup")
    if not labels:
        raise UserError(f"{folder} holds no folders: expected one for each label, such as pos and neg")
    found = Reviews([], [], [], [], tuple(labels))
    for number, label in enumerate(labels):
        films = film_urls(folder / f"urls_{label}.txt") if grouped and config.group_column else None
        for path in sorted((folder / label).glob("*.txt")):
            try:
                text = path.read_bytes().decode()
            except UnicodeDecodeError as error:
                raise UserError(f"{path}: byte {error.start + 1} is not UTF-8; expected a file in UTF-8") from error
            film = None if films is None else films.get(path.stem.split("_")[0])
            if films is not None and film is None:
                raise UserError(f"{folder / f'urls_{label}.txt'} has no line for the review {path.name}")
            found.texts.append(text)
            found.labels.append(number)
            found.groups.append(film or text)
            found.places.append(str(path))
    if not found.texts:
        raise UserError(f"{folder} is empty: expected reviews as files NUMBER_RATING.txt in {', '.join(labels)}")
    return found


def film_urls(path: pathlib.Path) -> dict[str, str]:
    """Number of a review -> film."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path} could not be read, which names the group of each review: {error.strerror}") from error
    return {str(number): line.removesuffix("usercomments") for number, line in enumerate(lines)}


def read_tfds(name: str, part: str, config: Config, grouped: bool) -> Reviews:
    """Reads a data set of tensorflow-datasets that has a text and a label."""
    builder = sources.prepare_tfds(name.removeprefix(sources.TFDS), config.manual_dir)
    features = builder.info.features
    for column in (config.text_column, config.label_column):
        if column not in features:
            raise UserError(f"{name} has the features {', '.join(features)}: expected {column}")
    group = config.group_column if grouped and config.group_column in features else ""
    if grouped and config.group_column and not group:
        print(f"{name} has no {config.group_column}: the split keeps only equal texts together", file=sys.stderr)
    found = Reviews([], [], [], [], tuple(getattr(features[config.label_column], "names", None) or ()))
    for number, row in enumerate(builder.as_dataset(split=part).as_numpy_iterator()):
        text = row[config.text_column].decode(errors="replace")
        label = row[config.label_column]
        found.texts.append(text)
        found.labels.append(label.decode() if isinstance(label, bytes) else int(label))
        found.groups.append(str(row[group]) if group else text)
        found.places.append(f"{name}, example {number} of {part}")
    return found


def join(first: Reviews, second: Reviews) -> Reviews:
    """The reviews of two parts of the same data."""
    lists = ("texts", "labels", "groups", "places")
    return dataclasses.replace(first, **{name: getattr(first, name) + getattr(second, name) for name in lists})

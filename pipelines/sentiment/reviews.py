"""Reviews as they are read, with their labels or without: from files, from folders, from tensorflow-datasets."""

import dataclasses
import pathlib
import sys

from pipelines.common.data import sources
from pipelines.common.data.loading import without_autotune
from pipelines.common.data.tables import ENDINGS, read_rows
from pipelines.common.errors import UserError
from pipelines.sentiment.text_options import TextOptions

NAMED = {"imdb": ("tfds:imdb_reviews", "https://ai.stanford.edu/~amaas/data/sentiment/")}
PARTS = ("train", "validation", "test")
UNLABELLED = "unsup"
TFDS_UNLABELLED = "unsupervised"


@dataclasses.dataclass(frozen=True)
class Reviews:
    """Reviews as they were read.

    `labels` are as in the file, or integers where `names` (of the integers) is known from the layout of the data; empty
    strings where they were not asked for.
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


def read(where: pathlib.Path | str, part: str, config: TextOptions, grouped: bool, labelled: bool = True) -> Reviews:
    """Reads one part. `grouped`: the config's group column is needed, for a split. `labelled`: so is its label."""
    if isinstance(where, str):
        return read_tfds(where, part, config, grouped, labelled)
    if where.is_file():
        return read_file(where, config, grouped, labelled)
    files = part_files(where, part)
    if len(files) > 1:
        raise UserError(f"{where} holds both {files[0].name} and {files[1].name}: expected one file for {part}")
    if files:
        return read_file(files[0], config, grouped, labelled)
    return read_folder(where / part, config, grouped)


def read_unlabelled(where: pathlib.Path | str, config: TextOptions) -> Reviews | None:
    """The unlabelled reviews of the data, None where it has none. Their groups are known or are not."""
    if isinstance(where, str):
        return read_tfds(where, TFDS_UNLABELLED, config, grouped=True, labelled=False)
    if where.is_file():
        return None
    files, folder = part_files(where, UNLABELLED), where / "train" / UNLABELLED
    if len(files) > 1:
        raise UserError(f"{where} holds both {files[0].name} and {files[1].name}: expected one file for {UNLABELLED}")
    if files:
        return read_file(files[0], config, grouped=False, labelled=False)
    if not folder.is_dir():
        return None
    films = folder.with_name(f"urls_{UNLABELLED}.txt")
    found = Reviews([], [], [], [])
    read_text_files(found, folder, "", film_urls(films) if config.group_column and films.is_file() else None)
    return found


def read_file(path: pathlib.Path, config: TextOptions, grouped: bool, labelled: bool) -> Reviews:
    """Reads a table with a text and, if it is `labelled`, a label a row. Where the group is not needed, it is taken for
    what it is if it is there."""
    text, group = config.text_column, config.group_column
    label = config.label_column if labelled else ""
    found = Reviews([], [], [], [])
    for line, row in read_rows(path, [text, *([label] if label else []), *([group] if group and grouped else [])]):
        place = f"{path}, line {line}"
        if not isinstance(row[text], str):
            raise UserError(f"{place}: {text} is {row[text]!r}, expected a string")
        found.texts.append(row[text])
        found.labels.append(as_label(row[label], f"{place}: {label}") if label else "")
        found.groups.append(str(row[group]) if group in row else row[text])
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


def read_folder(folder: pathlib.Path, config: TextOptions, grouped: bool) -> Reviews:
    """Reads the layout of aclImdb: a folder for each label (unsup is left out), a file for each review.

    The names `12_7.txt` carry the number of a review; line 12 of `urls_LABEL.txt` beside is its film, which is the
    group when the config has a group column.
    """
    labels = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name != UNLABELLED)
    if not labels:
        raise UserError(f"{folder} holds no folders: expected one for each label, such as pos and neg")
    found = Reviews([], [], [], [], tuple(labels))
    for number, label in enumerate(labels):
        films = film_urls(folder / f"urls_{label}.txt") if grouped and config.group_column else None
        read_text_files(found, folder / label, number, films)
    if not found.texts:
        raise UserError(f"{folder} is empty: expected reviews as files NUMBER_RATING.txt in {', '.join(labels)}")
    return found


def read_text_files(found: Reviews, folder: pathlib.Path, label: int | str, films: dict[str, str] | None):
    """Adds the reviews NUMBER_RATING.txt of a folder to those that were found."""
    for path in sorted(folder.glob("*.txt")):
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: byte {error.start + 1} is not UTF-8; expected a file in UTF-8") from error
        film = None if films is None else films.get(path.stem.split("_")[0])
        if films is not None and film is None:
            raise UserError(f"{folder.parent / f'urls_{folder.name}.txt'} has no line for the review {path.name}")
        found.texts.append(text)
        found.labels.append(label)
        found.groups.append(film or text)
        found.places.append(str(path))


def film_urls(path: pathlib.Path) -> dict[str, str]:
    """Number of a review -> film."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path} could not be read, which names the group of each review: {error.strerror}") from error
    return {str(number): line.removesuffix("usercomments") for number, line in enumerate(lines)}


def read_tfds(name: str, part: str, config: TextOptions, grouped: bool, labelled: bool) -> Reviews | None:
    """Reads a data set of tensorflow-datasets that has a text and, if it is `labelled`, a label; None where it has no
    such part as the unlabelled one."""
    builder = sources.prepare_tfds(name.removeprefix(sources.TFDS), config.manual_dir)
    if part == TFDS_UNLABELLED and part not in builder.info.splits:
        return None
    features = builder.info.features
    for column in (config.text_column, *([config.label_column] if labelled else [])):
        if column not in features:
            raise UserError(f"{name} has the features {', '.join(features)}: expected {column}")
    group = config.group_column if grouped and config.group_column in features else ""
    if grouped and config.group_column and not group and part != TFDS_UNLABELLED:
        print(f"{name} has no {config.group_column}: the split keeps only equal texts together", file=sys.stderr)
    names = getattr(features[config.label_column], "names", None) if labelled else None
    found = Reviews([], [], [], [], tuple(names or ()))
    for number, row in enumerate(without_autotune(builder.as_dataset(split=part)).as_numpy_iterator()):
        text = row[config.text_column].decode(errors="replace")
        label = row[config.label_column] if labelled else ""
        found.texts.append(text)
        found.labels.append(label.decode() if isinstance(label, bytes) else int(label))
        found.groups.append(str(row[group]) if group else text)
        found.places.append(f"{name}, example {number} of {part}")
    return found


def join(first: Reviews, second: Reviews) -> Reviews:
    """The reviews of two parts of the same data."""
    lists = ("texts", "labels", "groups", "places")
    return dataclasses.replace(first, **{name: getattr(first, name) + getattr(second, name) for name in lists})

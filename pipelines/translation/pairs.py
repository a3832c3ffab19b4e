"""Reads sentence pairs from parallel files, tables and tensorflow-datasets."""

import contextlib
import dataclasses
import itertools
import pathlib
from collections.abc import Iterable, Iterator

from pipelines.common.cache_folders import identities
from pipelines.common.data import sources
from pipelines.common.data.loading import without_autotune
from pipelines.common.data.tables import read_cells, read_lines
from pipelines.common.errors import UserError
from pipelines.common.files import data_files
from pipelines.translation.config import DataConfig

PARTS = ("train", "validation", "test")
NAMES = {"train": ("train",), "validation": ("val", "validation", "valid", "dev"), "test": ("test",)}  # of files
PACKED = ("", ".gz", ".xz")


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Sentences and their translations: `targets[n]` is a translation of `sources[n]`."""

    sources: list[str]
    targets: list[str]

    def __len__(self) -> int:
        return len(self.sources)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return zip(self.sources, self.targets, strict=True)

    def take(self, rows: Iterable[int]) -> "Pairs":
        rows = list(rows)
        return Pairs([self.sources[row] for row in rows], [self.targets[row] for row in rows])

    def by_source(self) -> tuple[list[str], list[list[str]]]:
        """Returns the distinct sources, in their order, and the list of references of each."""
        references: dict[str, list[str]] = {}
        for source, target in zip(self.sources, self.targets, strict=True):
            references.setdefault(source, []).append(target)
        return list(references), list(references.values())


def own_parts(where: pathlib.Path | str, data: DataConfig) -> tuple[str, ...]:
    """Returns the parts that the data has. A single table is all "train"."""
    if isinstance(where, str):
        splits = sources.prepare_tfds(where.removeprefix(sources.TFDS), data.manual_dir).info.splits
        return tuple(part for part in PARTS if part in splits or not splits)  # some data sets do not list their splits
    if where.is_file():
        return ("train",)
    parts = tuple(part for part in PARTS if is_there(where, part, data))
    if "train" in parts or "test" in parts:
        return parts
    raise UserError(
        f"{where} has no sentence pairs: expected train.{data.source} and train.{data.target} (.gz, .xz)"
        f" or train.tsv{other_languages(where)}"
    )


def is_there(folder: pathlib.Path, part: str, data: DataConfig) -> bool:
    """Returns whether a folder has one or more files of a part."""
    return any(
        list(folder.glob(f"{name}*.{ending}{packed}"))
        for name in NAMES[part]
        for ending in (data.source, data.target, "tsv")
        for packed in PACKED
    )


def other_languages(folder: pathlib.Path) -> str:
    """Returns a hint for an error message: the languages that the folder has."""
    found = sorted(
        {name[1] for path in data_files(folder) if len(name := path.name.split(".")) > 1 and "train" in name[0]}
    )
    return f"; found train files of {', '.join(found)}" if found else ""


def files_of(folder: pathlib.Path, part: str, data: DataConfig, stem: str = "") -> tuple[pathlib.Path, ...]:
    """Returns (source file, target file), (table,), or () if the folder does not have the part.

    `test.de` comes first, then the only file with a longer name, such as `test_2016_flickr.de`. A `stem` chooses one of
    several.
    """
    layouts: tuple[tuple[str, ...], ...] = ((data.source, data.target), ("tsv",))
    for languages in layouts:
        for name in (stem,) if stem else NAMES[part]:
            found = [unpacked(folder, name, language) for language in languages]
            if not any(found) and not stem:
                found = [beginning_with(folder, name, language) for language in languages]
            paths = tuple(path for path in found if path)
            if len(paths) == len(languages):
                return paths
            if paths:
                there, missing = (languages if found[0] else languages[::-1])[:2]
                raise UserError(f"{folder} has {name}.{there} but no {name}.{missing}: expected line-parallel files")
    return ()


def unpacked(folder: pathlib.Path, name: str, ending: str) -> pathlib.Path | None:
    files = [folder / f"{name}.{ending}{packed}" for packed in PACKED]
    return next((file for file in files if file.is_file()), None)


def beginning_with(folder: pathlib.Path, name: str, ending: str) -> pathlib.Path | None:
    """Returns the only file called `name…`.`ending`. Raises UserError if there are several."""
    found = sorted(
        path for packed in PACKED for path in folder.glob(f"{name}[._-]*.{ending}{packed}") if path.is_file()
    )
    if len(found) > 1:
        stems = ", ".join(path.name.split(f".{ending}")[0] for path in found)
        raise UserError(f"{folder} has several files for {name}: choose one of {stems} with --split")
    return found[0] if found else None


@dataclasses.dataclass(frozen=True)
class Stream:
    """One part, "train", "validation", "test", or the stem of a file name such as test_2016_flickr: an iterable of
    (source, target) that is read anew whenever it is iterated."""

    where: pathlib.Path | str
    part: str
    data: DataConfig

    def __iter__(self) -> Iterator[tuple[str, str]]:
        if isinstance(self.where, str):
            return stream_tfds(self.where, self.part, self.data)
        files = self.files()
        return stream_table(files[0], self.data.quoting) if len(files) == 1 else stream_parallel(*files)

    def read(self) -> Pairs:
        """Returns all pairs in memory."""
        pairs = Pairs([], [])
        for source, target in self:
            pairs.sources.append(source)
            pairs.targets.append(target)
        return pairs

    def files(self) -> tuple[pathlib.Path, ...]:
        """Returns (source file, target file) or (table,); () for a data set of tensorflow-datasets."""
        if isinstance(self.where, str):
            return ()
        if self.where.is_file():
            return (self.where,)
        files = files_of(self.where, self.part, self.data, "" if self.part in PARTS else self.part)
        if not files:
            expected = f"expected {self.part}.{self.data.source} and {self.part}.{self.data.target}"
            raise UserError(f"{self.where} has no part {self.part}: {expected}")
        return files

    def key(self) -> dict:
        """Returns what the pairs depend on, in JSON values: the files by name, size and time, and how they are read."""
        if isinstance(self.where, str):
            info = sources.prepare_tfds(self.where.removeprefix(sources.TFDS), self.data.manual_dir).info
            found: list = [info.full_name, self.part, info.splits[self.part].num_examples if info.splits else None]
        else:
            found = [list(identity) for identity in identities(self.files())]
        return {"data": found, "languages": [self.data.source, self.data.target], "quoting": self.data.quoting}


def stream_parallel(source: pathlib.Path, target: pathlib.Path) -> Iterator[tuple[str, str]]:
    """Yields the pairs of two files, of which line n of one is the translation of line n of the other."""
    counts = [0, 0]
    with contextlib.closing(read_lines(source)) as sources, contextlib.closing(read_lines(target)) as targets:
        for pair in itertools.zip_longest(sources, targets):
            for side, line in enumerate(pair):
                counts[side] += line is not None
            if counts[0] == counts[1]:
                yield pair[0].rstrip("\r\n"), pair[1].rstrip("\r\n")
    if counts[0] != counts[1]:
        raise UserError(
            f"{source} has {counts[0]:,} lines and {target} has {counts[1]:,}: expected as many, a sentence and its"
            " translation on the same line"
        )
    if not counts[0]:
        raise UserError(f"{source} is empty: expected a sentence a line")


def stream_table(path: pathlib.Path, quoting: bool) -> Iterator[tuple[str, str]]:
    """Yields the pairs of lines of source, tab, target. A source on several lines has several translations."""
    empty = True
    for number, cells in read_cells(path, quoting=quoting):
        if len(cells) != 2:
            raise UserError(
                f"{path}, line {number}: {len(cells)} columns, expected 2: a sentence, a tab, its translation"
            )
        empty = False
        yield cells[0], cells[1]
    if empty:
        raise UserError(f"{path} is empty: expected a sentence, a tab and its translation a line")


def stream_tfds(name: str, part: str, data: DataConfig) -> Iterator[tuple[str, str]]:
    """Yields the pairs of a translation set of tensorflow-datasets, whose features are named after the languages."""
    builder = sources.prepare_tfds(name.removeprefix(sources.TFDS), data.manual_dir)
    languages = list(builder.info.features)
    for language in (data.source, data.target):
        if language not in languages:
            raise UserError(f"{name} has the languages {', '.join(languages)}: expected {language}")
    if builder.info.splits and part not in builder.info.splits:
        raise UserError(f"{name} has no part {part}: it has {', '.join(builder.info.splits)}")
    for row in without_autotune(builder.as_dataset(split=part)).as_numpy_iterator():  # shard by shard
        yield row[data.source].decode(errors="replace"), row[data.target].decode(errors="replace")

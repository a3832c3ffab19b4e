"""Finds the parts of the data, and splits off those that it does not have."""

import contextlib
import pathlib
import sys
from collections.abc import Mapping

import numpy as np

from pipelines.common.config import flag
from pipelines.common.data import sources
from pipelines.common.data.splits import require_part, split_ranks
from pipelines.common.data.tables import ENDINGS
from pipelines.common.errors import UserError
from pipelines.sentiment.reviews import (
    NAMED,
    TFDS_UNLABELLED,
    UNLABELLED,
    Reviews,
    Stream,
    open_file,
    open_folder,
    open_tfds,
    open_unlabelled_folder,
)
from pipelines.sentiment.text_config import DataConfig

PARTS = ("train", "validation", "test")


def load(data: DataConfig, cache: pathlib.Path | None = None, labelled: bool = True) -> dict[str, Reviews]:
    """Returns the parts "train", "validation" and "test".

    A part that the data does not have is split off the training reviews, by --split-seed only, so that a later call
    finds the same parts.

    Args:
        cache: folder of corpora that the reviews are read into, once. None: they are in memory.
        labelled: False for a language model, which needs no labels and does not read a test part.
    """
    where = locate(data)
    own = own_parts(where)
    require_part("train", own, data.location)
    missing = [part for part in ("test", "validation") if part not in own]
    parts = {
        part: open_part(where, part, data, part == "train" and bool(missing), labelled).read(cache)
        for part in own
        if labelled or part != "test"
    }
    for part in missing:
        share = getattr(data, f"{part}_share")
        if share:
            parts["train"], parts[part] = split_off(parts["train"], share, data)
    return parts


def split_off(reviews: Reviews, share: float, data: DataConfig) -> tuple[Reviews, Reviews]:
    """Splits off about this share of the reviews, in whole groups. Returns (the others, the share)."""
    expected = "training reviews of two groups or more"
    rest, rows = split_ranks(reviews.ranks(), share * len(reviews), data.split_seed, data.location, expected)
    return reviews.take(rest), reviews.take(rows)


def load_part(data: DataConfig, part: str) -> Reviews:
    """Loads one part of the data of a run."""
    where = locate(data)
    own = own_parts(where)
    if part in own and not (part == "train" and len(own) < len(PARTS)):  # nothing is split off this part
        return open_part(where, part, data, grouped=False).read()
    parts = load(data)
    require_part(part, parts, data.location)
    return parts[part]


def load_all(data: DataConfig, part: str) -> Reviews:
    """Loads data that is not that of the run: all of a file, or the part of a folder."""
    where = locate(data)
    if isinstance(where, pathlib.Path) and where.is_file():
        part = "train"
    require_part(part, own_parts(where), data.location)
    return open_part(where, part, data, grouped=False).read()


def find_unlabelled(
    data: DataConfig, parts: Mapping[str, Reviews], cache: pathlib.Path | None = None
) -> Reviews | None:
    """Returns the unlabelled reviews; None if the data has none.

    A review is left out if its text is in any of `parts`, as `load` returned them, except "train"; or if its group is
    in "validation", or in "test" where that was split off the training reviews. (The groups of a test part that the
    data itself has are usually not known.)
    """
    where = locate(data)
    stream = open_unlabelled(where, data)
    if stream is None:
        return None
    unlabelled, own = stream.read(cache), own_parts(where)
    texts, groups = unlabelled.hashes()
    held_out = np.zeros(len(unlabelled), bool)
    for part, reviews in parts.items():
        if part != "train":
            its_texts, its_groups = reviews.hashes()
            held_out |= np.isin(texts, its_texts)
            if part == "validation" or part not in own:
                held_out |= np.isin(groups, its_groups)
    rows = np.flatnonzero(~held_out)
    if len(rows) < len(unlabelled):
        left_out = len(unlabelled) - len(rows)
        print(f"unlabelled: left out {left_out:,} reviews of films or texts that are held out", file=sys.stderr)
    return unlabelled.take(rows)


def refuse_other_split(data: DataConfig, other: DataConfig, name: str):
    """Raises UserError if another run has read the same data with other reviews held out.

    Args:
        data: of the new run.
        other: of the other run.
        name: of the other run, for the message.
    """
    if not same_data(data, other):
        return
    for field in ("group_column", "validation_share", "test_share", "split_seed"):
        if getattr(data, field) != getattr(other, field):
            raise UserError(
                f"{flag(field)} is {getattr(data, field)!r}, but {getattr(other, field)!r} in {name}, which has read"
                " the same data: it may have read what is held out here"
            )


def same_data(data: DataConfig, other: DataConfig) -> bool:
    """Returns whether two configurations have the same --data, however it is written."""
    places = []
    for each in (data, other):
        place: pathlib.Path | str = each.location
        with contextlib.suppress(UserError):  # it no longer exists: compare the names
            place = locate(each)
        places.append(place.resolve() if isinstance(place, pathlib.Path) else place)
    return data.location == other.location or places[0] == places[1]


# Where the parts are -------------------------------------------------------------------------------------------------


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


def open_part(where: pathlib.Path | str, part: str, data: DataConfig, grouped: bool, labelled: bool = True) -> Stream:
    """Returns one part as a stream of rows.

    Args:
        where: as `locate` returns it.
        part: "train", "validation" or "test".
        data: names of the columns.
        grouped: require the group column, for a split.
        labelled: require the label column. `data` is then the DataConfig of a classifier.
    """
    label = vars(data)["label_column"] if labelled else ""
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
    return open_unlabelled_folder(folder, data) if folder.is_dir() else None

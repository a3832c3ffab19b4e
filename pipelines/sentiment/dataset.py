"""Loads reviews in parts, and numbers their labels."""

import contextlib
import pathlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from pipelines.common.config import flag
from pipelines.common.data.labels import as_name
from pipelines.common.data.splits import split_ranks
from pipelines.common.errors import UserError
from pipelines.sentiment.reviews import PARTS, Reviews, Stream, locate, open_part, open_unlabelled, own_parts, read
from pipelines.sentiment.stored_reviews import StoredReviews, store
from pipelines.sentiment.text_config import DataConfig

AnyReviews = Reviews | StoredReviews

# Parts ----------------------------------------------------------------------------------------------------------------


def load(data: DataConfig, labelled: bool = True) -> dict[str, Reviews]:
    """Loads the parts "train", "validation" and "test" into memory: see `open_parts`."""
    return open_parts(data, Stream.read, labelled)


def on_disk(cache: pathlib.Path) -> Callable[[Stream], StoredReviews]:
    """Returns the function that reads a stream of reviews into a folder of the cache."""
    return lambda stream: store(stream, cache)


def open_parts(data: DataConfig, read_all: Callable[[Stream], Any], labelled: bool = True) -> dict[str, Any]:
    """Returns the parts "train", "validation" and "test".

    A part that the data does not have is split off the training reviews, by --split-seed only, so that a later call
    finds the same parts.

    Args:
        read_all: returns the reviews of a stream: Stream.read, Reviews in memory; or on_disk(cache), StoredReviews.
        labelled: False for a language model, which needs no labels and does not read a test part.
    """
    where = locate(data)
    own = own_parts(where)
    if "train" not in own:
        raise UserError(f"--data {data.location} has no part train: it has {', '.join(own)}")
    missing = [part for part in ("test", "validation") if part not in own]
    parts = {
        part: read_all(open_part(where, part, data, grouped=part == "train" and bool(missing), labelled=labelled))
        for part in own
        if labelled or part != "test"
    }
    for part in missing:
        share = getattr(data, f"{part}_share")
        if share:
            parts["train"], parts[part] = split_off(parts["train"], share, data)
    return parts


def split_off(reviews: AnyReviews, share: float, data: DataConfig) -> tuple[AnyReviews, AnyReviews]:
    """Returns the remaining reviews and about this share of them, in whole groups."""
    expected = "training reviews of two groups or more"
    rest, rows = split_ranks(reviews.ranks(), share * len(reviews), data.split_seed, data.location, expected)
    return reviews.take(rest), reviews.take(rows)


def load_part(data: DataConfig, part: str) -> Reviews:
    """Loads one part of the data of a run."""
    where = locate(data)
    own = own_parts(where)
    if part in own and not (part == "train" and len(own) < len(PARTS)):  # nothing is split off this part
        return read(where, part, data, grouped=False)
    parts = load(data)
    if part not in parts:
        raise UserError(f"--data {data.location} has no part {part}: it has {', '.join(parts)}")
    return parts[part]


def load_all(data: DataConfig, part: str) -> Reviews:
    """Loads data that is not that of the run: all of a file, or the part of a folder."""
    where = locate(data)
    if isinstance(where, pathlib.Path) and where.is_file():
        return read(where, "train", data, grouped=False)
    own = own_parts(where)
    if part not in own:
        raise UserError(f"--data {data.location} has no part {part}: it has {', '.join(own)}")
    return read(where, part, data, grouped=False)


def load_unlabelled(data: DataConfig, parts: dict[str, Reviews]) -> Reviews | None:
    """Loads the unlabelled reviews into memory: see `find_unlabelled`."""
    return find_unlabelled(data, parts, Stream.read)


def find_unlabelled(data: DataConfig, parts: Mapping[str, AnyReviews], read_all: Callable[[Stream], Any]) -> Any:
    """Returns the unlabelled reviews; None if the data has none.

    A review is left out if its text is in any of `parts`, as `open_parts` returned them, but "train"; or if its group
    is in "validation", or in "test" where that was split off the training reviews. (The groups of a test part that the
    data itself has are usually not known.)
    """
    where = locate(data)
    stream = open_unlabelled(where, data)
    if stream is None:
        return None
    unlabelled, own = read_all(stream), own_parts(where)
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


# Labels ---------------------------------------------------------------------------------------------------------------


def different_labels(parts: Iterable[AnyReviews]) -> list[str | int]:
    """Returns the different labels of some parts of the data."""
    found: dict[str | int, None] = {}
    for part in parts:
        labels, codes = part.coded_labels()
        found |= {labels[code]: None for code in np.unique(codes).tolist()}
    return list(found)


def name_labels(reviews: AnyReviews, label_names: tuple[str, ...], *others: AnyReviews) -> tuple[str, ...]:
    """Returns the names of the labels in the order of their ids: `label_names` if given, else those of the layout of
    the data, else the labels themselves, those of `others` included, sorted as numbers or strings."""
    if label_names or reviews.names:
        return label_names or reviews.names
    labels = set(map(str, different_labels([reviews, *others])))
    integers = all(as_integer(label) is not None for label in labels)
    return tuple(sorted(labels, key=int if integers else str))


def as_integer(label: str | int) -> int | None:
    """Returns the integer that a label is, or None."""
    try:
        return int(label)
    except ValueError:
        return None


def number_labels(labels: Iterable[str | int], own_names: tuple[str, ...], names: tuple[str, ...]) -> dict:
    """Returns the index of each label in `names`: by name if all labels are among the names, otherwise as integers from
    0. A label that has no index is left out.

    Args:
        labels: different labels.
        own_names: names for the integers, if the layout of the data has them. These are only taken as indices where as
            many names are expected: `pos` and `neg` may have other names here.
    """
    index = {as_name(name): number for number, name in enumerate(names)}
    known = {label: name_of(label, own_names) for label in labels}
    integers = {label: as_integer(label) for label in known}
    as_integers = len(own_names) in (0, len(names)) and None not in integers.values()
    if as_integers and not set(known.values()) <= index.keys():
        return {label: number for label, number in integers.items() if number in range(len(names))}
    return {label: index[name] for label, name in known.items() if name in index}


def name_of(label: str | int, own_names: tuple[str, ...]) -> str:
    """Returns a label as a name; `own_names` are those of the layout of the data."""
    return own_names[int(label)] if own_names else str(label)


def label_ids(reviews: AnyReviews, names: tuple[str, ...]) -> np.ndarray:
    """Returns int32[reviews], the index of each label in `names`: see `number_labels`. Raises UserError for a label
    that has none."""
    labels, codes = reviews.coded_labels()
    index = number_labels(different_labels([reviews]), reviews.names, names)
    ids = np.array([index.get(label, -1) for label in labels], np.int32)[codes]
    wrong = np.flatnonzero(ids < 0)
    if len(wrong):
        row = int(wrong[0])
        raise UserError(
            f"{reviews.places[row]}: the label is {name_of(labels[codes[row]], reviews.names)!r}, expected one of"
            f" {', '.join(names)} (or, throughout, integers from 0 to {len(names) - 1})"
        )
    return ids

"""The labels of reviews: their names, in the order of their ids, and the id of each review."""

from collections.abc import Iterable

import numpy as np

from pipelines.common.config import flag
from pipelines.common.data.splits import HELD_OUT, require_part
from pipelines.common.data.tables import as_name
from pipelines.common.errors import UserError
from pipelines.sentiment.config import Config
from pipelines.sentiment.model import Trained
from pipelines.sentiment.reviews import Reviews


def choose_names(config: Config, reviews: dict[str, Reviews], base: Trained | None) -> tuple[str, ...]:
    """Returns the names of the labels; UserError if the data cannot train a classifier.

    Fine-tuning keeps the names of the base run if they fit the new labels.
    """
    require_part("validation", reviews, config.data.location, HELD_OUT)
    train, validation = reviews["train"], reviews["validation"]
    names = name_labels(train, config.data.label_names, validation)
    # Names that the layout of the data has are not replaced by those of the base by their place: ham is not negative.
    if base and not config.data.label_names and set(train.names) <= set(base.names):
        labels = different_labels([train, validation])
        if len(number_labels(labels, train.names, base.names)) == len(labels):
            names = base.names
    for part, found in reviews.items():
        if not len(found):
            raise UserError(f"--data {config.data.location} has no reviews in the part {part}")
    for field in ("mixture", "base_share"):
        if base and getattr(config.transfer, field) and sorted(names) != sorted(base.names):
            raise UserError(
                f"{flag(field)} needs the labels of the run {config.base}, {', '.join(base.names)}, but the data has"
                f" {', '.join(names)}: expected the same labels, or {flag(field)} 0"
            )
    present = np.unique(label_ids(train, names))
    if len(present) < 2:
        raise UserError(
            f"--data {config.data.location}: all {len(train):,} training reviews have the label"
            f" {names[present[0]]}; expected at least two different labels"
        )
    missing = set(present) - set(np.unique(label_ids(validation, names)))
    calibrations = [field for field in ("calibrate", "calibrate_lengths") if getattr(config.loss, field)]
    if calibrations and missing:
        given = flag(calibrations[0])
        raise UserError(
            f"{given} needs every label in validation, but none of its {len(validation):,} reviews has"
            f" the label {names[min(missing)]}: expected every label there, or --no-{given.removeprefix('--')}"
        )
    return names


def different_labels(parts: Iterable[Reviews]) -> list[str | int]:
    """Returns the different labels of some parts of the data."""
    found: dict[str | int, None] = {}
    for part in parts:
        labels, codes = part.coded_labels()
        found |= {labels[code]: None for code in np.unique(codes).tolist()}
    return list(found)


def name_labels(reviews: Reviews, label_names: tuple[str, ...], *others: Reviews) -> tuple[str, ...]:
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


def label_targets(reviews: Reviews, names: tuple[str, ...]) -> np.ndarray:
    """Returns float32[reviews, classes], 1 for the label of each review: see `label_ids`."""
    return np.eye(len(names), dtype=np.float32)[label_ids(reviews, names)]


def label_ids(reviews: Reviews, names: tuple[str, ...]) -> np.ndarray:
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

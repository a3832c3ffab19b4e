"""Reads features made elsewhere, with a label for each frame, in the layout of MS-TCN (Farha and Gall 2019).

features/NAME.npy             float[features, frames]
groundTruth/NAME.txt          the label of each frame, one per line
mapping.txt                   "number label" in each line; the numbers give the order of the labels
splits/PART.splitN.bundle     NAME.txt of each video of a part: train, test and, if there is one, val
"""

import os
import pathlib
from collections.abc import Iterator

from pipelines.common.data.tables import as_label, read_lines
from pipelines.common.errors import UserError
from pipelines.common.files import data_files
from pipelines.video.clips import PART_NAMES, Clip, Video
from pipelines.video.config import DataConfig

LABELS = "groundTruth"


def read_features(folder: pathlib.Path, data: DataConfig) -> list[Video]:
    """Returns the videos of the bundles of split `data.features_split`; without a folder splits, all of groundTruth.

    Raises:
        UserError: A file is missing, empty or invalid, a label is not in mapping.txt, or a bundle names a video that
            does not exist or that was named before.
    """
    names = set(read_mapping(folder))
    videos = []
    for name, part, place in listed(folder, data.features_split):
        labels = read_labels(folder / LABELS / f"{name}.txt", names, place)
        source = folder / "features" / f"{name}.npy"
        if not os.path.isfile(source):  # unlike Path.is_file, also for a name that is too long
            raise UserError(f"{place}: {source} does not exist: expected the features of {name}")
        group = name[: data.group_prefix] if data.group_prefix else None
        videos.append(Video(name, (Clip(name, source, None, frames=labels),), group, part, place))
    return videos


def read_mapping(folder: pathlib.Path) -> tuple[str, ...]:
    """Returns the labels of mapping.txt in the order of their numbers."""
    path = folder / "mapping.txt"
    labels: dict[int, str] = {}
    places: dict[tuple, int] = {}
    for line, text in lines_of(path, "a number and a label"):
        place = f"{path}, line {line}"
        number, _, label = text.partition(" ")
        if not (number.isascii() and number.isdecimal() and len(number) < 10 and label.strip()):
            raise UserError(f"{place}: {text!r}, expected a number and a label, such as 0 background")
        label = as_label(label, f"{place}: label")
        for kind, key in (("number", int(number)), ("label", label)):
            if (kind, key) in places:
                raise UserError(f"{place}: the {kind} {key} is also in line {places[kind, key]}; expected each once")
            places[kind, key] = line
        labels[int(number)] = label
    return tuple(label for _, label in sorted(labels.items()))


def listed(folder: pathlib.Path, split: int) -> Iterator[tuple[str, str | None, str]]:
    """Yields the name of each video, its part (None: the data has no parts), and where it is listed."""
    splits = folder / "splits"
    if not splits.is_dir():
        paths = data_files(folder / LABELS, "*.txt")
        if not paths:
            raise UserError(f"{folder / LABELS} has no files: expected NAME.txt, the label of each frame of a video")
        yield from ((path.stem, None, str(path)) for path in paths)
        return
    bundles = {part: splits / f"{part}.split{split}.bundle" for part in PART_NAMES}
    present = {part: path for part, path in bundles.items() if path.is_file()}
    if "train" not in {PART_NAMES[part] for part in present}:
        others = ", ".join(path.name for path in data_files(splits, "*.bundle")) or "none"
        raise UserError(
            f"{splits} has no bundle of split {split}, train.split{split}.bundle: it has {others};"
            " choose one with --features-split"
        )
    places: dict[str, str] = {}
    for part, path in present.items():
        for line, text in lines_of(path, "the names of videos, such as p01-1.txt"):
            place = f"{path}, line {line}"
            name = text.removesuffix(".txt")
            if not name or name != pathlib.PurePath(name).name:
                raise UserError(f"{place}: {text!r} is not the name of a file in {LABELS}, such as p01-1.txt")
            if name in places:
                raise UserError(f"{place}: {name} is also at {places[name]}; expected each video in one bundle, once")
            places[name] = place
            yield name, PART_NAMES[part], place


def read_labels(path: pathlib.Path, names: set[str], place: str) -> tuple[str, ...]:
    """Returns the label of each frame; all are in `names`."""
    if not os.path.isfile(path):
        raise UserError(f"{place}: {path} does not exist: expected the label of each frame")
    labels = []
    for line, text in lines_of(path, "a label for each frame"):
        label = as_label(text, f"{path}, line {line}: label")
        if label not in names:
            raise UserError(f"{path}, line {line}: the label {label} is not in {path.parents[1] / 'mapping.txt'}")
        labels.append(label)
    return tuple(labels)


def lines_of(path: pathlib.Path, expected: str) -> list[tuple[int, str]]:
    """Returns (number of the line, its text) of a text file, of which only the last lines may be blank."""
    lines = [(number, line.strip()) for number, line in enumerate(read_lines(path), start=1)]
    while lines and not lines[-1][1]:
        lines.pop()
    if not lines:
        raise UserError(f"{path} is empty: expected {expected}")
    for number, text in lines:
        if not text:
            raise UserError(f"{path}, line {number} is blank: expected {expected}")
    return lines

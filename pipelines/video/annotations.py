"""Reads videos with their labels: one per clip, segments in time, clips joined to sequences, features with a label per
frame, or tensorflow-datasets."""

import dataclasses
import itertools
import math
import os
import pathlib
from collections.abc import Callable

import numpy as np

from pipelines.common.data import sources
from pipelines.common.data.loading import without_autotune
from pipelines.common.data.tables import as_label, read_rows
from pipelines.common.errors import UserError
from pipelines.common.vision.videos import Video as File
from pipelines.video import feature_folders
from pipelines.video.clips import PART_NAMES, PARTS, Clip, Segment, Video
from pipelines.video.config import DataConfig
from pipelines.video.tfds_clips import TfdsClip

FILES = ("labels.csv", "segments.csv", "sequences.csv")


def open_clip(source: os.PathLike, data: DataConfig):
    """Returns an object that iterates over the frames of a clip, with their rate."""
    return source.open(data.fps) if isinstance(source, TfdsClip) else File(source, data.fps, data.folder_fps)


def read(where: pathlib.Path | str, data: DataConfig) -> list[Video]:
    """Returns all videos of a data set with their labels.

    Raises:
        UserError: A label file is missing or invalid, or a clip or group is in two splits.
    """
    if isinstance(where, str):
        videos = read_tfds(where, data.manual_dir)
    elif (path := find_labels(where, data)).is_dir():
        videos = feature_folders.read_features(path.parent, data)
    else:
        videos = read_table(path)
    check_one_part(videos)
    return videos


def find_labels(where: pathlib.Path, data: DataConfig) -> pathlib.Path:
    """Returns the label file of a folder, or its folder groundTruth, or `where` itself if it is a label file."""
    if where.is_file():
        if where.name not in FILES:
            raise UserError(f"{where} is not a label file: expected one of {', '.join(FILES)}, or the folder of one")
        return where
    present = [name for name in FILES if (where / name).is_file()]
    present += [feature_folders.LABELS] if (where / feature_folders.LABELS).is_dir() else []
    if data.annotations:
        if data.annotations not in present:
            raise UserError(f"{where} has no {data.annotations}: it has {', '.join(present) or 'no label file'}")
        return where / data.annotations
    if not present:
        raise UserError(f"{where} has no label file: expected one of {', '.join(FILES)}, or the folder groundTruth")
    if len(present) > 1:
        raise UserError(f"{where} has {' and '.join(present)}: choose one with --annotations")
    return where / present[0]


def read_table(path: pathlib.Path) -> list[Video]:
    return {"labels.csv": read_labels, "segments.csv": read_segments, "sequences.csv": read_sequences}[path.name](path)


def read_labels(path: pathlib.Path) -> list[Video]:
    """Reads the columns file, label and optionally split, group: all frames of a clip have its label."""
    videos: list[Video] = []
    places: dict = {}
    for line, row in read_rows(path, ["file", "label"]):
        place = f"{path}, line {line}"
        name = filled(row, "file", place)
        label = as_label(row["label"], f"{place}: label")
        videos.append(Video(name, (clip_of(path, name, place, label),), group(row), part(row, place), place))
        if name in places and videos[places[name]].part == videos[-1].part:
            raise UserError(f"{place}: {name} is also at {videos[places[name]].place}; expected each clip once")
        places[name] = len(videos) - 1
    return videos


def read_segments(path: pathlib.Path) -> list[Video]:
    """Reads the columns file, start, end, label and optionally split, group: segments of clips, in any order."""
    segments_of: dict[str, list[Segment]] = {}
    first: dict[str, Video] = {}
    for line, row in read_rows(path, ["file", "start", "end", "label"]):
        place = f"{path}, line {line}"
        name = filled(row, "file", place)
        start, end = seconds(row, "start", place), seconds(row, "end", place)
        if end <= start:
            raise UserError(f"{place}: the segment ends at {end:g} s, but must end after its start, {start:g} s")
        video = Video(name, (), group(row), part(row, place), place)
        known = first.setdefault(name, video)
        for column, before, now in (("split", known.part, video.part), ("group", known.group, video.group)):
            if before != now:
                raise UserError(
                    f"{place}: {name} is in the {column} {now}, but in {before} at {known.place}; expected one {column}"
                )
        segments_of.setdefault(name, []).append(Segment(start, end, as_label(row["label"], f"{place}: label"), place))
    videos = []
    for name, segments in segments_of.items():
        segments.sort(key=lambda segment: segment.start)
        for one, following in itertools.pairwise(segments):
            if following.start < one.end - 1e-6:
                raise UserError(
                    f"{following.place}: the segment of {name} starts at {following.start:g} s, but the one of"
                    f" {one.place} ends at {one.end:g} s; expected segments that do not overlap"
                )
        clip = dataclasses.replace(clip_of(path, name, first[name].place, None), segments=tuple(segments))
        videos.append(dataclasses.replace(first[name], clips=(clip,)))
    return videos


def read_sequences(path: pathlib.Path) -> list[Video]:
    """Reads the columns clips and labels, separated by `;`, and optionally seq, split, group: joined clips."""
    videos = []
    for line, row in read_rows(path, ["clips", "labels"]):
        place = f"{path}, line {line}"
        names, labels = (
            [cell.strip() for cell in filled(row, column, place).split(";")] for column in ("clips", "labels")
        )
        if len(names) != len(labels) or not all(names) or not all(labels):
            raise UserError(f"{place}: {len(names)} clips and {len(labels)} labels; expected as many, none empty")
        clips = tuple(
            clip_of(path, name, place, as_label(label, f"{place}: a label"))
            for name, label in zip(names, labels, strict=True)
        )
        name = str(row.get("seq") or f"line {line}")
        videos.append(Video(name, clips, group(row), part(row, place), place))
    return videos


def clip_of(path: pathlib.Path, name: str, place: str, label: str | None) -> Clip:
    source = path.parent / name
    if not os.path.exists(source):
        raise UserError(f"{place}: {name} does not exist in {path.parent}")
    return Clip(name, source, label)


def filled(row: dict, column: str, place: str) -> str:
    value = str(row[column]).strip()
    if not value:
        raise UserError(f"{place}: {column} is empty")
    return value


def seconds(row: dict, column: str, place: str) -> float:
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UserError(f"{place}: {column} is {row[column]!r}, expected seconds from 0 up")
    return value


def group(row: dict) -> str | None:
    return (row.get("group") or "").strip() or None


def part(row: dict, place: str) -> str | None:
    if "split" not in row:
        return None
    if row["split"].strip().lower() not in PART_NAMES:
        raise UserError(f"{place}: split is {row['split']!r}, expected one of train, validation and test")
    return PART_NAMES[row["split"].strip().lower()]


def check_one_part(videos: list[Video]):
    """Raises UserError if a clip or a group is in two splits: the test would contain training data."""
    first: dict[tuple[str, str], Video] = {}
    for video in videos:
        keys = [("clip", clip.name) for clip in video.clips]
        keys += [("group", video.group)] if video.group is not None else []
        for kind, key in keys:
            known = first.setdefault((kind, key), video)
            if known.part != video.part:
                raise UserError(
                    f"{video.place}: the {kind} {key} is in the split {video.part}, but in {known.part} at"
                    f" {known.place}; expected each {kind} in one split"
                )


def read_tfds(name: str, manual_dir: pathlib.Path | None) -> list[Video]:
    """Reads a data set of tensorflow-datasets with the features video and label."""
    import tensorflow_datasets as tfds

    builder = sources.prepare_tfds(name.removeprefix(sources.TFDS), manual_dir)
    features = builder.info.features
    for column in ("video", "label"):
        if column not in features:
            raise UserError(f"{name} has the features {', '.join(features)}: expected {column}")
    names = getattr(features["label"], "names", None)
    videos = []
    for split in [split for split in PARTS if split in builder.info.splits] or ("train", "test"):
        labels = without_autotune(
            builder.as_dataset(split=split, decoders=tfds.decode.PartialDecoding({"label": True}))
        )
        for number, row in enumerate(labels.as_numpy_iterator()):
            place = f"{name}, example {number} of {split}"
            label = names[row["label"]] if names else as_label(row["label"].item(), f"{place}: label")
            clip = Clip(f"{split}/{number}", TfdsClip(builder, split, number), label)
            videos.append(Video(clip.name, (clip,), None, split, place))
    return videos


def frame_labels(clip: Clip, frames: int, rate: float, index: Callable[[str, str], int], background: str) -> np.ndarray:
    """Returns the label id of each frame, int32[frames]; frame t is at the time t / rate.

    Args:
        index: function from (label, place for a message) to the id of the label.
        background: label of frames that no segment covers; empty: no such label.

    Raises:
        UserError: A segment ends after the clip, or frames are not covered by a segment and there is no background.
    """
    if clip.frames:
        ids = {label: index(label, clip.name) for label in clip.labels}
        return np.array([ids[label] for label in clip.frames], np.int32)
    if clip.label is not None:
        return np.full(frames, index(clip.label, clip.name), np.int32)
    labels = np.full(frames, -1, np.int32)
    for segment in clip.segments:
        if segment.end * rate > frames + 1:  # tolerance: the last frame may be a little shorter
            raise UserError(
                f"{segment.place}: the segment of {clip.name} ends at {segment.end:g} s, but the clip at"
                f" {frames / rate:.3f} s"
            )
        start, end = (math.ceil(time * rate - 1e-3) for time in (segment.start, segment.end))
        labels[start:end] = index(segment.label, segment.place)
    uncovered = np.flatnonzero(labels < 0)
    if len(uncovered) and not background:
        end = uncovered[0] + int(np.argmin(np.append(labels[uncovered[0] :] < 0, False)))
        raise UserError(
            f"{clip.segments[0].place}: no segment of {clip.name} covers it from {uncovered[0] / rate:.2f} s to"
            f" {end / rate:.2f} s; give the label of such frames with --background"
        )
    if len(uncovered):
        labels[uncovered] = index(background, clip.name)
    return labels

"""Videos prepared for the model: split by groups, in batches or in windows."""

import pathlib

import numpy as np
import tensorflow as tf

from pipelines.common.data import sources
from pipelines.common.data.loading import ALL_ROWS, FILLER, own_rows, plan_batches, without_autotune
from pipelines.common.data.splits import require_part, split
from pipelines.common.errors import UserError
from pipelines.common.training import tbptt
from pipelines.common.vision.feature_files import open_features
from pipelines.video import feature_folders
from pipelines.video.annotations import read
from pipelines.video.clips import PARTS, Video
from pipelines.video.config import Config, DataConfig
from pipelines.video.inputs import ArrayInputs, FeatureInputs, Inputs, PixelInputs
from pipelines.video.preprocessing import Preprocessing
from pipelines.video.tracks import Tracks

NAMED = {
    "fight": ("", "https://github.com/seymanurakti/fight-detection-surv-dataset"),
    "ceiling": ("", "https://github.com/noahzhy/FIR-Image-Action-Dataset"),
    "50salads/dev": ("", "https://cvip.computing.dundee.ac.uk/datasets/foodpreparation/50salads/"),
    "50salads/final": ("", "https://cvip.computing.dundee.ac.uk/datasets/foodpreparation/50salads/"),
    "ucf101": ("tfds:ucf101", "https://www.crcv.ucf.edu/data/UCF101.php"),
}


def load(data: DataConfig) -> dict[str, list[Video]]:
    """Returns the parts "train", "validation" and "test" of the data.

    A part that the data does not have is split off the training videos: its share in whole groups, drawn by the split
    seed only, so that a later call finds the same parts.
    """
    videos = read(sources.locate(data.location, "video", NAMED), data)
    parts = {part: of_part for part in PARTS if (of_part := [video for video in videos if video.part == part])}
    if all(video.part is None for video in videos):
        parts = {"train": videos}
    require_part("train", parts, data.location)
    for part, share in (("test", data.test_share), ("validation", data.validation_share)):
        if part not in parts and share:
            videos, groups = parts["train"], split_groups(parts["train"], data)
            expected = "training videos of two groups or more"
            rows = split(groups, share * len(videos), data.split_seed, data.location, expected)
            parts["train"], parts[part] = ([videos[row] for row in some] for some in rows)
    return parts


def load_part(data: DataConfig, part: str) -> list[Video]:
    """Returns one part of the data."""
    parts = load(data)
    require_part(part, parts, data.location)
    return parts[part]


def load_all(data: DataConfig, part: str) -> list[Video]:
    """Returns the videos of data that was not used in training: those of the part, or all if it has no parts."""
    videos = read(sources.locate(data.location, "video", NAMED), data)
    if all(video.part is None for video in videos):
        return videos
    of_part = [video for video in videos if video.part == part]
    require_part(part, [each for each in PARTS if any(video.part == each for video in videos)], data.location)
    return of_part


def split_groups(videos: list[Video], data: DataConfig) -> list[str]:
    """Returns a key for each video; videos with the same key have to stay in one part of a split.

    It is the group of the video, or the video itself; videos that share a clip have the same key.

    Raises:
        UserError: A random split of grouped data was asked for, or groups of data without any.
    """
    grouped = any(video.group is not None for video in videos)
    reason = "clips of the same scene would be in both parts, and the score would reward having seen them"
    if data.split_by == "clip" and grouped:
        raise UserError(
            f"--split-by clip is refused, as --data {data.location} names groups: {reason}; use --split-by group"
        )
    if data.split_by == "group" and not grouped:
        raise UserError(f"--split-by group needs the column group, which --data {data.location} does not have")
    if isinstance(sources.locate(data.location, "video", NAMED), str) and data.split_by != "clip":
        raise UserError(
            f"--data {data.location} has to be split, but does not say which videos are of one group: {reason};"
            " give --split-by clip to do so anyway, or a folder with the column group"
        )
    owner: dict[str, str] = {}

    def root(key: str) -> str:
        while owner.setdefault(key, key) != key:
            key = owner[key]
        return key

    keys = []
    for number, video in enumerate(videos):
        keys.append(f"group {video.group}" if video.group is not None else f"video {number}")
        for clip in video.clips:
            owner[root(f"clip {clip.name}")] = root(keys[-1])
    return [root(key) for key in keys]


def name_labels(videos: list[Video], data: DataConfig) -> tuple[str, ...]:
    """Returns the labels in the order of their ids: those of the configuration, else of mapping.txt for features made
    elsewhere, else all in alphabetical order."""
    if data.label_names:
        return data.label_names
    if are_features(videos):
        names = feature_folders.read_mapping(feature_folder(data))
        if data.background and data.background not in names:
            raise UserError(
                f"--background is {data.background}, but must be a label of mapping.txt: {', '.join(names)}"
            )
        return names
    present = set().union(*(video.labels for video in videos)) | ({data.background} if data.background else set())
    return tuple(sorted(present))


def are_features(videos: list[Video]) -> bool:
    """Returns whether the data are features made elsewhere."""
    return bool(videos[0].clips[0].frames)


def feature_folder(data: DataConfig) -> pathlib.Path:
    folder = sources.locate(data.location, "video", NAMED)
    assert isinstance(folder, pathlib.Path)
    return folder


def feature_size(videos: list[Video], config: Config) -> int:
    """Returns the number of features of the first video that were made elsewhere; 0 for videos that are encoded.

    Raises:
        UserError: The data are features, but the model has an encoder, or the other way round.
    """
    location, encoder = config.data.location, config.model.encoder
    if not are_features(videos):
        if encoder == "none":
            raise UserError(f"--data {location} has videos: expected another --encoder than none")
        return 0
    if encoder != "none":
        raise UserError(f"--data {location} has features: expected --encoder none, and their rate as --fps")
    return open_features(videos[0].clips[0].source).shape[0]


def make_inputs(videos: list[Video], config: Config, model, preprocessing: Preprocessing) -> Inputs:
    """Returns the features of all clips, or their pixels if the encoder is trained."""
    clips = {clip.name: clip for video in videos for clip in video.clips}.values()
    if feature_size(videos, config):
        return ArrayInputs(clips, config.data.fps, model.feature_size)
    if config.regularization.train_encoder:
        return PixelInputs(clips, config.data, preprocessing)
    return FeatureInputs(clips, config.data, config.model.encoder, model.encoder, preprocessing)


def batches(
    tracks: Tracks,
    *,
    batch_videos: int,
    batch_frames: int,
    seed: int | None = None,
    epoch: int = 0,
    part: tuple[int, int] = ALL_ROWS,
    xla: bool = False,
) -> tf.data.Dataset:
    """Returns batches of whole videos of similar length.

    Each is a dict of `inputs` float32[batch, time, …], `labels` int32[batch, time], `weights` float32[batch, time] (1,
    or 0 for padding) and `rows` int64[batch] (the number of the video, -1 for one that only fills the batch).

    Args:
        batch_videos, batch_frames: maximum number of videos, and of frames with padding (but one video at least).
        seed: determines, with `epoch`, the order of the batches and their videos; None: longest first.
        part: of several workers; the inputs of rows that others train on are zeros, as decoding them takes long.
        xla: use fewer different shapes, as each one is compiled.
    """
    plan = plan_batches(
        tracks.lengths,
        max_rows=batch_videos,
        max_steps=batch_frames,
        seed=seed,
        epoch=epoch,
        shapes_per_octave=4 if xla else 8,
    )
    shape = next(iter(tracks.chunks(0))).shape[1:]

    def generate():
        for rows, steps in plan:
            batch = {
                "inputs": np.zeros((len(rows), steps, *shape), np.float32),
                "labels": np.zeros((len(rows), steps), np.int32),
                "weights": np.zeros((len(rows), steps), np.float32),
                "rows": rows,
            }
            for place, row in enumerate(rows):
                if row == FILLER:
                    continue
                labels, end = tracks.tracks[row].labels, 0
                batch["labels"][place, : len(labels)] = labels
                batch["weights"][place, : len(labels)] = 1
                if place and place not in own_rows(len(rows), part):  # a replica without rows computes with the first
                    continue
                for chunk in tracks.chunks(row):
                    batch["inputs"][place, end : end + len(chunk)] = chunk
                    end += len(chunk)
            yield batch

    signature = {
        "inputs": tf.TensorSpec([None, None, *shape], tf.float32),
        "labels": tf.TensorSpec([None, None], tf.int32),
        "weights": tf.TensorSpec([None, None], tf.float32),
        "rows": tf.TensorSpec([None], tf.int64),
    }
    batched = without_autotune(tf.data.Dataset.from_generator(generate, output_signature=signature))
    return batched.apply(tf.data.experimental.assert_cardinality(len(plan))).prefetch(2)


def windows(tracks: Tracks, *, k1: int, k2: int, batch_videos: int, seed: int, epoch: int) -> tf.data.Dataset:
    """Returns batches of windows for truncated back-propagation through time (tbptt.windows), the videos in an order
    that depends on (seed, epoch). Only one window and one chunk of a video per row are in memory."""
    order = np.random.default_rng((seed, epoch)).permutation(len(tracks))

    def chunks(number: int):
        start, labels = 0, tracks.tracks[number].labels
        for chunk in tracks.chunks(number):
            yield chunk, labels[start : start + len(chunk)]
            start += len(chunk)

    return tbptt.dataset(
        lambda: (chunks(number) for number in order),
        k1=k1,
        k2=k2,
        batch_size=min(batch_videos, len(tracks)),
        lengths=tracks.lengths[order],
    )

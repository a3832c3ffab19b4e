"""Videos made ready for the model: split by groups, a label for each frame, given out in batches or in windows."""

import dataclasses
import sys
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from pipelines.common.data import sources
from pipelines.common.data.batching import FILLER, plan_batches
from pipelines.common.data.loading import without_autotune
from pipelines.common.data.splits import split
from pipelines.common.errors import UserError
from pipelines.common.training import tbptt
from pipelines.video.annotations import PARTS, Video, frame_labels, read
from pipelines.video.config import Config
from pipelines.video.inputs import FeatureInputs, Inputs, PixelInputs
from pipelines.video.preprocessing import Preprocessing

NAMED = {
    "fight": ("", "https://github.com/seymanurakti/fight-detection-surv-dataset"),
    "ucf101": ("tfds:ucf101", "https://www.crcv.ucf.edu/data/UCF101.php"),
}


@dataclasses.dataclass(frozen=True)
class Track:
    """A video with a label for each frame.

    Attributes:
        labels: int32[frames].
        clips: names of the clips that it is made of.
        bounds: frame at which each clip begins, and the end: len(clips) + 1 numbers.
        rate: frames a second.
    """

    name: str
    labels: np.ndarray
    clips: tuple[str, ...]
    bounds: tuple[int, ...]
    rate: float

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Tracks:
    """Tracks, and what the model is given of their clips."""

    tracks: list[Track]
    inputs: Inputs

    def __len__(self) -> int:
        return len(self.tracks)

    @property
    def lengths(self) -> np.ndarray:
        """int64[tracks]: frames of each."""
        return np.array([len(track) for track in self.tracks], np.int64)

    @property
    def labels(self) -> np.ndarray:
        """int32[frames] of all tracks."""
        return np.concatenate([np.zeros(0, np.int32), *(track.labels for track in self.tracks)])

    def chunks(self, number: int) -> Iterator[np.ndarray]:
        """The number-th track in pieces, float32[frames, …]."""
        for clip in self.tracks[number].clips:
            yield from self.inputs.chunks(clip)


def load(config: Config) -> dict[str, list[Video]]:
    """The parts "train", "validation" and "test" of the config's data.

    A part that the data lacks is split off the training videos: the share that the config says, whole groups only,
    by the split's seed alone. So a later call finds the same parts.
    """
    videos = read(sources.locate(config.data, "video", NAMED), config)
    parts = {part: found for part in PARTS if (found := [video for video in videos if video.part == part])}
    if all(video.part is None for video in videos):
        parts = {"train": videos}
    if "train" not in parts:
        raise UserError(f"--data {config.data} has no part train: it has {', '.join(parts)}")
    for part in ("test", "validation"):
        share = getattr(config, f"{part}_share")
        if part not in parts and share:
            videos, groups = parts["train"], split_groups(parts["train"], config)
            expected = "training videos of two groups or more"
            rows = split(groups, share * len(videos), config.split_seed, config.data, expected)
            parts["train"], parts[part] = ([videos[row] for row in some] for some in rows)
    return parts


def load_part(config: Config, part: str) -> list[Video]:
    """One part of the config's data."""
    parts = load(config)
    if part not in parts:
        raise UserError(f"--data {config.data} has no part {part}: it has {', '.join(parts)}")
    return parts[part]


def load_all(config: Config, part: str) -> list[Video]:
    """The videos of data that no run was trained on: those of the part, or all where the data names no parts."""
    videos = read(sources.locate(config.data, "video", NAMED), config)
    if all(video.part is None for video in videos):
        return videos
    found = [video for video in videos if video.part == part]
    if not found:
        own = [each for each in PARTS if any(video.part == each for video in videos)]
        raise UserError(f"--data {config.data} has no part {part}: it has {', '.join(own)}")
    return found


def split_groups(videos: list[Video], config: Config) -> list[str]:
    """For each video what has to stay on one side of a split: its group, or itself; videos that share a clip have one
    key. UserError when the config wants a random split of grouped data."""
    grouped = any(video.group is not None for video in videos)
    reason = "clips of one scene would stand on both sides, and the score would be for having seen them"
    if config.split_by == "clip" and grouped:
        raise UserError(
            f"--split-by clip is refused, as --data {config.data} names groups: {reason}; use --split-by group"
        )
    if config.split_by == "group" and not grouped:
        raise UserError(f"--split-by group needs the column group, which --data {config.data} does not have")
    if isinstance(sources.locate(config.data, "video", NAMED), str) and config.split_by != "clip":
        raise UserError(
            f"--data {config.data} has to be split, but does not say which videos are of one group: {reason};"
            " give --split-by clip to do so all the same, or a folder with the column group"
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


def name_labels(videos: list[Video], config: Config) -> tuple[str, ...]:
    """The labels in the order of their ids: those of the config, else all that occur, by the alphabet."""
    found = set().union(*(video.labels for video in videos)) | ({config.background} if config.background else set())
    return config.label_names or tuple(sorted(found))


def make_inputs(videos: list[Video], config: Config, model, preprocessing: Preprocessing) -> Inputs:
    """Features or pixels of all clips, as the config says how the model is trained."""
    clips = {clip.name: clip for video in videos for clip in video.clips}.values()
    if config.train_encoder:
        return PixelInputs(clips, config, preprocessing)
    return FeatureInputs(clips, config, model.encoder, preprocessing)


def make_tracks(videos: list[Video], inputs: Inputs, names: tuple[str, ...], config: Config, what: str) -> Tracks:
    """A label for each frame. Videos with a clip that cannot be read are left out, and listed on standard error.

    Raises:
        UserError: a label that is not among `names`, segments past the end, frames without a label, no video left.
    """
    numbers = {name: number for number, name in enumerate(names)}

    def index(label: str, place: str) -> int:
        if label not in numbers:
            raise UserError(f"{place}: the label is {label!r}, expected one of {', '.join(names)}")
        return numbers[label]

    tracks, lost = [], 0
    for video in videos:
        if any(clip.name in inputs.failures for clip in video.clips):
            lost += 1
            continue
        rate, *others = sorted({inputs.rates[clip.name] for clip in video.clips})
        if others:
            raise UserError(
                f"{video.place}: the clips of {video.name} have {' and '.join(f'{each:g}' for each in (rate, *others))}"
                " frames a second; choose one rate for all with --fps"
            )
        labels = [frame_labels(clip, inputs.lengths[clip.name], rate, index, config.background) for clip in video.clips]
        bounds = (0, *np.cumsum([len(each) for each in labels]).tolist())
        clips = tuple(clip.name for clip in video.clips)
        tracks.append(Track(video.name, np.concatenate(labels), clips, bounds, rate))
    if not tracks:
        raise UserError(f"--data {config.data} has no video that can be read in the part {what}")
    if lost and lost != len(inputs.failures):
        print(f"left out {lost} of {len(videos)} videos of the part {what} for that", file=sys.stderr)
    return Tracks(tracks, inputs)


def batches(
    tracks: Tracks,
    *,
    batch_videos: int,
    batch_frames: int,
    seed: int | None = None,
    epoch: int = 0,
    xla: bool = False,
) -> tf.data.Dataset:
    """Batches of whole videos of similar length; all but the last have as many videos unless they are long.

    Each is a dict of `inputs` float32[batch, time, …], `labels` int32[batch, time], `weights` float32[batch, time]: 1,
    or 0 past the end of a video, and `rows` int64[batch] (the video's number, -1 for one that fills up a batch).

    Args:
        batch_videos, batch_frames: most videos, and most frames with padding (one video at least).
        seed: with `epoch`, decides the order of the batches and which videos meet in one; None: longest first.
        xla: let fewer shapes occur, as each is compiled.
    """
    plan = plan_batches(
        tracks.lengths,
        most_rows=batch_videos,
        most_steps=batch_frames,
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
                at = 0
                for chunk in tracks.chunks(row):
                    batch["inputs"][place, at : at + len(chunk)] = chunk
                    at += len(chunk)
                batch["labels"][place, :at] = tracks.tracks[row].labels
                batch["weights"][place, :at] = 1
            yield batch

    signature = {
        "inputs": tf.TensorSpec([None, None, *shape], tf.float32),
        "labels": tf.TensorSpec([None, None], tf.int32),
        "weights": tf.TensorSpec([None, None], tf.float32),
        "rows": tf.TensorSpec([None], tf.int64),
    }
    found = without_autotune(tf.data.Dataset.from_generator(generate, output_signature=signature))
    return found.apply(tf.data.experimental.assert_cardinality(len(plan))).prefetch(2)


def windows(tracks: Tracks, *, k1: int, k2: int, batch_videos: int, seed: int, epoch: int) -> tf.data.Dataset:
    """Returns batches of windows for truncated back-propagation through time (tbptt.windows), the videos in an order
    that depends on (seed, epoch), with one window and one piece of a video per row in memory."""
    order = np.random.default_rng((seed, epoch)).permutation(len(tracks))

    def pieces(number: int):
        at, labels = 0, tracks.tracks[number].labels
        for chunk in tracks.chunks(number):
            yield chunk, labels[at : at + len(chunk)]
            at += len(chunk)

    return tbptt.dataset(
        lambda: (pieces(number) for number in order),
        k1=k1,
        k2=k2,
        batch_size=min(batch_videos, len(tracks)),
        lengths=tracks.lengths[order],
    )

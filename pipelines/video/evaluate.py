"""Scores of a run on labelled videos, beside those of other runs, and timelines of what it said."""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from pipelines.common.data.batching import FILLER
from pipelines.common.files import write_json
from pipelines.common.pictures.charts import draw_confusion_matrix
from pipelines.common.pictures.timelines import Strip, Timeline, draw_timelines
from pipelines.common.runs import Run
from pipelines.video import dataset, scores
from pipelines.video.annotations import Video, open_clip
from pipelines.video.config import Config
from pipelines.video.dataset import Tracks
from pipelines.video.model import FrameClassifier, Trained, load_trained

WINDOW = 256  # frames that a model of one direction reads at a time
DRAWN = 6  # videos in the picture


def evaluate(run_paths: Sequence[pathlib.Path], data: str | None, part: str, changes: dict) -> dict:
    """Scores the first run, and others beside it, on the same videos: prints a table, and writes into each run
    metrics.json, confusion_matrix.png and timelines.png. Gives the first run's scores.

    Args:
        data: labelled videos; None: the data each run was trained with.
        part: "train", "validation" or "test"; data that names no parts is scored as a whole.
        changes: fields of the config that say how to read `data`, such as annotations, and the majority filter.
    """
    found = {}
    for path in run_paths:
        run = Run.open(path, "video")
        trained = load_trained(run)
        config = Config.from_json({**run.config, **({"data": data} if data else {}), **changes})
        videos = dataset.load_all(config, part) if data else dataset.load_part(config, part)
        found[str(path)] = score(run, dataclasses.replace(trained, config=config), videos, part)
    print(table(found))
    return next(iter(found.values()))


def score(run: Run, trained: Trained, videos: list[Video], part: str) -> dict:
    """The scores of one run, written into it."""
    config, names = trained.config, trained.names
    inputs = dataset.make_inputs(videos, config, trained.model, trained.preprocessing)
    inputs.report(f"--data {config.data}")
    tracks = dataset.make_tracks(videos, inputs, names, config, part)
    probabilities = Labeller(trained.model)(tracks, config)
    true = [track.labels for track in tracks.tracks]
    found = {
        **scores.all_scores(
            true, probabilities, [track.bounds for track in tracks.tracks], names, config.background, config.filter
        ),
        "left_out": len(inputs.failures),
        "cell": config.cell,
        "data": config.data,
        "split": part,
    }
    write_json(run.metrics_file, found)
    draw_confusion_matrix(np.array(found["confusion"]), names, run.path / "confusion_matrix.png")
    draw(tracks, videos, probabilities, trained, run.path / "timelines.png")
    return found


class Labeller:
    """Labels videos with a model, compiled once.

    Short videos are labelled in batches. A long one is labelled by itself: window by window, the state carried on, by a
    model of one direction; by one of both directions from all of its features, which are kept, but not its pixels.
    """

    def __init__(self, model: FrameClassifier):
        self.model = model

        def compiled(function):
            return tf.function(function, reduce_retracing=True, autograph=False)

        self.project = compiled(model.project)
        self.encode = compiled(lambda pixels: model.project(model.encode(pixels)))
        self.over_time = compiled(model.over_time)

    def __call__(self, tracks: Tracks, config: Config) -> list[np.ndarray]:
        """float32[frames, classes] of each video, in their order."""
        found: list[np.ndarray] = [np.zeros(0)] * len(tracks)
        lengths = tracks.lengths
        short = np.flatnonzero(lengths <= config.batch_frames)
        if len(short):
            some = Tracks([tracks.tracks[row] for row in short], tracks.inputs)
            for batch in dataset.batches(some, batch_videos=config.batch_videos, batch_frames=config.batch_frames):
                features, kept = self.features(batch["inputs"]), batch["weights"] > 0
                state = self.model.initial_state(tf.shape(features)[0])
                answers = tf.nn.softmax(self.over_time(features, state, kept)[0]).numpy()
                for row, answer in zip(batch["rows"].numpy(), answers, strict=True):
                    if row != FILLER:
                        found[short[row]] = answer[: lengths[short[row]]]
        for row in np.flatnonzero(lengths > config.batch_frames):
            found[row] = self.label_long(tracks.chunks(row))
        return found

    def label_long(self, chunks: Iterable[np.ndarray]) -> np.ndarray:
        """float32[frames, classes] of one video given in pieces float32[frames, …]."""
        pieces = (piece[None, at : at + WINDOW] for piece in chunks for at in range(0, len(piece), WINDOW))
        windows = (self.features(piece) for piece in pieces)
        if self.model.bidirectional:
            windows = iter([tf.concat(list(windows), axis=1)])
        state, answers = self.model.initial_state(1), []
        for window in windows:
            logits, state = self.over_time(window, state, tf.ones(tf.shape(window)[:2], tf.bool))
            answers.append(tf.nn.softmax(logits).numpy()[0])
        return np.concatenate(answers)

    def features(self, inputs):
        """What the recurrent layers are given: of pixels float[batch, time, size, size, 3], or of features
        float[batch, time, features]."""
        return (self.encode if len(inputs.shape) == 5 else self.project)(tf.convert_to_tensor(inputs))


def draw(tracks: Tracks, videos: list[Video], probabilities: list[np.ndarray], trained: Trained, png: pathlib.Path):
    """The first videos with their true and predicted labels, and those after the majority filter."""
    names, config = np.array(trained.names), trained.config
    by_name = {video.name: video for video in videos}
    timelines = []
    for track, each in itertools.islice(zip(tracks.tracks, probabilities, strict=True), DRAWN):
        predicted = each.argmax(axis=1)
        smoothed = scores.majority_filter(predicted, config.filter, len(names))
        strip = Strip()
        for clip in by_name[track.name].clips:
            for frame in open_clip(clip.source, config):
                strip.add(frame)
        bands = {"true": names[track.labels], "predicted": names[predicted]}
        if config.filter > 1:
            bands["smoothed"] = names[smoothed]
        right = float((predicted == track.labels).mean())
        timelines.append(Timeline(f"{track.name}: {right:.0%} of the frames right", track.rate, bands, strip.kept))
    draw_timelines(timelines, trained.names, png)


def table(found: dict[str, dict]) -> str:
    """The scores for people: a column for each run."""
    first = next(iter(found.values()))
    runs = [pathlib.Path(name).name for name in found]
    width = max(12, *(len(name) + 2 for name in runs))
    lines = [f"{first['data']}, {first['split']}: {first['videos']:,} videos, {first['frames']:,} frames"]

    def row(name: str, values, places: int = 2):
        cells = ("–" if value is None else f"{value:.{places}f}" for value in values)
        lines.append(f"{name:<28}" + "".join(f"{cell:>{width}}" for cell in cells))

    def rows(pick, suffix: str):
        for metric, name in (("accuracy", "frame accuracy"), ("edit", "edit"), ("f1@10", "F1@10"), ("f1@25", "F1@25"),
                             ("f1@50", "F1@50"), ("latency", "latency (frames)")):  # fmt: skip
            row(name + suffix, [pick(each)[metric] for each in found.values()])

    lines.append(" " * 28 + "".join(f"{name:>{width}}" for name in runs))
    rows(lambda each: each, "")
    rows(lambda each: each["smoothed"], f", filter {first['smoothed']['filter']}")
    if first["clips"]:
        row(f"clip accuracy ({first['clips']} clips)", [each["clip_accuracy"] for each in found.values()])
    row("macro F1 of frames", [each["macro_f1"] for each in found.values()])
    row("loss", [each["loss"] for each in found.values()], 4)
    for name in first["classes"]:
        row(f"F1 of {name}", [100 * each["classes"][name]["f1"] if name in each["classes"] else None
                              for each in found.values()])  # fmt: skip
    return "\n".join(lines)

"""Scores runs on labelled videos, side by side, and draws timelines of their predictions."""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from pipelines.common.confidence import report_fitted, report_unfitted
from pipelines.common.config import replace
from pipelines.common.data.loading import FILLER
from pipelines.common.errors import UserError
from pipelines.common.evaluation.reliability import report
from pipelines.common.evaluation.robustness import Column, Distortion, measure, show
from pipelines.common.files import write_json
from pipelines.common.pictures.charts import draw_confusion_matrix
from pipelines.common.pictures.timelines import Strip, Timeline, draw_timelines
from pipelines.common.runs import Run
from pipelines.video import confidence, dataset, scores
from pipelines.video.annotations import open_clip
from pipelines.video.clips import Video
from pipelines.video.distortions import FEATURE_DISTORTIONS, VIDEO_DISTORTIONS, ChangedArrays, changed_clips
from pipelines.video.inputs import ArrayInputs, Inputs, PixelInputs
from pipelines.video.model import FrameClassifier, Trained, load_trained
from pipelines.video.options import Evaluate
from pipelines.video.tracks import Tracks, make_tracks, moments

WINDOW = 256  # frames that a unidirectional model reads at a time
MAX_DRAWN = 6  # videos in the picture
COLUMNS = tuple(Column(key, name) for key, name in (("accuracy", "accuracy"), ("balanced_accuracy", "balanced"),
                ("edit", "edit"), ("f1@10", "F1@10"), ("f1@25", "F1@25"), ("f1@50", "F1@50")))  # fmt: skip


def evaluate(options: Evaluate) -> dict:
    """Scores runs on the same videos: prints a table, and writes metrics.json, confusion_matrix.png and timelines.png
    into each run; with `robust` also robustness.png, and a table for each run. Returns the scores of the first run.

    The mean of the probabilities of all runs is written to average.json of the first.

    Raises:
        UserError: A run is not trained, the data cannot be read, or averaged runs differ in their labels or frames.
    """
    paths, part = [options.run, *options.beside], options.split
    scores_of: dict[str, dict] = {}
    first: tuple[Trained, Tracks] | None = None
    sums: list[np.ndarray] = []
    try:
        for path in paths:
            run = Run.open(path, "video")
            trained = load_trained(run)
            trained = dataclasses.replace(trained, temperature=temperature_of(path, trained))
            config = replace(trained.config, **options.changes)
            trained = dataclasses.replace(trained, config=config)
            videos = dataset.load_all(config.data, part) if options.data else dataset.load_part(config.data, part)
            result, tracks, probabilities = score(trained, videos, part)
            if trained.temperature is not None:
                png = run.path / "reliability.png"
                result["confidence"] = report_confidence(trained.temperature, tracks, probabilities, png, path.name)
            scores_of[str(path)] = result
            write_json(run.metrics_file, result)
            confusion = np.array(result["confusion"])
            draw_confusion_matrix(confusion, trained.names, run.path / "confusion_matrix.png")
            draw(tracks, videos, probabilities, trained, run.path / "timelines.png")
            if options.robust:
                rows, distortions = measure_distortions(trained, tracks, videos, result)
                show(rows, distortions, COLUMNS, run.path / "robustness.png", f"{path.name}, {part}")
                result["robust"] = rows
                write_json(run.metrics_file, result)
            if first is None:
                first, sums = (trained, tracks), probabilities
            elif options.average:
                require_same_frames(first, (trained, tracks), options.run, path)
                sums = [total + each for total, each in zip(sums, probabilities, strict=True)]
        if options.average and first is not None:
            mean = [total / len(paths) for total in sums]
            scores_of["average"] = score_probabilities(*first, mean, part)
            write_json(options.run / "average.json", scores_of["average"])
    finally:
        if scores_of:  # shown even if they cannot be written
            print(table(scores_of))
    return next(iter(scores_of.values()))


def temperature_of(run: pathlib.Path, trained: Trained) -> float | None:
    """Returns the temperature of the confidence of a run. If it has none, it is fitted to the validation part of its
    data, and stored; if that part cannot be read, standard error says so."""
    if trained.temperature is not None:
        return trained.temperature
    data = trained.config.data
    try:
        videos = dataset.load_part(data, "validation")
        inputs = dataset.make_inputs(videos, trained.config, trained.model, trained.preprocessing)
        tracks = make_tracks(videos, inputs, trained.names, data, "validation")
    except UserError as error:
        report_unfitted(run, error)
        return None
    probabilities = Labeller(trained.model)(tracks, data.batch_videos, data.batch_frames)
    temperature = confidence.fit(probabilities, [track.labels for track in tracks.tracks])
    confidence.save(run, temperature, len(tracks.labels))
    report_fitted(run)
    return temperature


def report_confidence(
    temperature: float, tracks: Tracks, probabilities: list[np.ndarray], png: pathlib.Path, name: str
) -> dict:
    """Prints and draws how reliable the confidences of frames are; returns the entry of metrics.json.

    Args:
        probabilities: float32[frames, classes] of each video.
        name: of the run.
    """
    whole = np.concatenate(probabilities)
    right = whole.argmax(axis=1) == tracks.labels
    return report(
        confidence.confidence_of(whole, temperature).numpy(),
        right,
        lambda rows: 100 * float(right[rows].mean()),
        bar="frames labelled correctly",
        name="accuracy",
        png=png,
        of=f"{name}: ",
    )


def score(trained: Trained, videos: list[Video], part: str) -> tuple[dict, Tracks, list[np.ndarray]]:
    """Returns the scores of one run, the videos with their labels, and their probabilities."""
    config, data, names = trained.config, trained.config.data, trained.names
    inputs = dataset.make_inputs(videos, config, trained.model, trained.preprocessing)
    inputs.report(f"--data {data.location}")
    tracks = make_tracks(videos, inputs, names, data, part)
    probabilities = Labeller(trained.model)(tracks, data.batch_videos, data.batch_frames)
    return score_probabilities(trained, tracks, probabilities, part), tracks, probabilities


def score_probabilities(trained: Trained, tracks: Tracks, probabilities: list[np.ndarray], part: str) -> dict:
    """Returns the scores of the probabilities float32[frames, classes] of each video."""
    config, data = trained.config, trained.config.data
    true, bounds = [track.labels for track in tracks.tracks], [track.bounds for track in tracks.tracks]
    return {
        **scores.all_scores(true, probabilities, bounds, trained.names, data.background, config.evaluation.filter),
        "left_out": len(tracks.inputs.failures),
        "cell": config.model.cell,
        "data": data.location,
        "split": part,
    }


def measure_distortions(trained: Trained, tracks: Tracks, videos: list[Video], unchanged: dict):
    """Returns the scores of the videos and of each distortion of them, by name, and these distortions.

    Args:
        tracks: the videos as they are.
        unchanged: their scores.
    """
    data = trained.config.data
    label = Labeller(trained.model)
    clips = {clip.name: clip for video in videos for clip in video.clips}.values()
    arrays = tracks.inputs if isinstance(tracks.inputs, ArrayInputs) else None
    deviation = moments(tracks)[1] if arrays else np.zeros(0)

    def score(distortion: Distortion) -> dict:
        if arrays:
            inputs: Inputs = ChangedArrays(arrays, distortion.change, deviation)
            changed = changed_clips(videos, distortion.change)
        else:
            inputs, changed = PixelInputs(clips, data, trained.preprocessing, distortion.change), videos
        found = make_tracks(changed, inputs, trained.names, data, unchanged["split"])
        return score_probabilities(trained, found, label(found, data.batch_videos, data.batch_frames), "")

    def of_table(scores: dict) -> dict:
        return {column.key: scores[column.key] for column in COLUMNS}

    distortions = FEATURE_DISTORTIONS if arrays else VIDEO_DISTORTIONS
    return measure(of_table(unchanged), distortions, lambda each: of_table(score(each))), distortions


def require_same_frames(one: tuple[Trained, Tracks], other: tuple[Trained, Tracks], path, other_path):
    """Raises UserError if two runs that are averaged have other labels, or other frames of the data."""
    both = (one, other)
    frames = [[(track.name, len(track)) for track in tracks.tracks] for _, tracks in both]
    labels = [trained.names for trained, _ in both]
    for what, (first, second) in (("frames", frames), ("labels", labels)):
        if first != second:
            raise UserError(f"{path} and {other_path} cannot be averaged: their {what} differ")


class Labeller:
    """Labels videos with a model that is compiled once.

    Short videos are labelled in batches. A long video is labelled by itself: a unidirectional model reads it window by
    window and carries over the state; a bidirectional one labels it from the features of all frames, so that memory
    contains them, but not the pixels.
    """

    def __init__(self, model: FrameClassifier):
        self.model = model

        def compiled(function):
            return tf.function(function, reduce_retracing=True, autograph=False)

        self.project = compiled(model.project)
        self.encode = compiled(model.encode)
        self.classify = compiled(model.classify)

    def __call__(self, tracks: Tracks, batch_videos: int, batch_frames: int) -> list[np.ndarray]:
        """Returns the probabilities of each video, float32[frames, classes]."""
        probabilities: list[np.ndarray] = [np.zeros(0)] * len(tracks)
        lengths = tracks.lengths
        short = np.flatnonzero(lengths <= batch_frames)
        if len(short):
            some = Tracks([tracks.tracks[row] for row in short], tracks.inputs)
            for batch in dataset.batches(some, batch_videos=batch_videos, batch_frames=batch_frames):
                padding_mask = batch["weights"] > 0
                features = self.project(self.features(batch["inputs"]), padding_mask=padding_mask)
                state = self.model.initial_state(tf.shape(features)[0])
                of_batch = tf.nn.softmax(self.classify(features, state, padding_mask)[0]).numpy()
                for row, of_video in zip(batch["rows"].numpy(), of_batch, strict=True):
                    if row != FILLER:
                        probabilities[short[row]] = of_video[: lengths[short[row]]]
        for row in np.flatnonzero(lengths > batch_frames).tolist():
            probabilities[row] = self.label_long(tracks.chunks(row))
        return probabilities

    def label_long(self, chunks: Iterable[np.ndarray]) -> np.ndarray:
        """Returns float32[frames, classes] for one video, given in chunks float32[frames, …]."""
        parts = (chunk[None, start : start + WINDOW] for chunk in chunks for start in range(0, len(chunk), WINDOW))
        windows: Iterator = (self.features(part) for part in parts)
        if self.model.bidirectional:
            windows = iter([tf.concat(list(windows), axis=1)])
        state, probabilities = self.model.initial_state(1), []
        for window in windows:
            logits, state = self.classify(self.project(window), state, tf.ones(tf.shape(window)[:2], tf.bool))
            probabilities.append(tf.nn.softmax(logits).numpy()[0])
        return np.concatenate(probabilities)

    def features(self, inputs):
        """Returns the features of pixels float[batch, time, size, size, 3], or features as they are."""
        inputs = tf.convert_to_tensor(inputs)
        return self.encode(inputs) if len(inputs.shape) == 5 else inputs


def draw(tracks: Tracks, videos: list[Video], probabilities: list[np.ndarray], trained: Trained, png: pathlib.Path):
    """Draws the first videos with their true, predicted and smoothed labels."""
    names, size = np.array(trained.names), trained.config.evaluation.filter
    by_name = {video.name: video for video in videos}
    timelines = []
    for track, each in itertools.islice(zip(tracks.tracks, probabilities, strict=True), MAX_DRAWN):
        predicted = each.argmax(axis=1)
        smoothed = scores.majority_filter(predicted, size, len(names))
        strip = Strip()
        for clip in by_name[track.name].clips if trained.model.encoder is not None else ():
            for frame in open_clip(clip.source, trained.config.data):
                strip.add(frame)
        bands = {"true": names[track.labels], "predicted": names[predicted]}
        if size > 1:
            bands["smoothed"] = names[smoothed]
        share = float((predicted == track.labels).mean())
        timelines.append(Timeline(f"{track.name}: {share:.0%} of the frames correct", track.rate, bands, strip.kept))
    draw_timelines(timelines, trained.names, png)


def table(scores_of: dict[str, dict]) -> str:
    """Returns the scores as text: a column for each run."""
    first = next(iter(scores_of.values()))
    runs = [pathlib.Path(name).name for name in scores_of]
    width = max(12, *(len(name) + 2 for name in runs))
    lines = [f"{first['data']}, {first['split']}: {first['videos']:,} videos, {first['frames']:,} frames"]

    def row(name: str, values, places: int = 2):
        cells = ("–" if value is None else f"{value:.{places}f}" for value in values)
        lines.append(f"{name:<28}" + "".join(f"{cell:>{width}}" for cell in cells))

    def rows(pick, suffix: str):
        for metric, name in (("accuracy", "frame accuracy"), ("accuracy_without_background", "  without background"),
                             ("balanced_accuracy", "  balanced"), ("edit", "edit"), ("f1@10", "F1@10"),
                             ("f1@25", "F1@25"), ("f1@50", "F1@50"), ("latency", "latency (frames)")):  # fmt: skip
            row(name + suffix, [pick(each)[metric] for each in scores_of.values()])

    lines.append(" " * 28 + "".join(f"{name:>{width}}" for name in runs))
    rows(lambda each: each, "")
    rows(lambda each: each["smoothed"], f", filter {first['smoothed']['filter']}")
    if first["clips"]:
        row(f"clip accuracy ({first['clips']} clips)", [each["clip_accuracy"] for each in scores_of.values()])
    row("macro F1 of frames", [each["macro_f1"] for each in scores_of.values()])
    row("loss", [each["loss"] for each in scores_of.values()], 4)
    for name in first["classes"]:
        row(f"F1 of {name}", [100 * each["classes"][name]["f1"] if name in each["classes"] else None
                              for each in scores_of.values()])  # fmt: skip
    return "\n".join(lines)

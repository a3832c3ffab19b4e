"""Labels videos with an export: only TensorFlow, no training code."""

import itertools
import json
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.pictures.timelines import Strip, Timeline, draw_timelines, runs_of, write_label
from pipelines.common.serving import exports, text_inputs
from pipelines.common.vision.feature_files import check_finite, frames_of, open_features
from pipelines.common.vision.videos import Unreadable, Video, container_of, stacks, write

PIECE_FRAMES = 1024  # of features that are labelled at a time


def predict(
    model: pathlib.Path,
    inputs: Sequence[str],
    picture: pathlib.Path | None = None,
    video: pathlib.Path | None = None,
    folder_fps: float = 25.0,
) -> int:
    """Prints one JSON object per video: video, fps, labels (one per frame), segments (start and end in seconds, the end
    exclusive, and the mean confidence, if the export returns it). Returns the exit status.

    Args:
        model: an export, or a run that has one.
        inputs: video files, and folders of JPEG or PNG frames, or for a model of features .npy files float[features,
            frames]; "-" stands for those on standard input, one per line.
        picture: PNG file for a drawing of the labels over time; that of a second video is NAME-2.png.
        video: file for the video with its labels in the picture; that of a second video is NAME-2.mp4.
        folder_fps: frames per second at which the pictures of a folder were taken.

    Frames are read and labelled in stacks, so that memory does not depend on the length of a video; a bidirectional
    model stores the features of all frames and labels them at the end. For a video that cannot be read, the object has
    the field `error`, and the exit status is 1.
    """
    loaded = exports.load(model, "video", {"labels", "probabilities"})
    if video:
        container_of(video)  # raises for a wrong name before the work, not after it
    features = "features" in takes(loaded.signatures["serving_default"])
    if video and features:
        raise UserError(f"--video needs frames, but {model} takes features")
    settings = {name: value.numpy() for name, value in loaded.signatures["settings"]().items()}
    names = [name.decode() for name in settings["classes"]]
    status = 0
    for number, (name, error) in enumerate(text_inputs.read_names(inputs), start=1):
        try:
            if error:
                raise UserError(error)
            strip = Strip()
            if features:
                rate, (labels, confidence) = float(settings["fps"]), label_features(loaded, name)
            else:
                source = Video(name, float(settings["fps"]), folder_fps)
                rate, (labels, confidence) = float(source.rate), label(loaded, source, strip)
        except UserError as fault:
            print(json.dumps({"video": name, "error": reason_of(fault)}, ensure_ascii=False), flush=True)
            status = 1
            continue
        print(json.dumps(answer(name, rate, labels, confidence), ensure_ascii=False), flush=True)
        if picture:
            timeline = Timeline(name, rate, {"predicted": labels}, strip.kept)
            draw_timelines([timeline], names, text_inputs.numbered(picture, number))
        if video:
            own = Video(name, 0.0, folder_fps)
            write(text_inputs.numbered(video, number), labelled(own, labels, source, names), own.rate)
    return status


def reason_of(error: UserError) -> str:
    return error.reason if isinstance(error, Unreadable) else str(error)


def takes(signature) -> dict[str, tf.TensorSpec]:
    """Returns the inputs of a signature by name."""
    return signature.structured_input_signature[1]


def label_features(loaded, name: str) -> tuple[list[str], list[float]]:
    """Returns the label and the confidence of each frame of a file of features; see `of_outputs`.

    Raises:
        UserError: The file is not one that the model takes.
    """
    array = open_features(name)
    size, frames = array.shape
    expected = takes(loaded.signatures["serving_default"])["features"].shape[-1]
    if size != expected:
        raise UserError(
            f"{name} has {size} features for each frame (its shape is {[size, frames]}), expected {expected}"
        )
    if not frames:
        raise UserError(f"{name} has no frames")

    def pieces() -> Iterator[np.ndarray]:
        for start in range(0, frames, PIECE_FRAMES):
            piece = frames_of(array, start, start + PIECE_FRAMES)
            check_finite(name, piece, start)
            yield piece

    if "window" in loaded.signatures:
        return label_window_by_window(loaded, pieces(), "features")
    whole = tf.constant(np.concatenate(list(pieces()))[None])
    return of_outputs([loaded.signatures["serving_default"](features=whole, lengths=tf.shape(whole)[1:2])])


def of_outputs(outputs: list[dict]) -> tuple[list[str], list[float]]:
    """Returns the labels and the confidences of frames, the latter empty if an export does not return them, from the
    outputs for the parts of one video."""
    labels = [label.decode() for each in outputs for label in each["labels"].numpy()[0]]
    confidence = [value for each in outputs if "confidence" in each for value in each["confidence"].numpy()[0].tolist()]
    return labels, confidence


def label(loaded, source: Video, strip: Strip) -> tuple[list[str], list[float]]:
    """Returns the label and the confidence of each frame; see `of_outputs`."""

    def frames() -> Iterator[np.ndarray]:
        for frame in source:
            strip.add(frame)
            yield frame

    given = stacks(frames())
    return label_window_by_window(loaded, given) if "window" in loaded.signatures else label_at_once(loaded, given)


def label_window_by_window(loaded, given: Iterator[np.ndarray], kind: str = "frames") -> tuple[list[str], list[float]]:
    """Labels stacks of frames, or of features, with a unidirectional model, which carries over its state."""
    window = loaded.signatures["window"]
    state = {
        name: tf.zeros([1, *spec.shape[1:]], spec.dtype)
        for name, spec in takes(window).items()
        if name not in (kind, "lengths")
    }
    outputs = []
    for stack in given:
        found = window(**{kind: tf.constant(stack[None])}, lengths=tf.constant([len(stack)]), **state)
        state = {name: found[name] for name in state}
        outputs.append({name: value for name, value in found.items() if name in ("labels", "confidence")})
    return of_outputs(outputs)


def label_at_once(loaded, given: Iterator[np.ndarray]) -> tuple[list[str], list[float]]:
    """Labels the features of all frames with a bidirectional model."""
    encode, name_frames = loaded.signatures["encode"], loaded.signatures["label"]
    features = [encode(frames=tf.constant(stack[None]))["features"] for stack in given]
    whole = tf.concat(features, axis=1)
    return of_outputs([name_frames(features=whole, lengths=tf.shape(whole)[1:2])])


def answer(name: str, fps: float, labels: list[str], confidence: list[float]) -> dict:
    segments = []
    for label, start, end in runs_of(labels):
        segments.append({"start": round(start / fps, 6), "end": round(end / fps, 6), "label": label})
        if confidence:
            segments[-1]["confidence"] = round(float(np.mean(confidence[start:end])), 4)
    return {"video": name, "fps": round(fps, 6), "labels": labels, "segments": segments}


def labelled(own: Video, labels: list[str], source: Video, names: list[str]) -> Iterator[np.ndarray]:
    """Yields the frames of a video at its own rate, each with its label in the picture."""
    for number, frame in zip(itertools.count(), own, strict=False):
        place = min(int(number / own.rate * source.rate + 1e-9), len(labels) - 1)
        yield write_label(frame, labels[place], names)

"""One tiny run from training to export, made once for all tests of the pipeline; its clips are made here."""

import csv
import dataclasses
import pathlib
import random
import shutil

import av
import numpy as np
import pytest

from tests.shared_runs import SharedRun, make_run, run_command

TINY = "--units 8 --projection 6 --image-size 16 --epochs 2 --batch-videos 4 --learning-rate 0.01 --no-bidirectional"
TINY = [*TINY.split(), "--layers", "1", "--deltas", "0", "--no-tensorboard"]
FPS = 10


def write_clip(path: pathlib.Path, frames, fps: int = FPS) -> pathlib.Path:
    """Writes frames uint8[height, width, 3] as an H.264 file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "18", "bf": "0", "preset": "ultrafast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def moving(directions: list[int], seed: int = 0, size=(24, 32)) -> list[np.ndarray]:
    """A bright square that moves by each of `directions` pixels from frame to frame; one frame for each."""
    draw = random.Random(seed)
    x, y, frames = size[1] // 2 - 3, draw.randrange(size[0] - 6), []
    for direction in directions:
        x = min(max(x + direction, 0), size[1] - 6)
        frame = np.full((*size, 3), 20, np.uint8)
        frame[y : y + 6, x : x + 6] = 230
        frames.append(frame)
    return frames


def write_csv(path: pathlib.Path, rows: list[dict]) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def make_data(folder: pathlib.Path, clips: int = 12, names=("left", "right"), split: bool = True) -> pathlib.Path:
    """Clips of two segments each, of 4 to 7 frames, and segments.csv; two clips a group."""
    rows = []
    for number in range(clips):
        lengths = 4 + number % 3, 5 + number % 3
        way = -1 if number % 2 else 1
        directions = [2 * way] * lengths[0] + [-2 * way] * lengths[1]
        write_clip(folder / "clips" / f"{number}.mp4", moving(directions, number))
        part = "test" if number % 6 == 5 else "val" if number % 6 == 4 else "train"
        for start, end, sign in ((0, lengths[0], way), (lengths[0], sum(lengths), -way)):
            row = {"file": f"clips/{number}.mp4", "start": start / FPS, "end": end / FPS, "label": names[sign > 0]}
            rows.append({**row, **({"split": part} if split else {}), "group": f"{part} {number // 2}"})
    write_csv(folder / "segments.csv", rows)
    return folder


def make_variant(run: pathlib.Path, folder: pathlib.Path, **changes) -> pathlib.Path:
    """A run like `run` with other fields of the configuration, and random weights."""
    from pipelines.common.config import from_json, replace
    from pipelines.common.runs import Run
    from pipelines.common.weights import save_weights
    from pipelines.video.config import Config
    from pipelines.video.model import LABELS_FILE, make_model

    config = replace(from_json(Config, Run.open(run, "video").config), **changes)
    with Run.start(folder, "video", config) as started:
        shutil.copy(run / LABELS_FILE, folder)
        save_weights(make_model(config, ("left", "right")), started.weights_file)
    return folder


@dataclasses.dataclass(frozen=True)
class Make:
    """The functions that make clips and label files."""

    clip = staticmethod(write_clip)
    moving = staticmethod(moving)
    csv = staticmethod(write_csv)
    data = staticmethod(make_data)
    variant = staticmethod(make_variant)


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Arguments that make a run tiny."""
    return TINY


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> SharedRun:
    """A run that was trained and exported by the real commands."""

    def make(folder: pathlib.Path):
        data, run = make_data(folder / "data"), folder / "run"
        assert run_command("video", "train", "sample", "--data", data, "--run", run, *TINY) == 0
        assert run_command("video", "export", "--run", run) == 0

    return make_run(tmp_path_factory, "video", make)

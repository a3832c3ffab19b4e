"""Measures the exports of runs for other runtimes: size, time and score in each format, beside TensorFlow.

    python tests/benchmarks/device_formats.py [TASK=RUN ...] [--number 100]

Without arguments: the sample runs of `make demo`. The milliseconds are those of one text (sentiment), frame (video) or
token (translation, captioning, with their share of `encode`), one row at a time; the least of five rounds. "CPU" counts
all threads, and other processes change it less. The score is that of the programs in docs/devices.md on the first test
data of the sample: accuracy of labels, BLEU of translations, share of captions that are one of the references.
TensorFlow's is that of `predict`, greedy.
"""

import argparse
import contextlib
import csv
import io
import itertools
import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the command line does

import numpy as np
import sacrebleu
from PIL import Image

from pipelines.captioning import export as captioning
from pipelines.captioning.__main__ import main as captioning_command
from pipelines.common.options import Export
from pipelines.common.serving.formats import RUNTIMES
from pipelines.common.vision.videos import Video
from pipelines.sentiment import export as sentiment
from pipelines.sentiment.__main__ import main as sentiment_command
from pipelines.translation import export as translation
from pipelines.translation.__main__ import main as translation_command
from pipelines.video import export as video
from pipelines.video.__main__ import main as video_command
from tests import device_programs

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "data" / "samples"
GREEDY = ["--beam-size", "1", "--length-penalty", "0"]
TASKS = {
    "sentiment": (sentiment, sentiment_command, "classify.py", "label"),
    "video": (video, video_command, "label.py", "label"),
    "translation": (translation, translation_command, "translate.py", "translation"),
    "captioning": (captioning, captioning_command, "caption.py", "caption"),
}


def test_data(task: str, number: int, folder: Path) -> tuple[list[list[str]], list]:
    """Returns the arguments of calls of the program, and the references of what they print, in its order."""
    if task == "sentiment":
        rows = [json.loads(row) for row in (SAMPLES / task / "test.jsonl").read_text("utf-8").splitlines()[:number]]
        return [[row["text"] for row in rows]], [row["label"] for row in rows]
    if task == "translation":
        texts = [(SAMPLES / task / f"test.{name}").read_text("utf-8").splitlines()[:number] for name in ("en", "fr")]
        return [texts[0]], texts[1]
    if task == "captioning":
        references: dict[str, list[str]] = {}
        for line in (SAMPLES / task / "captions_test.tsv").read_text("utf-8").splitlines():
            name, _, caption = line.split("\t")
            references.setdefault(str(SAMPLES / task / "images" / name), []).append(caption)
        return [list(references)[:number]], list(references.values())[:number]
    with open(SAMPLES / task / "segments.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    calls, labels = [], []
    for name, segments in itertools.islice(itertools.groupby(rows, lambda row: row["file"]), max(number // 10, 1)):
        source, segments = Video(SAMPLES / task / name), list(segments)
        calls.append([])
        for index, frame in enumerate(source):
            calls[-1].append(str(folder / f"{Path(name).stem}-{index:04d}.png"))
            Image.fromarray(frame).save(calls[-1][-1])
            middle = (index + 0.5) / source.rate
            labels.append(
                next((row["label"] for row in segments if float(row["start"]) <= middle < float(row["end"])), "")
            )
    return calls, labels


def score(task: str, found: list[str], references: list) -> float:
    if task == "translation":
        return sacrebleu.corpus_bleu(found, [references]).score
    right = [one in many if task == "captioning" else one == many for one, many in zip(found, references, strict=True)]
    return 100 * sum(right) / len(right)


def by_tensorflow(task: str, model: Path, calls: list[list[str]]) -> list[str]:
    """Returns what `predict` answers to the same inputs."""
    _, command, _, field = TASKS[task]
    given = (
        calls[0]
        if task != "video"
        else [str(SAMPLES / task / "clips" / f"{Path(each[0]).stem[:-5]}.mp4") for each in calls]
    )
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        command(["predict", "--model", str(model), *(GREEDY if task in ("translation", "captioning") else []), *given])
    answers = [json.loads(line) for line in printed.getvalue().splitlines()]
    return (
        [label for each in answers for label in each["labels"]]
        if task == "video"
        else [each[field] for each in answers]
    )


def milliseconds(given, call) -> str:
    """Returns the time of an answer in the functions, and its CPU time, with a bar between them."""
    spent = []

    def timed(name, inputs):
        wall, cpu = time.perf_counter(), time.process_time()
        outputs = call(name, inputs)
        spent[-1] += np.array([time.perf_counter() - wall, time.process_time() - cpu])
        return outputs

    for _ in range(5):
        spent.append(np.zeros(2))
        answers = sum(answer[..., 0].size for answer in given.answers(timed))
    wall, cpu = 1e3 * np.min(spent, axis=0) / answers
    return f"{wall:.2f} | {cpu:.2f}"


def measure(task: str, run: Path, number: int, folder: Path):
    """Prints the rows of a task."""
    module, _, program, field = TASKS[task]
    given = module.functions(module.load_members([run]))
    calls, references = test_data(task, number, folder)
    traced = {each.name: ([spec.name for spec in each.inputs], each.traced()) for each in given.functions}

    def tensorflow(name, inputs):
        names, function = traced[name]
        return {key: value.numpy() for key, value in function(*[inputs[each] for each in names]).items()}

    module.export(Export((run,), folder / "saved_model"))
    size = sum(each.stat().st_size for each in (folder / "saved_model").rglob("*") if each.is_file())
    expected = score(task, by_tensorflow(task, folder / "saved_model", calls), references)
    spent = milliseconds(given, tensorflow)
    print(f"| {task} | saved_model | float32 | {size / 1e6:.2f} | {spent} | {expected:.1f} |", flush=True)
    for format, runtime in RUNTIMES.items():
        for weights in ("float32", "float16", "int8"):
            path = module.export(Export((run,), folder / f"{format}-{weights}", format, weights))
            files = json.loads((path / "model.json").read_text("utf-8"))["functions"]
            loaded = {name: runtime.load(path / each["file"]) for name, each in files.items()}
            spent = milliseconds(given, lambda name, inputs, loaded=loaded: loaded[name](inputs))
            size = sum((path / each["file"]).stat().st_size for each in files.values())
            found = [row[field] for call in calls for row in device_programs.run(folder, program, path, *call)]
            reached = score(task, found, references)
            print(f"| {task} | {format} | {weights} | {size / 1e6:.2f} | {spent} | {reached:.1f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", metavar="TASK=RUN")
    parser.add_argument("--number", type=int, default=100, help="texts, images, or tens of clips")
    options = parser.parse_args()
    runs = options.runs or [f"{task}={ROOT / 'saved_models' / task / 'sample'}" for task in TASKS]
    print("| task | format | weights | MB | ms | CPU ms | score |\n| --- | --- | --- | --- | --- | --- | --- |")
    for given in runs:
        task, _, run = given.partition("=")
        with tempfile.TemporaryDirectory() as folder:
            measure(task, Path(run), options.number, Path(folder))


if __name__ == "__main__":
    main()

"""Measures the gain of fine-tuning: the sample run of video on 10 clips of each of two new labels.

    python tests/benchmarks/fine_tuning_video.py --run saved_models/video/sample --to saved_models/video/drift-or-spin

The new labels are "drift" (movement to any side) and "spin"; the clips of the sample have movement to the left and
right, and turning. Each clip has one label. Fine-tuning and a random start get the same clips, commands and epochs. The
best epoch is chosen on 10 validation clips, and 60 others are the test. As in the sample, a thing of the test has a
colour and shape that have this label only there.
"""

import argparse
import contextlib
import itertools
import json
import math
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(1, str(Path(__file__).resolve().parents[2] / "data"))

import clips
from files import write_lines
from world import COLOURS, SHAPES, THINGS, Dice, Thing

from pipelines.video import __main__ as video
from tests.benchmarks.commands import call

LABELS = ("drift", "spin")
TURNED = [thing for thing in THINGS if thing.shape != "circle"]  # the turning of a circle is not visible
SPLITS = {"train": 10, "val": 5, "test": 30}  # clips of a label
EPOCHS = (10, 40)
SEEDS = (1, 2, 3)


def things_of(label: str, split: str) -> list[Thing]:
    """Returns the things that have a label in a split: every third diagonal of colours and shapes is the test's, a
    different one for each label."""
    first = LABELS.index(label)
    diagonal = {thing: (list(COLOURS).index(thing.colour) + SHAPES.index(thing.shape)) % 3 for thing in TURNED}
    return [thing for thing in TURNED if (diagonal[thing] == first) == (split == "test")]


def movement(label: str, dice: Dice) -> clips.Pose:
    if label == "spin":
        return clips.Pose(0, 0, 0, dice.pick([-1, 1]) * dice.number(*clips.TURNS))
    speed, direction = dice.number(*clips.SPEEDS), math.radians(dice.number(0, 360))
    return clips.Pose(speed * math.cos(direction), speed * math.sin(direction), 0)


def film(label: str, dice: Dice) -> list[clips.Pose]:
    """Returns a pose for each frame of a clip: one movement, inside the picture."""
    while True:
        x, y = dice.number(0, clips.WIDTH), dice.number(0, clips.HEIGHT)
        poses = [clips.Pose(x, y, dice.number(*clips.RADII), dice.number(0, 360))]
        step = movement(label, dice)
        for _ in range(dice.integer(*clips.SEGMENT)):
            poses.append(poses[-1].after(step))
        if all(pose.inside() for pose in poses):
            return poses


def render(folder: Path):
    """Writes clips/SPLIT-LABEL-NN.mp4 and labels.csv."""
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    lines = ["file,label,split"]
    for part, (split, number) in enumerate(SPLITS.items()):
        for label in LABELS:
            dice, things = Dice(10 * part + LABELS.index(label)), things_of(label, split)
            for place in range(number):
                name = f"clips/{split}-{label}-{place:02d}.mp4"
                pictures = [clips.picture(things[place % len(things)], pose) for pose in film(label, dice)]
                clips.encode(pictures, folder / name)
                lines.append(f"{name},{label},{split}")
    write_lines(folder / "labels.csv", lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="a finished run of the preset sample")
    parser.add_argument("--to", type=Path, required=True, help="a folder for the clips and both runs")
    options = parser.parse_args()
    render(options.to / "data")
    starts = {"fine-tuned": ("fine-tune", "--from", options.run), "random": ("train", "sample")}
    print("epochs  start       frame accuracy  clip accuracy")
    for epochs, (start, command) in itertools.product(EPOCHS, starts.items()):
        scores = []
        for seed in SEEDS:
            run = options.to / f"{start}-{epochs}-{seed}"
            about = ["--data", options.to / "data", "--annotations", "labels.csv", "--epochs", epochs, "--seed", seed]
            with contextlib.redirect_stdout(sys.stderr):
                call(video.main, *command, *about, "--run", run)
                call(video.main, "evaluate", "--run", run)
            scores.append(json.loads((run / "metrics.json").read_text(encoding="utf-8")))
        columns = [[score[metric] for score in scores] for metric in ("accuracy", "clip_accuracy")]
        figures = [f"{statistics.mean(column):5.1f} ± {statistics.stdev(column):4.1f}" for column in columns]
        print(f"{epochs:6}  {start:10}  {figures[0]:>14}  {figures[1]:>13}", flush=True)


if __name__ == "__main__":
    main()

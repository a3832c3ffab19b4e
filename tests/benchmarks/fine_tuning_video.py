"""What fine-tuning is worth: the sample run of video on 10 clips of each of two new labels, against a random start.

    python tests/benchmarks/fine_tuning_video.py --run saved_models/video/sample --to saved_models/video/up-down

The new labels are "up" and "down"; in the run's own clips nothing moves upwards or downwards. Each clip has one label.
Both starts get the same clips, commands and epochs; the best epoch is chosen on 10 clips of validation, and 60 others
are the test. As in the sample, things of the test are of a colour and shape that show this label nowhere else.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(1, str(Path(__file__).resolve().parents[2] / "data"))

import clips
from files import write_lines
from world import COLOURS, SHAPES, THINGS, Dice, Thing

from pipelines.video import __main__ as video
from tests.benchmarks.commands import call

LABELS = ("up", "down")
SPLITS = {"train": 10, "val": 5, "test": 30}  # clips of a label
EPOCHS = 40


def things_of(label: str, split: str) -> list[Thing]:
    """The things that show a label in a split: every third diagonal of colours and shapes is the test's, another one
    for each label."""
    first = LABELS.index(label)
    diagonal = {thing: (list(COLOURS).index(thing.colour) + SHAPES.index(thing.shape)) % 3 for thing in THINGS}
    return [thing for thing in THINGS if (diagonal[thing] == first) == (split == "test")]


def movement(label: str, dice: Dice) -> clips.Pose:
    speed = dice.number(*clips.SPEEDS)
    return clips.Pose(0, speed if label == "down" else -speed, 0)


def film(label: str, dice: Dice) -> list[clips.Pose]:
    """A pose for each frame of a clip: one movement, inside the picture."""
    while True:
        poses = [clips.Pose(dice.number(0, clips.WIDTH), dice.number(0, clips.HEIGHT), dice.number(*clips.RADII))]
        step = movement(label, dice)
        for _ in range(dice.integer(*clips.SEGMENT)):
            poses.append(poses[-1].after(step))
        if all(pose.inside() for pose in poses):
            return poses


def render(folder: Path):
    """clips/SPLIT-LABEL-NN.mp4 and labels.csv."""
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
    about = ["--data", options.to / "data", "--annotations", "labels.csv", "--epochs", EPOCHS]
    call(video.main, "fine-tune", "--from", options.run, *about, "--run", options.to / "fine-tuned")
    call(video.main, "train", "sample", *about, "--run", options.to / "scratch")
    for start in ("fine-tuned", "scratch"):
        call(video.main, "evaluate", "--run", options.to / start)
    for start in ("fine-tuned", "scratch"):
        metrics = json.loads((options.to / start / "metrics.json").read_text(encoding="utf-8"))
        print(f"{start}: {json.dumps(metrics, indent=1)}")


if __name__ == "__main__":
    main()

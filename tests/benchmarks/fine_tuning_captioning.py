"""Measures the gain of fine-tuning: a Flickr8k model on 60 photos of a new topic, dogs on snow.

    python tests/benchmarks/fine_tuning_captioning.py --to saved_models/captioning/snow [--epochs 4]

All photos of the topic (two or more captions mention a dog and snow) are removed from the training part of Flickr8k,
and a model of the preset flickr8k is trained on the rest. It is then fine-tuned on 60 photos of the topic; 40 others
are the test. The lists are in TO/topic. A random start gets the same 60 photos and all their words. The best of 20
epochs is chosen on 6 of the 60.
"""

import argparse
import csv
import json
import re
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipelines.captioning import __main__ as captioning
from pipelines.captioning import dataset
from pipelines.captioning.captions import Captioned
from pipelines.captioning.presets import PRESETS
from tests.benchmarks.commands import call

TOPIC = (re.compile(r"\bdogs?\b"), re.compile(r"\bsnow"))
TRAINING, TEST = 60, 40
EPOCHS = 20


def of_topic(captions: list[str]) -> bool:
    return sum(all(word.search(caption.lower()) for word in TOPIC) for caption in captions) >= 2


def write(folder: Path, **parts: Captioned):
    """Writes captions_PART.tsv, and the images as links to the original files."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for part, found in parts.items():
        for name, path in found.paths.items():
            link = folder / "images" / name
            if not link.is_symlink():
                link.symlink_to(path.resolve())
        with (folder / f"captions_{part}.tsv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None, lineterminator="\n")
            for name, captions in found.references.items():
                rows.writerows([name, number, caption] for number, caption in enumerate(captions))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, required=True, help="a folder for the data and the runs")
    parser.add_argument("--epochs", type=int, default=4, help="of the model that is fine-tuned")
    options = parser.parse_args()
    parts = dataset.load(PRESETS["flickr8k"][1].data)
    topic = [name for name, captions in parts["train"].references.items() if of_topic(captions)]
    chosen = [topic[row] for row in np.random.default_rng(1).permutation(len(topic))[: TRAINING + TEST]]
    rest = [name for name in parts["train"].paths if name not in set(topic)]
    own, test = parts["train"].take(chosen[:TRAINING]), parts["train"].take(chosen[TRAINING:])
    write(options.to / "rest", train=parts["train"].take(rest), val=parts["validation"], test=parts["test"])
    write(options.to / "topic", train=own, test=test)
    scores = {}

    def score(name: str, run: Path):
        call(captioning.main, "evaluate", "--run", run, "--data", options.to / "topic", "--split", "test")
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        found = list(metrics["beams"].values())[-1]
        scores[name] = f"BLEU-4 {100 * found['bleu4']:.1f}, CIDEr-D {found['cider']:.3f}"

    cache = ["--cache", options.to / "cache"]
    call(captioning.main, "train", "flickr8k", "--data", options.to / "rest", "--epochs", options.epochs, *cache,
         "--run", options.to / "base")  # fmt: skip
    score("before", options.to / "base")
    about = ["--data", options.to / "topic", "--validation-share", 0.1, "--epochs", EPOCHS, *cache]
    call(captioning.main, "fine-tune", "--from", options.to / "base", *about, "--run", options.to / "fine-tuned")
    score("fine-tuned", options.to / "fine-tuned")
    call(captioning.main, "train", "flickr8k", *about, "--min-count", 1, "--run", options.to / "random")
    score("random start", options.to / "random")
    for name, found in scores.items():
        print(f"{name}: {found} (beam 5, {TEST} photos)")


if __name__ == "__main__":
    main()

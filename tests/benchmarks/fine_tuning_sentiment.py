"""Measures the gain of fine-tuning: the run of imdb on 500 reviews with three labels, against a random start.

    python tests/benchmarks/fine_tuning_sentiment.py --run saved_models/sentiment/imdb --to saved_models/sentiment/mixed

The third label combines the other two: a "mixed" review begins with one verdict and ends with the other. Training and
validation reviews are from the validation part of the run (films that it was not trained on), the 1,500 test reviews
from the test part. The columns have other names. Both starts get the same data, commands and epochs; the best epoch is
chosen on the validation reviews.
"""

import argparse
import csv
import json
import re
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipelines.common.config import from_json
from pipelines.common.runs import Run
from pipelines.sentiment import __main__ as sentiment
from pipelines.sentiment import dataset
from pipelines.sentiment.config import Config
from pipelines.sentiment.labels import label_ids
from pipelines.sentiment.reviews import Reviews
from tests.benchmarks.commands import call

TRAINING, VALIDATION, TEST = 500, 100, 1500
EPOCHS = 20
SENTENCE = re.compile(r"(?<=[.!?])\s+|<br />")


def three_labels(found: Reviews, number: int, seed: int) -> list[tuple[str, str]]:
    """Returns `number` pairs (review, verdict), a third of each verdict; no review is used twice."""
    random, labels = np.random.default_rng(seed), label_ids(found, ("negative", "positive"))
    texts = {
        label: [found.texts[row] for row in random.permutation(len(found)) if labels[row] == label] for label in (0, 1)
    }
    rows = []
    for place in range(number):
        verdict = place % 3
        if verdict < 2:
            rows.append((texts[verdict].pop(), ("negative", "positive")[verdict]))
        else:
            first, second = (texts[label].pop() for label in ((0, 1), (1, 0))[place // 3 % 2])
            rows.append((f"{half(first, 0)} {half(second, 1)}", "mixed"))
    return [rows[place] for place in random.permutation(number)]


def half(text: str, which: int) -> str:
    sentences = [sentence for sentence in SENTENCE.split(text) if sentence.strip()]
    middle = (len(sentences) + 1) // 2
    return " ".join(sentences[middle:] or sentences if which else sentences[:middle])


def write(path: Path, rows: list[tuple[str, str]]):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "verdict"])
        writer.writerows(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="a finished run of the preset imdb")
    parser.add_argument("--to", type=Path, required=True, help="a folder for the data and both runs")
    options = parser.parse_args()
    config = from_json(Config, Run.open(options.run, "sentiment").require_weights().config)
    parts = dataset.load(config.data)
    data = options.to / "data"
    data.mkdir(parents=True, exist_ok=True)
    own = three_labels(parts["validation"], TRAINING + VALIDATION, seed=1)
    write(data / "train.csv", own[:TRAINING])
    write(data / "validation.csv", own[TRAINING:])
    write(data / "test.csv", three_labels(parts["test"], TEST, seed=2))
    about = ["--data", data, "--text-column", "review", "--label-column", "verdict", "--epochs", EPOCHS]
    call(sentiment.main, "fine-tune", "--from", options.run, *about, "--run", options.to / "fine-tuned")
    names = ["--label-names", "mixed", "negative", "positive"]
    call(sentiment.main, "train", "imdb", *about, *names, "--run", options.to / "scratch")
    for start in ("fine-tuned", "scratch"):
        call(sentiment.main, "evaluate", "--run", options.to / start)
    for start in ("fine-tuned", "scratch"):
        metrics = json.loads((options.to / start / "metrics.json").read_text(encoding="utf-8"))
        print(f"{start}: accuracy {metrics['accuracy']:.4f} on {TEST} reviews, three labels")


if __name__ == "__main__":
    main()

"""Measures the gain of a language model with few labels: a classifier of 500 reviews, against a random start.

    python tests/benchmarks/few_labels.py --language-model saved_models/sentiment/imdb-language-model
        --to saved_models/sentiment/few-labels [--reviews 500] [--seeds 1 2 3] [--tested 5000]

Each seed draws other reviews from the training part and other initial weights. Both starts get the same reviews and
epochs, and the learning rate of their preset. The best epoch is chosen on 500 validation reviews, of films that are not
in the data of the language model. The random start has the vocabulary of its own reviews. All are tested on the same
reviews of the test part.
"""

import argparse
import csv
import json
import statistics
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipelines.common.config import from_json
from pipelines.common.runs import Run
from pipelines.sentiment import __main__ as sentiment
from pipelines.sentiment import dataset
from pipelines.sentiment.config import PRESETS
from pipelines.sentiment.language_model import config as language_model
from pipelines.sentiment.reviews import Reviews
from tests.benchmarks.commands import call

VALIDATED = 500
RECIPE = ["--epochs", "6", "--batch-reviews", "16", "--ema", "0.99", "--optimizer", "lazy-adam", "--no-tensorboard"]


def write(path: Path, found: Reviews, rows: np.ndarray):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows((found.texts[row], ("negative", "positive")[int(found.labels[row])]) for row in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--language-model", type=Path, required=True, help="a finished run of pretrain imdb")
    parser.add_argument("--to", type=Path, required=True, help="a folder for the data and the runs")
    parser.add_argument("--reviews", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--tested", type=int, default=5000)
    options = parser.parse_args()
    network = PRESETS["imdb-pretrained"][1]
    word_dropout = network.regularization.word_dropout
    learned = from_json(language_model.Config, Run.open(options.language_model, language_model.TASK).config)
    directions = "--bidirectional" if learned.model.bidirectional else "--no-bidirectional"
    parts = dataset.load(network.data)
    test = np.random.default_rng(0).permutation(len(parts["test"]))[: options.tested]
    scores: dict[str, list[float]] = {"warm": [], "random": []}
    for seed in options.seeds:
        random, data = np.random.default_rng(seed), options.to / f"data-{options.reviews}-{seed}"
        data.mkdir(parents=True, exist_ok=True)
        for part, number in (("train", options.reviews), ("validation", VALIDATED)):
            write(data / f"{part}.csv", parts[part], random.permutation(len(parts[part]))[:number])
        write(data / "test.csv", parts["test"], test)
        starts = {
            "warm": ["imdb-pretrained", "--init-from", options.language_model],
            "random": ["imdb", directions, "--units", learned.model.units, "--word-dropout", word_dropout],
        }
        for start, arguments in starts.items():
            run = options.to / f"{start}-{options.reviews}-{seed}"
            about = ["--data", data, "--group-column", "", "--seed", seed, "--run", run, *RECIPE]
            call(sentiment.main, "train", *arguments, *about)
            call(sentiment.main, "evaluate", "--run", run)
            metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
            scores[start].append(100 * metrics["accuracy"])
    for start, found in scores.items():
        mean, spread = statistics.mean(found), statistics.stdev(found) if len(found) > 1 else 0.0
        print(f"{start}: {mean:.1f} ± {spread:.1f} % of {options.tested:,} ({', '.join(f'{s:.1f}' for s in found)})")


if __name__ == "__main__":
    main()

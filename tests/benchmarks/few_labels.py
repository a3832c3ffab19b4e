"""Measures the gain of a language model, and of word vectors, with few labels: classifiers of 500 reviews.

    python tests/benchmarks/few_labels.py --language-model saved_models/sentiment/imdb-language-model
        --to saved_models/sentiment/few-labels [--reviews 500] [--seeds 1 2 3] [--tested 5000]
        [--starts warm random vectors frozen attention]

warm        from the language model: embeddings, recurrent layers and vocabulary
random      from random weights, with the vocabulary of its own reviews
vectors     as random, but with --vectors: the embeddings of the language model, written to a .vec file
frozen      as vectors, with --freeze-vectors for all epochs
attention   as vectors, with --pooling attention

Each seed draws other reviews from the training part and other initial weights. All starts get the same reviews and
epochs, and the learning rate of their preset. The best epoch is chosen on 500 validation reviews, of films that are not
in the data of the language model. All are tested on the same reviews of the test part.
"""

import argparse
import csv
import json
import statistics
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipelines.common.runs import Run
from pipelines.sentiment import __main__ as sentiment
from pipelines.sentiment import dataset
from pipelines.sentiment.labels import label_ids
from pipelines.sentiment.language_model import config as language_model
from pipelines.sentiment.language_model import model as language_model_model
from pipelines.sentiment.presets import PRESETS
from pipelines.sentiment.reviews import Reviews
from tests.benchmarks.commands import call

VALIDATED = 500
EPOCHS = 6
STARTS = ["warm", "random", "vectors", "frozen", "attention"]
LABELS = ("negative", "positive")
RECIPE = ["--epochs", EPOCHS, "--batch-reviews", "16", "--ema", "0.99", "--optimizer", "lazy-adam", "--no-tensorboard"]


def write(path: Path, found: Reviews, rows: np.ndarray):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        labels = label_ids(found, LABELS)
        writer.writerows((found.texts[row], LABELS[labels[row]]) for row in rows)


def write_vectors(path: Path, learned: language_model_model.Trained):
    """Writes the embeddings of a language model in the format of word2vec and fastText."""
    (vectors,) = learned.model.embedding.get_weights()
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(f"{len(vectors)} {vectors.shape[1]}\n")
        for word, vector in zip(learned.preprocessing.vocabulary.words, vectors, strict=True):
            file.write(f"{word} {' '.join(f'{number:.6g}' for number in vector)}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--language-model", type=Path, required=True, help="a finished run of pretrain imdb")
    parser.add_argument("--to", type=Path, required=True, help="a folder for the data and the runs")
    parser.add_argument("--reviews", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--tested", type=int, default=5000)
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=STARTS)
    options = parser.parse_args()
    network = PRESETS["imdb-pretrained"][1]
    word_dropout = network.regularization.word_dropout
    learned = language_model_model.load_trained(Run.open(options.language_model, language_model.TASK))
    model = learned.config.model
    options.to.mkdir(parents=True, exist_ok=True)
    write_vectors(options.to / "words.vec", learned)
    directions = "--bidirectional" if model.bidirectional else "--no-bidirectional"
    random_start = ["imdb", directions, "--units", model.units, "--word-dropout", word_dropout]
    random_start += ["--layers", model.layers, "--embedding-units", model.embedding_units]
    vectors = [*random_start, "--vectors", options.to / "words.vec"]
    starts = {
        "warm": ["imdb-pretrained", "--init-from", options.language_model],
        "random": random_start,
        "vectors": vectors,
        "frozen": [*vectors, "--freeze-vectors", EPOCHS],
        "attention": [*vectors, "--pooling", "attention"],
    }
    parts = dataset.load(network.data)
    test = np.random.default_rng(0).permutation(len(parts["test"]))[: options.tested]
    scores: dict[str, list[float]] = {start: [] for start in options.starts}
    for seed in options.seeds:
        random, data = np.random.default_rng(seed), options.to / f"data-{options.reviews}-{seed}"
        data.mkdir(parents=True, exist_ok=True)
        for part, number in (("train", options.reviews), ("validation", VALIDATED)):
            write(data / f"{part}.csv", parts[part], random.permutation(len(parts[part]))[:number])
        write(data / "test.csv", parts["test"], test)
        for start in options.starts:
            run = options.to / f"{start}-{options.reviews}-{seed}"
            about = ["--data", data, "--group-column", "", "--seed", seed, "--run", run, *RECIPE]
            call(sentiment.main, "train", *starts[start], *about)
            call(sentiment.main, "evaluate", "--run", run)
            metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
            scores[start].append(100 * metrics["accuracy"])
    for start, found in scores.items():
        mean, spread = statistics.mean(found), statistics.stdev(found) if len(found) > 1 else 0.0
        print(f"{start}: {mean:.1f} ± {spread:.1f} % of {options.tested:,} ({', '.join(f'{s:.1f}' for s in found)})")


if __name__ == "__main__":
    main()

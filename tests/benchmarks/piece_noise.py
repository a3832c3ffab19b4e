"""Prints a Markdown table: the accuracy and calibration error of a sentiment run on other texts, by --piece-noise.

    python tests/benchmarks/piece_noise.py --run saved_models/sentiment/imdb-reads --data sentences.tsv.gz
        [--noise 0 0.1 0.2 0.3 0.4]

The run was trained with --calibrate-lengths. It is calibrated anew with each value, on its own validation reviews and
pieces of them, and is not changed. A cell has the accuracy and, in brackets, the expected calibration error. A training
with the value would have the same weights, except for those of the calibration.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipelines.common import metrics
from pipelines.common.config import replace
from pipelines.common.evaluation.reliability import reliability
from pipelines.common.runs import Run
from pipelines.common.training import calibration
from pipelines.sentiment import dataset, word_ids
from pipelines.sentiment.evaluate import predict_logits
from pipelines.sentiment.length_calibration import KNOTS
from pipelines.sentiment.model import LENGTH_CALIBRATION, load_trained
from pipelines.sentiment.validation import Validation, length_weights


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="a run that was trained with --calibrate-lengths")
    parser.add_argument("--data", nargs="+", required=True, help="files with the columns text and label")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.1, 0.2, 0.3, 0.4])
    options = parser.parse_args()
    trained = load_trained(Run.open(options.run, "sentiment"))
    classes, config = len(trained.names), trained.config
    trained.model.get_layer(LENGTH_CALIBRATION).set_weights([np.ones(len(KNOTS)), np.zeros([len(KNOTS), classes])])

    def encode(reviews):
        return word_ids.encode_labelled(reviews, trained.preprocessing, trained.names)

    validation = encode(dataset.load_part(config.data, "validation"))
    held_out = Validation(trained.model, validation, trained.preprocessing.vocabulary, config, with_pieces=True)
    files = {
        Path(file).name: encode(dataset.load_all(dataclasses.replace(config.data, location=file), "test"))
        for file in options.data
    }
    parts = {"validation reviews": validation} | files
    logits = {name: predict_logits(held_out.predictor, texts, config.data) for name, texts in parts.items()}
    rows = [["--piece-noise", *parts], ["---"] * (1 + len(parts))]
    rows.append(
        ["not calibrated", *(f"{np.mean(logits[name].argmax(axis=1) == parts[name].labels):.1%}" for name in parts)]
    )
    for noise in options.noise:
        held_out.config = replace(config, piece_noise=noise)
        fitted = held_out.fit_lengths()
        cells = []
        for name, texts in parts.items():
            probabilities = metrics.softmax(calibration.scaled(length_weights(texts), logits[name], *fitted))
            right = probabilities.argmax(axis=1) == texts.labels
            cells.append(f"{right.mean():.1%} ({reliability(probabilities.max(axis=1), right)['ece']:.3f})")
        rows.append([f"{noise:g}", *cells])
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))


if __name__ == "__main__":
    main()

"""Scores of a run on labelled reviews."""

import dataclasses
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

from pipelines.common import metrics
from pipelines.common.data.loading import FILLER
from pipelines.common.evaluation.reliability import reliability
from pipelines.common.files import write_json
from pipelines.common.pictures.charts import draw_confusion_matrix, draw_reliability
from pipelines.common.runs import Run
from pipelines.sentiment import dataset, word_ids
from pipelines.sentiment.config import DataConfig
from pipelines.sentiment.model import load_trained
from pipelines.sentiment.options import Evaluate
from pipelines.sentiment.text_config import TextConfig


def evaluate(options: Evaluate) -> dict:
    """Scores a run, prints a table, and writes metrics.json, confusion_matrix.png and reliability.png into the run.

    Returns the content of metrics.json. A file of other data is scored as a whole.
    """
    run, part = Run.open(options.run, "sentiment"), options.split
    trained = load_trained(run)
    data = dataclasses.replace(trained.config.data, **options.data_changes)
    reviews = dataset.load_all(data, part) if options.location is not None else dataset.load_part(data, part)
    texts = word_ids.encode_labelled(reviews, trained.preprocessing, trained.names)
    logits = predict_logits(make_predictor(trained.model), texts, data)
    probabilities = metrics.softmax(logits)
    scores = {
        **metrics.classification(logits, texts.labels, trained.names),
        **reliability(probabilities.max(axis=1), probabilities.argmax(axis=1) == texts.labels),
        "cut": texts.cut,
        "data": data.location,
        "split": "all" if options.location is not None and pathlib.Path(data.location).is_file() else part,
    }
    print(table(scores))
    write_json(run.metrics_file, scores)
    draw_confusion_matrix(np.array(scores["confusion"]), trained.names, run.path / "confusion_matrix.png")
    draw_reliability(**scores["reliability"], ece=scores["ece"], png=run.path / "reliability.png")
    report_cut(texts, trained.config.text)
    return scores


def make_predictor(model: keras.Model):
    """Returns a function int32[batch, time] -> logits float32[batch, classes], traced once, for all shapes."""
    return tf.function(
        lambda ids: model(ids, training=False), input_signature=[tf.TensorSpec([None, None], tf.int32)], autograph=False
    )


def predict_logits(predictor, texts: word_ids.Texts, data: DataConfig) -> np.ndarray:
    """Returns the logits float32[reviews, classes] of all reviews, in their order."""
    row_batches, logit_batches = [], []
    for batch in word_ids.batches(texts, batch_reviews=4 * data.batch_reviews, batch_words=data.batch_words):
        row_batches.append(batch["rows"].numpy())
        logit_batches.append(predictor(batch["ids"]).numpy())
    rows, logits = np.concatenate(row_batches), np.concatenate(logit_batches)
    ordered = np.zeros((len(texts), logits.shape[1]), np.float32)
    ordered[rows[rows != FILLER]] = logits[rows != FILLER]
    return ordered


def report_cut(texts: word_ids.Texts, limits: TextConfig):
    """Prints on standard error how many reviews were cut, if any."""
    if texts.cut:
        longest = f"{limits.max_words:,} words or {limits.max_characters:,} characters"
        print(f"{texts.cut:,} of {len(texts):,} reviews were cut at {longest}", file=sys.stderr)


def table(scores: dict) -> str:
    """Formats the scores as a table."""
    width = max(8, *(len(name) for name in scores["classes"]))
    lines = [
        f"{scores['data']}, {scores['split']}: {scores['examples']:,} reviews",
        f"{'accuracy':<{width}} {scores['accuracy']:9.4f}",
        f"{'loss':<{width}} {scores['loss']:9.4f}",
        f"{'ECE':<{width}} {scores['ece']:9.4f}",
        f"{'label':<{width}} precision    recall        f1   support",
    ]
    for name, row in scores["classes"].items():
        cells = " ".join(f"{row[metric]:9.4f}" for metric in ("precision", "recall", "f1"))
        lines.append(f"{name:<{width}} {cells} {row['support']:9,}")
    return "\n".join(lines)

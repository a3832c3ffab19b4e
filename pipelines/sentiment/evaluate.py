"""Scores of a run on labelled reviews."""

import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

from pipelines.common import metrics
from pipelines.common.data.batching import FILLER
from pipelines.common.files import write_json
from pipelines.common.pictures.charts import draw_confusion_matrix
from pipelines.common.runs import Run
from pipelines.sentiment import dataset
from pipelines.sentiment.config import Config
from pipelines.sentiment.model import load_trained


def evaluate(run_path: pathlib.Path, data: str | None, part: str, changes: dict) -> dict:
    """Scores the run at `run_path`, prints a table, and writes metrics.json and confusion_matrix.png into the run.

    Args:
        data: labelled reviews; None: the data the run was trained with.
        part: "train", "validation" or "test"; a file given as `data` is scored as a whole.
        changes: fields of the config that say how to read `data`, such as text_column.
    """
    run = Run.open(run_path, "sentiment")
    trained = load_trained(run)
    config = Config.from_json({**run.config, **({"data": data} if data else {}), **changes})
    reviews = dataset.load_all(config, part) if data else dataset.load_part(config, part)
    encoded = dataset.encode(reviews, trained.preprocessing, trained.names)
    logits = predict_logits(make_predictor(trained.model), encoded, config)
    scores = {
        **metrics.classification(logits, encoded.labels, trained.names),
        "cut": encoded.cut,
        "data": config.data,
        "split": "all" if data and pathlib.Path(data).is_file() else part,
    }
    write_json(run.metrics_file, scores)
    draw_confusion_matrix(np.array(scores["confusion"]), trained.names, run.path / "confusion_matrix.png")
    print(table(scores))
    report_cut(encoded, config)
    return scores


def make_predictor(model: keras.Model):
    """int32[batch, time] -> logits float32[batch, classes], compiled once for every shape."""
    return tf.function(
        lambda ids: model(ids, training=False), input_signature=[tf.TensorSpec([None, None], tf.int32)], autograph=False
    )


def predict_logits(predictor, texts: dataset.Texts, config: Config) -> np.ndarray:
    """float32[reviews, classes], in the order of the reviews."""
    rows, logits = [], []
    for batch in dataset.batches(texts, batch_reviews=4 * config.batch_reviews, batch_words=config.batch_words):
        rows.append(batch["rows"].numpy())
        logits.append(predictor(batch["ids"]).numpy())
    rows, logits = np.concatenate(rows), np.concatenate(logits)
    ordered = np.zeros((len(texts), logits.shape[1]), np.float32)
    ordered[rows[rows != FILLER]] = logits[rows != FILLER]
    return ordered


def report_cut(encoded: dataset.Encoded, config: Config):
    """Says on standard error how many reviews were longer than what is read of them."""
    if encoded.cut:
        limits = f"{config.max_words:,} words or {config.max_characters:,} characters"
        print(f"{encoded.cut:,} of {len(encoded):,} reviews were cut at {limits}", file=sys.stderr)


def table(scores: dict) -> str:
    """The scores for people."""
    width = max(8, *(len(name) for name in scores["classes"]))
    lines = [
        f"{scores['data']}, {scores['split']}: {scores['examples']:,} reviews",
        f"{'accuracy':<{width}} {scores['accuracy']:9.4f}",
        f"{'loss':<{width}} {scores['loss']:9.4f}",
        f"{'label':<{width}} precision    recall        f1   support",
    ]
    for name, row in scores["classes"].items():
        figures = " ".join(f"{row[metric]:9.4f}" for metric in ("precision", "recall", "f1"))
        lines.append(f"{name:<{width}} {figures} {row['support']:9,}")
    return "\n".join(lines)

"""Labels texts with an export: only TensorFlow and pictures, no training code."""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from pipelines.common.pictures.text_rows import draw_classified_text
from pipelines.common.serving import exports, text_inputs

TEXTS_PER_BATCH = 64


def predict(model: pathlib.Path, inputs: Sequence[str], picture: pathlib.Path | None = None) -> int:
    """Writes a JSON object for each text to standard output: text, label, probability. Returns the exit status.

    For a text that is not UTF-8, the object has `error`, and the exit status is 1.

    Args:
        model: an export, or a run that has one.
        inputs: the texts. "-" means the lines of standard input.
        picture: where to draw the probability and the gates over the words of each text. The second text is drawn to
            NAME-2.png, and so on.
    """
    loaded = exports.load(model, "sentiment", {"label", "probability", "probabilities"})
    classify = loaded.signatures["serving_default"]
    status, number = 0, 0
    for batch in text_inputs.batches(text_inputs.read_texts(inputs), TEXTS_PER_BATCH):
        good = [text for text in batch if isinstance(text, str)]
        answers = iter(answer(classify, good))
        for text in batch:
            number += 1
            if isinstance(text, str):
                print(json.dumps(next(answers), ensure_ascii=False))
            else:
                broken = {"text": text.decode(errors="replace"), "error": text_inputs.utf8_error(text)}
                print(json.dumps(broken, ensure_ascii=False))
                status = 1
            if picture and isinstance(text, str):
                draw(explain(loaded.signatures["explain"], text), text_inputs.numbered(picture, number))
        sys.stdout.flush()
    return status


def answer(classify, texts: list[str]) -> list[dict]:
    """Returns the object of each text."""
    if not texts:
        return []
    found = classify(text=tf.constant(texts))
    return [
        {"text": text, "label": label.decode(), "probability": round(float(probability), 6)}
        for text, label, probability in zip(texts, found["label"].numpy(), found["probability"].numpy(), strict=True)
    ]


@dataclasses.dataclass(frozen=True)
class Explained:
    """The explanation of the label of a text.

    Attributes:
        words: list of strings [time].
        probability: float[time, classes], of the text up to and including each word.
        classes: list of strings [classes].
        gates: letter -> float[time, units].
        attention: float[time], or None without attention pooling.
    """

    words: list[str]
    probability: np.ndarray
    classes: list[str]
    gates: dict[str, np.ndarray]
    attention: np.ndarray | None


def explain(signature, text: str) -> Explained:
    """Returns what the signature `explain` of an export says about a text."""
    found = {name: value.numpy() for name, value in signature(text=tf.constant([text])).items()}
    words = [word.decode() for word in found.pop("tokens")[0]]
    probability, classes = found.pop("probability")[0], [name.decode() for name in found.pop("classes")]
    attention = found.pop("attention", [None])[0]
    return Explained(words, probability, classes, {name: gate[0] for name, gate in found.items()}, attention)


def draw(explained: Explained, png: pathlib.Path):
    """Draws the words of a text, the probability after each word, the attention if there is one, and the gates."""
    draw_classified_text(
        explained.words, explained.probability, explained.classes, explained.gates, png, explained.attention
    )

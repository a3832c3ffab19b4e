"""Translates with an export only: TensorFlow and pictures, no training code."""

import json
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from pipelines.common.pictures.charts import draw_sentence_map
from pipelines.common.pictures.text_rows import draw_decoded_text
from pipelines.common.serving import exports, text_inputs
from pipelines.common.serving.decoding_options import DecodingOptions

BATCH_SIZE = 32


def predict(
    model: pathlib.Path, texts: Sequence[str], options: DecodingOptions, picture: pathlib.Path | None = None
) -> int:
    """Writes one JSON object for each sentence to standard output: source, translation, score (and candidates, with
    n_best). Returns the exit status.

    Args:
        model: An export, or a run that has one.
        texts: The sentences; "-" stands for the lines of standard input.
        options: How to decode.
        picture: PNG file for a picture of the probabilities and gates of each translation. The picture of the second
            sentence is NAME-2.png; NAME-map.png shows all sentences by the last state of the encoder.

    For a sentence that is not UTF-8, the object has an `error`, and the exit status is 1.
    """
    loaded = exports.load(model, "translation", {"translation", "score", "candidates"})
    status, number, states = 0, 0, []
    for batch in text_inputs.batches(text_inputs.read_texts(texts), BATCH_SIZE):
        translations = iter(translate(loaded, [text for text in batch if isinstance(text, str)], options))
        for text in batch:
            number += 1
            if isinstance(text, bytes):
                answer = {"source": text.decode(errors="replace"), "error": text_inputs.utf8_error(text)}
                status = 1
            else:
                answer = {"source": text, **next(translations)}
                if picture:
                    states.append((text, draw(loaded, answer, text_inputs.numbered(picture, number))))
            print(json.dumps(answer, ensure_ascii=False))
        sys.stdout.flush()
    if picture and len(states) > 2:
        texts, vectors = zip(*states, strict=True)
        draw_sentence_map(np.stack(vectors), texts, picture.with_stem(f"{picture.stem}-map"))
    return status


def translate(loaded, sources: list[str], options: DecodingOptions) -> list[dict]:
    """Returns translation, score (and candidates) of each source."""
    if not sources:
        return []
    outputs = exports.decode(loaded, options, source=tf.constant(sources))
    return exports.sentences(outputs, "translation", options)


def draw(loaded, answer: dict, png: pathlib.Path) -> np.ndarray:
    """Draws the tokens of a translation with their probabilities, gates and, with attention, their alignment to the
    source tokens. Returns the state of the encoder."""
    outputs = loaded.signatures["explain"](
        source=tf.constant([answer["source"]]), translation=tf.constant([answer["translation"]])
    )
    gates = {name: value.numpy()[0] for name, value in outputs.items()}
    tokens = [token.decode() for token in gates.pop("tokens")]
    probability, state = gates.pop("probability"), gates.pop("state")
    source_tokens = [token.decode() for token in gates.pop("source_tokens", ())]
    alignment = gates.pop("alignment", None)
    draw_decoded_text(answer["source"], tokens, probability, gates, png, source_tokens, alignment)
    return state

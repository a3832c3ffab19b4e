"""Translations by an export alone: TensorFlow and pictures, no training code."""

import json
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from pipelines.common.pictures import figures
from pipelines.common.serving import exports
from pipelines.common.serving.search import Search

TEXTS_AT_ONCE = 32


def predict(model: pathlib.Path, inputs: Sequence[str], search: Search, picture: pathlib.Path | None = None) -> int:
    """Writes one JSON object a sentence to standard output: source, translation, score (and candidates, with n_best);
    gives the exit status.

    Args:
        model: an export, or a run that has one.
        inputs: the sentences; "-" stands for the lines of standard input.
        picture: where to draw how each translation was written; of several sentences, the second goes to NAME-2.png,
            and NAME-map.png shows all of them by the encoder's last state.

    A sentence that is not UTF-8 gives an object with `error`, and the exit status 1.
    """
    loaded = exports.load(model, "translation", {"translation", "score", "candidates"})
    status, number, states = 0, 0, []
    for batch in exports.batches(exports.read_texts(inputs), TEXTS_AT_ONCE):
        good = [text for text in batch if isinstance(text, str)]
        answers = iter(translate(loaded, good, search))
        for text in batch:
            number += 1
            if isinstance(text, bytes):
                bad = {"source": text.decode(errors="replace"), "error": exports.fault(text)}
                print(json.dumps(bad, ensure_ascii=False))
                status = 1
                continue
            answer = next(answers)
            print(json.dumps(answer, ensure_ascii=False))
            if picture:
                states.append((text, draw(loaded, answer, exports.numbered(picture, number))))
        sys.stdout.flush()
    if picture and len(states) > 2:
        texts, vectors = zip(*states, strict=True)
        figures.sentence_map(np.stack(vectors), texts, picture.with_stem(f"{picture.stem}-map"))
    return status


def translate(loaded, texts: list[str], search: Search) -> list[dict]:
    if not texts:
        return []
    found = exports.decode(search, loaded, source=tf.constant(texts))
    answers = []
    for text, translation, score, candidates in zip(
        texts, found["translation"].numpy(), found["score"].numpy(), found["candidates"].numpy(), strict=True
    ):
        answer = {"source": text, "translation": translation.decode(), "score": round(float(score), 6)}
        if search.n_best > 1:
            answer["candidates"] = [candidate.decode() for candidate in candidates[: search.n_best]]
        answers.append(answer)
    return answers


def draw(loaded, answer: dict, png: pathlib.Path) -> np.ndarray:
    """The words of a translation as they were written, and the gates over them; gives the sentence's state."""
    found = loaded.signatures["explain"](
        source=tf.constant([answer["source"]]), translation=tf.constant([answer["translation"]])
    )
    found = {name: value.numpy()[0] for name, value in found.items()}
    words = [word.decode() for word in found.pop("tokens")]
    probability, state = found.pop("probability"), found.pop("state")
    figures.words_written(answer["source"], words, probability, found, png)
    return state

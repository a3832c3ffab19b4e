"""Translations by an export alone: TensorFlow and pictures, no training code."""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from pipelines.common import pictures, serving
from pipelines.common.errors import UserError
from pipelines.common.options import flag

TEXTS_AT_ONCE = 32


@dataclasses.dataclass(frozen=True)
class Search:
    """How to decode. None: as the export does by itself.

    With a temperature, or top_k, top_p or a seed, a translation is drawn at random; else it is searched for.
    """

    prefix: str = ""
    beam_size: int | None = None
    length_penalty: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    n_best: int = 1
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None

    def __post_init__(self):
        drawn = [name for name in ("temperature", "top_k", "top_p", "seed") if getattr(self, name) is not None]
        searched = [n for n in ("beam_size", "length_penalty", "min_length") if getattr(self, n) is not None]
        if self.n_best > 1:
            searched.append("n_best")
        if drawn and searched:
            raise UserError(f"{flag(drawn[0])} draws at random and {flag(searched[0])} searches: give one of them")
        for name, least in (("beam_size", 1), ("n_best", 1), ("min_length", 0), ("max_length", 1), ("top_k", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"{flag(name)} is {value}, but must be at least {least}")
        if self.temperature is not None and self.temperature <= 0:
            raise UserError(f"--temperature is {self.temperature}, but must be greater than 0")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError(f"--top-p is {self.top_p}, but must be above 0 and at most 1")

    @property
    def samples(self) -> bool:
        return any(value is not None for value in (self.temperature, self.top_k, self.top_p, self.seed))


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
    loaded = serving.load(model, "translation", {"translation", "score", "candidates"})
    status, number, states = 0, 0, []
    for batch in serving.batches(serving.read_texts(inputs), TEXTS_AT_ONCE):
        good = [text for text in batch if isinstance(text, str)]
        answers = iter(translate(loaded, good, search))
        for text in batch:
            number += 1
            if isinstance(text, bytes):
                print(
                    json.dumps(
                        {"source": text.decode(errors="replace"), "error": serving.fault(text)}, ensure_ascii=False
                    )
                )
                status = 1
                continue
            answer = next(answers)
            print(json.dumps(answer, ensure_ascii=False))
            if picture:
                states.append((text, draw(loaded, answer, serving.numbered(picture, number))))
        sys.stdout.flush()
    if picture and len(states) > 2:
        texts, vectors = zip(*states, strict=True)
        pictures.sentence_map(np.stack(vectors), texts, picture.with_stem(f"{picture.stem}-map"))
    return status


def translate(loaded, texts: list[str], search: Search) -> list[dict]:
    if not texts:
        return []
    found = decode(loaded, tf.constant(texts), search)
    answers = []
    for text, translation, score, candidates in zip(
        texts, found["translation"].numpy(), found["score"].numpy(), found["candidates"].numpy(), strict=True
    ):
        answer = {"source": text, "translation": translation.decode(), "score": round(float(score), 6)}
        if search.n_best > 1:
            answer["candidates"] = [candidate.decode() for candidate in candidates[: search.n_best]]
        answers.append(answer)
    return answers


def decode(loaded, source, search: Search) -> dict:
    """Calls the signature that does what is asked for, with the export's own defaults for the rest."""
    default = {name: value.numpy().item() for name, value in loaded.signatures["defaults"]().items()}
    max_length = tf.constant(default["max_length"] if search.max_length is None else search.max_length)
    prefix = tf.constant([search.prefix])
    if search.samples:
        return loaded.signatures["sample"](
            source=source,
            prefix=prefix,
            temperature=tf.constant(1.0 if search.temperature is None else search.temperature),
            top_k=tf.constant(search.top_k or 0),
            top_p=tf.constant(1.0 if search.top_p is None else search.top_p),
            seed=tf.constant(search.seed or 0),
            max_length=max_length,
        )
    beam_size = default["beam_size"] if search.beam_size is None else search.beam_size
    penalty = default["length_penalty"] if search.length_penalty is None else search.length_penalty
    return loaded.signatures["beam"](
        source=source,
        prefix=prefix,
        beam_size=tf.constant(max(beam_size, search.n_best)),
        length_penalty=tf.constant(float(penalty)),
        min_length=tf.constant(search.min_length or 0),
        max_length=max_length,
    )


def draw(loaded, answer: dict, png: pathlib.Path) -> np.ndarray:
    """The words of a translation as they were written, and the gates over them; gives the sentence's state."""
    found = loaded.signatures["explain"](
        source=tf.constant([answer["source"]]), translation=tf.constant([answer["translation"]])
    )
    found = {name: value.numpy()[0] for name, value in found.items()}
    words = [word.decode() for word in found.pop("tokens")]
    probability, state = found.pop("probability"), found.pop("state")
    pictures.words_written(answer["source"], words, probability, found, png)
    return state

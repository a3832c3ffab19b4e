"""Texts from the export of a language model alone: TensorFlow, no training code."""

import dataclasses
import json
import pathlib

from pipelines.common.serving import exports
from pipelines.common.serving.decoding_options import DecodingOptions


def generate(run: pathlib.Path, search: DecodingOptions, number: int) -> int:
    """Writes `number` texts to standard output, one JSON object a line: prefix, text, score and seed, which is that of
    the search and those that follow; gives the exit status.

    Args:
        run: a run of pretrain that was exported, or the export.
        search: how to draw; it has a seed.
    """
    loaded = exports.load(run, "sentiment", {"text", "score"})
    for draw in (dataclasses.replace(search, seed=search.seed + n) for n in range(number)):
        found = exports.decode(loaded, draw)
        answer = {"prefix": draw.prefix, "text": found["text"].numpy()[0].decode()}
        print(
            json.dumps({**answer, "score": round(float(found["score"][0]), 6), "seed": draw.seed}, ensure_ascii=False)
        )
    return 0

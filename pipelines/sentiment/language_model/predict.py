"""Generates texts with the export of a language model: only TensorFlow, no training code."""

import dataclasses
import json
import pathlib

from pipelines.common.serving import exports
from pipelines.common.serving.decoding_options import DecodingOptions


def generate(run: pathlib.Path, options: DecodingOptions, number: int) -> int:
    """Writes texts to standard output, a JSON object for each: prefix, text, score, seed. Returns the exit status.

    Args:
        run: a run of the command pretrain that was exported, or the export.
        options: how to sample. The seed is that of the first text; each next text has the next seed.
        number: number of texts.
    """
    loaded = exports.load(run, "sentiment", {"text", "score"})
    first_seed = options.seed or 0
    for seed in range(first_seed, first_seed + number):
        found = exports.decode(loaded, dataclasses.replace(options, seed=seed))
        text, score = found["text"].numpy()[0].decode(), round(float(found["score"][0]), 6)
        print(json.dumps({"prefix": options.prefix, "text": text, "score": score, "seed": seed}, ensure_ascii=False))
    return 0

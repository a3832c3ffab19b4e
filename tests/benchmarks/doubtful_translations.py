"""Measures whether the confidence of a German-English run is low where it should be.

    python tests/benchmarks/doubtful_translations.py --run saved_models/translation/multi30k-attention

It prints how reliable the confidence is on the test part (as `evaluate` does), the score of the most confident half and
of the other half, and the confidence and unknown words of twenty sentences on other matters than pictures: law,
finance, philosophy, chat, code, medicine (tests/pipelines/translation/out_of_domain.de).

Aims: the most confident half has at least 8 BLEU more than the other half; the sentences on other matters have a
confidence below 0.3.
"""

import argparse
import json
import sys
from pathlib import Path

import tensorflow as tf

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipelines.common.runs import Run
from pipelines.translation import __main__ as translation
from pipelines.translation.decoder import make_decoder
from pipelines.translation.model import load_trained
from tests.benchmarks.commands import call

SENTENCES = Path(__file__).resolve().parents[1] / "pipelines" / "translation" / "out_of_domain.de"
MAX_CONFIDENCE, MIN_DIFFERENCE = 0.3, 8.0


def main(run: Path):
    call(translation.main, "evaluate", "--run", run)
    found = json.loads((run / "metrics.json").read_text())["confidence"]
    difference = found["confident_half"] - found["other_half"]
    print(f"difference {difference:.2f} BLEU, expected at least {MIN_DIFFERENCE:g}\n")
    sources = SENTENCES.read_text("utf-8").splitlines()
    outputs = make_decoder([load_trained(Run.open(run, "translation"))]).beam(tf.constant(sources))
    confidence = outputs["confidence"].numpy()
    for row, source in enumerate(sources):
        words = ", ".join(word.decode() for word in outputs["unknown"][row].numpy() if word)
        print(f"{confidence[row]:.3f}  {source}\n       {outputs['translation'][row].numpy().decode()}\n       {words}")
    low = int((confidence < MAX_CONFIDENCE).sum())
    print(f"{low} of {len(sources)} have a confidence below {MAX_CONFIDENCE:g}, the highest {confidence.max():.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    main(**vars(parser.parse_args()))

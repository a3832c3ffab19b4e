"""Compares variants of the preset flickr8k, each trained equally long: how the decoder gets the image, the cell, and
the kind of attention.

    python tests/benchmarks/captioning_variants.py --to saved_models/captioning/variants [--minutes 5] [--only general]

The features are computed before. Each variant is trained for as many epochs as fit into the time, estimated from the
speed of some updates; its learning rate falls to zero over these epochs. The scores are those of the validation part,
with the preset's beam size and length penalty. A run that exists is continued, or only scored if it is finished.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the command line does

from pipelines.captioning import batches, dataset
from pipelines.captioning.config import Config
from pipelines.captioning.evaluate import evaluate
from pipelines.captioning.model import make_preprocessing
from pipelines.captioning.options import Evaluate
from pipelines.captioning.presets import PRESETS
from pipelines.captioning.train import build, encode, learn, make_loss, prepare_images, train
from pipelines.common.config import replace
from tests.benchmarks.variants import begun_or_planned, epochs_that_fit

VARIANTS: dict[str, dict] = {
    f"{cell}-{image}": {"cell": cell, "image": image}
    for cell in ("lstm", "rnn")
    for image in ("first", "state", "merge")
}
GENERAL = {"image": "attend", "attention": "general"}
VARIANTS |= {
    "dot": {"image": "attend", "attention": "dot"},
    "general": GENERAL,
    "additive": {"image": "attend", "attention": "additive"},
    "general-rnn": {**GENERAL, "cell": "rnn"},
    "general-input": {**GENERAL, "attention_input": True},
    "general-gate": {**GENERAL, "attention_gate": True},
    "general-penalty": {**GENERAL, "attention_penalty": 0.1},
    "general-smoothing": {**GENERAL, "label_smoothing": 0.1},
    "general-bfloat16": {**GENERAL, "precision": "mixed_bfloat16"},
}


def variant(name: str, options) -> Config:
    preset = PRESETS["flickr8k"][1]
    return replace(preset, run=options.to / name, cache=options.cache, tensorboard=False, **VARIANTS[name])


def epochs(config: Config, minutes: float) -> float:
    """Returns the number of epochs that fit into the time."""
    captioned = dataset.load(config.data)["train"]
    preprocessing = make_preprocessing(config, learn(config, captioned, None))
    model = build(config, preprocessing, None)
    images = prepare_images(config, captioned, model, preprocessing, "train")
    captions = encode(config, images, preprocessing, "train")
    data = batches.of_features(captions, images.features, config.data, xla=config.training.xla)
    loss = make_loss(model, config)
    return epochs_that_fit(model, loss, data, config.training, minutes)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, required=True, help="a folder for the runs")
    parser.add_argument("--minutes", type=float, default=5, help="of training, for each")
    parser.add_argument(
        "--cache", type=Path, default=PRESETS["flickr8k"][1].data.cache, help="a folder for the features"
    )
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="some of the variants")
    options = parser.parse_args()
    lines = []
    for name in options.only:
        config = begun_or_planned(variant(name, options), "captioning", epochs, options.minutes)
        summary = train(config)
        scores = evaluate(Evaluate(config.run, split="validation", beam_size=()))
        (found,) = scores["beams"].values()
        bleu = " | ".join(f"{100 * found[f'bleu{n}']:.1f}" for n in range(1, 5))
        lines.append(
            f"| {name} | {config.training.epochs:g} | {summary['seconds']:.0f} | {scores['perplexity']:.1f}"
            f" | {bleu} | {found['cider']:.3f} |"
        )
        print(lines[-1], flush=True)
    print("\n| variant | epochs | seconds | perplexity | BLEU-1 | BLEU-2 | BLEU-3 | BLEU-4 | CIDEr-D |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

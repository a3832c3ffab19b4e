"""Compares variants of the preset flickr8k, each trained equally long: how the decoder gets the image, and the cell.

    python tests/benchmarks/captioning_variants.py --to saved_models/captioning/variants [--minutes 5]

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
from pipelines.captioning.config import PRESETS, Config
from pipelines.captioning.evaluate import evaluate
from pipelines.captioning.model import make_preprocessing
from pipelines.captioning.train import build, encode, learn, make_loss, prepare_images, train
from pipelines.common.config import replace
from tests.benchmarks.variants import begun_or_planned, epochs_that_fit

VARIANTS = [(cell, image) for cell in ("lstm", "rnn") for image in ("first", "state", "merge")]


def variant(cell: str, image: str, options) -> Config:
    preset = PRESETS["flickr8k"][1]
    run = options.to / f"{cell}-{image}"
    return replace(preset, run=run, cache=options.cache, tensorboard=False, cell=cell, image=image)


def epochs(config: Config, minutes: float) -> float:
    """Returns the number of epochs that fit into the time."""
    captioned = dataset.load(config.data)["train"]
    preprocessing = make_preprocessing(config, learn(config, captioned, None))
    model = build(config, preprocessing, None)
    images = prepare_images(config, captioned, model, preprocessing, "train")
    captions = encode(config, images, preprocessing, "train")
    limits = {"batch_pairs": config.data.batch_pairs, "xla": config.training.xla}
    data = batches.feature_batches(captions, images.features, **limits)
    loss = make_loss(model, config)
    return epochs_that_fit(model, loss, data, config.training, minutes)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, required=True, help="a folder for the runs")
    parser.add_argument("--minutes", type=float, default=5, help="of training, for each")
    parser.add_argument(
        "--cache", type=Path, default=PRESETS["flickr8k"][1].data.cache, help="a folder for the features"
    )
    options = parser.parse_args()
    lines = []
    for cell, image in VARIANTS:
        config = begun_or_planned(variant(cell, image, options), "captioning", epochs, options.minutes)
        summary = train(config)
        scores = evaluate(config.run, None, "validation", (), None)
        (found,) = scores["beams"].values()
        bleu = " | ".join(f"{100 * found[f'bleu{n}']:.1f}" for n in range(1, 5))
        lines.append(
            f"| {cell} | {image} | {config.training.epochs:g} | {summary['seconds']:.0f} | {scores['perplexity']:.1f}"
            f" | {bleu} | {found['cider']:.3f} |"
        )
        print(lines[-1], flush=True)
    print("\n| cell | image | epochs | seconds | perplexity | BLEU-1 | BLEU-2 | BLEU-3 | BLEU-4 | CIDEr-D |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

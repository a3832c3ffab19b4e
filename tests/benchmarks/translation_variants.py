"""Compares variants of the preset multi30k or multi30k-attention, each trained equally long.

    python tests/benchmarks/translation_variants.py --to saved_models/translation/variants [--minutes 8]
        [--preset multi30k-attention] [--only preset "2 layers" …]

Each variant is trained for as many epochs as fit into the time, estimated from the speed of some updates; its learning
rate falls to zero over these epochs. Three runs of two layers, seeds 1 to 3, are also scored together, with averaged
probabilities. BLEU is that of validation and of test_2016_flickr, with the preset's beam size and length penalty.
TO/bleu_by_length.png shows that of the test by the length of the source (Bahdanau et al. 2015, Figure 2). A run that
exists is continued, or only scored if it is finished.
"""

import argparse
import dataclasses
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the command line does

from pipelines.common.config import replace
from pipelines.common.pictures.charts import draw_lines
from pipelines.common.runs import Run
from pipelines.translation import dataset
from pipelines.translation.config import Config
from pipelines.translation.decoder import make_decoder
from pipelines.translation.evaluate import bleu, bleu_by_length
from pipelines.translation.model import load_trained
from pipelines.translation.preprocessing import Preprocessing
from pipelines.translation.presets import PRESETS
from pipelines.translation.train import build, encode_parts, learn_vocabularies, make_loss, train
from tests.benchmarks.variants import begun_or_planned, epochs_that_fit

PLAIN = {"bidirectional": False, "context": "none"}  # the network of the paper, with residual connections
VARIANTS: dict[str, dict[str, dict]] = {}
VARIANTS["multi30k"] = {
    "preset": {},
    "1 layer": {"layers": 1},
    "2 layers": {"layers": 2},
    "vanilla RNN": {"cell": "rnn"},
    "one direction, source reversed, no context": PLAIN,
    "one direction, source forward, no context": {**PLAIN, "reverse": False},
    # The vocabularies of the preset, exchanged.
    "English to German": {"source": "en", "target": "de", "source_vocabulary": 5_000, "target_vocabulary": 8_000},
    "English to French": {"source": "en", "target": "fr"},
    "2 layers, seed 2": {"layers": 2, "seed": 2},
    "2 layers, seed 3": {"layers": 2, "seed": 3},
}
VARIANTS["multi30k-attention"] = {
    "no attention": {"attention": "none"},
    "general": {},
    "general, inside the recurrence": {"attention_input": True},
    "additive, inside the recurrence": {"attention": "additive", "attention_input": True},
}
MEMBERS = ("2 layers", "2 layers, seed 2", "2 layers, seed 3")


def variant(preset_name: str, name: str, to: Path) -> Config:
    preset, changes = PRESETS[preset_name][1], dict(VARIANTS[preset_name][name])
    training = dataclasses.replace(preset.training, seed=changes.pop("seed", 1), tensorboard=False)
    run = to / name.replace(",", "").replace(" ", "-")
    return replace(preset, run=run, training=training, **changes)


def epochs(config: Config, minutes: float) -> float:
    """Returns the number of epochs that fit into the time."""
    pairs, held_out = dataset.open_parts(config.data)
    preprocessing = Preprocessing(*learn_vocabularies(config, pairs, None), **vars(config.text))
    encoded = encode_parts(config, pairs, held_out["validation"], preprocessing, None)["train"]
    limits = {
        "batch_pairs": config.data.batch_pairs,
        "batch_tokens": config.data.batch_tokens,
        "xla": config.training.xla,
    }
    model = build(config, preprocessing)
    data = dataset.batches(encoded, **limits)
    return epochs_that_fit(model, make_loss(model, config.loss, config.training), data, config.training, minutes)


def score(members, config: Config) -> dict:
    """Returns the BLEU of `validation` and `test`, and, for the test, `by_length`: labels and BLEU."""
    decode = make_decoder(members).batched(sort_key=len)
    scores: dict = {}
    for part in ("validation", "test"):
        sources, references = dataset.load_part(config.data, part).by_source()
        translations, _ = decode(sources)
        scores[part] = bleu(translations, references).score
    scores["by_length"] = bleu_by_length(sources, translations, references)[:2]
    return scores


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, required=True, help="a folder for the runs")
    parser.add_argument("--minutes", type=float, default=8, help="of training, for each")
    parser.add_argument("--preset", choices=VARIANTS, default="multi30k")
    parser.add_argument("--only", nargs="+")
    options = parser.parse_args()
    lines, trained, by_length = [], {}, {}
    for name in options.only or VARIANTS[options.preset]:
        config = begun_or_planned(variant(options.preset, name, options.to), "translation", epochs, options.minutes)
        summary = train(config)
        trained[name] = load_trained(Run.open(config.run, "translation"))
        found = score([trained[name]], config)
        labels, by_length[name] = found["by_length"]
        lines.append(
            f"| {name} | {config.training.epochs:g} | {summary['seconds']:.0f} | {found['validation']:.1f}"
            f" | {found['test']:.1f} |"
        )
        print(lines[-1], flush=True)
    if all(name in trained for name in MEMBERS):
        found = score([trained[name] for name in MEMBERS], trained[MEMBERS[0]].config)
        lines.append(f"| the three of 2 layers together | | | {found['validation']:.1f} | {found['test']:.1f} |")
    print("\n| variant | epochs | seconds | validation BLEU | test BLEU |\n| --- | --- | --- | --- | --- |")
    print("\n".join(lines))
    draw_lines(
        labels,
        by_length,
        options.to / "bleu_by_length.png",
        title=f"{options.preset}: test BLEU by the length of the source",
        names=("words of the source", "BLEU"),
    )


if __name__ == "__main__":
    main()

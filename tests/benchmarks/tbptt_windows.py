"""Compares windows of truncated back-propagation through time: perplexity, time and memory of each.

    python tests/benchmarks/tbptt_windows.py --to saved_models/sentiment/windows [--updates 1000] [--data imdb]
        [--windows 50,50 100,100 400,400 50,200] [--units 256] [--streams 64]

For each pair k1,k2, a forward language model of the preset imdb is trained for the same number of updates at a constant
learning rate, and evaluated on the same held-out reviews, each separately. With k1 = 400 an update has 8 times as many
words as with 50, so the table has the words read. Time includes validation; memory is the peak of the process. A run
that is finished is only reported.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the command line does

from layers.text import GENERATION
from pipelines.common.config import replace
from pipelines.common.runs import Run
from pipelines.sentiment import word_ids
from pipelines.sentiment.language_model.config import TASK, Config
from pipelines.sentiment.language_model.dataset import load
from pipelines.sentiment.language_model.presets import PRESETS
from pipelines.sentiment.language_model.train import fit, make_streams
from pipelines.sentiment.preprocessing import Preprocessing, learn_vocabulary
from pipelines.sentiment.reviews import all_texts
from tests.benchmarks.bench_losses import memory_kilobytes


def pair(text: str) -> tuple[int, int]:
    k1, k2 = text.split(",")
    return int(k1), int(k2)


def configs(options) -> list[Config]:
    """Returns a configuration for each pair of windows; the number of epochs is not known yet."""
    preset = PRESETS["imdb"][1]
    return [
        replace(
            preset,
            location=options.data,
            run=options.to / f"k1-{k1}-k2-{k2}",
            group_column="movie" if options.data == preset.data.location else "",
            bidirectional=False,
            units=options.units,
            streams=options.streams,
            k1=k1,
            k2=k2,
            schedule="constant",
            tensorboard=False,
        )
        for k1, k2 in options.windows
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, required=True, help="a folder for the runs")
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--data", default="imdb")
    parser.add_argument("--windows", type=pair, nargs="+", default=[(50, 50), (100, 100), (400, 400), (50, 200)])
    parser.add_argument("--units", type=int, default=PRESETS["imdb"][1].model.units)
    parser.add_argument("--streams", type=int, default=PRESETS["imdb"][1].windows.streams)
    options = parser.parse_args()
    wanted = configs(options)
    first = wanted[0]
    parts = load(first.data, first.text.max_characters)
    texts = all_texts(parts["train"])
    vocabulary = learn_vocabulary(texts, reserved=GENERATION, **vars(first.vocabulary), **vars(first.text))
    preprocessing = Preprocessing(vocabulary, **vars(first.text))
    encoded = {part: word_ids.encode(found, preprocessing) for part, found in parts.items()}
    lines = []
    for config in wanted:
        epochs = options.updates / make_streams(config, encoded["train"]).windows
        config = replace(config, epochs=epochs)
        with Run.start(config.run, TASK, config) as run:
            Path("/proc/self/clear_refs").write_text("5")  # resets the peak
            summary = fit(run, config, encoded, vocabulary)
            peak = memory_kilobytes("VmHWM") / 2**20
        perplexity = summary["scores"]["val_perplexity"]
        words = summary["steps"] * config.windows.k1 * config.windows.streams
        lines.append(
            f"| {config.windows.k1} | {config.windows.k2} | {summary['steps']:,} | {words:,} | {perplexity:.1f}"
            f" | {summary['seconds']:.0f} | {peak:.1f} |"
        )
    print("\n| k1 | k2 | updates | words read | validation perplexity | seconds | peak memory, GiB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

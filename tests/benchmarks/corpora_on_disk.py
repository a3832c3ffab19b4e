"""Measures memory, disk and time of training on made-up corpora of several sizes: docs/scale.md.

    python tests/benchmarks/corpora_on_disk.py --to FOLDER [--task translation] [--pairs 500000 5000000] [--batches 200]

The tasks are translation, language-model and sentiment; --pairs are their pairs, lines or reviews. For each size a
process of its own starts the training of a small network, and a second one starts it again: the vocabularies are read
and the token ids are mapped. Peak memory is that of the process, mapped files included.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the command line does

import numpy as np

WORDS = 20_000  # of a made-up language
AT_ONCE = 10_000  # texts that are written
HELD_OUT = 100  # texts of validation, and of the test


class Measured:
    """Seconds and megabytes by name."""

    def __init__(self):
        self.found = {"imported": peak_megabytes()}
        self.clock = time.perf_counter()

    def lap(self, name: str):
        self.found[name], self.clock = time.perf_counter() - self.clock, time.perf_counter()


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def made_up_texts(draw: np.random.Generator, count: int, low: int, high: int) -> Iterator[list[int]]:
    """Yields the numbers of the words of texts of `low` to `high` words, by Zipf's law."""
    for start in range(0, count, AT_ONCE):
        for size in draw.integers(low, high + 1, min(AT_ONCE, count - start)).tolist():
            yield np.exp(draw.uniform(0, np.log(WORDS), size)).astype(int).tolist()


def spelt(words: list[int], letter: str = "w") -> str:
    return " ".join(f"{letter}{word}" for word in words) + "."


# Translation ----------------------------------------------------------------------------------------------------------


def write_pairs(folder: Path, pairs: int):
    """Writes training pairs of 4 to 20 words, unless they are there, and a few pairs for each other part.

    Nothing is split off the training pairs then, which would need them in memory.
    """
    draw = np.random.default_rng(0)
    for part, count in (("val", HELD_OUT), ("test", HELD_OUT), ("train", pairs)):
        if (folder / f"{part}.fr").exists():
            continue
        with open(folder / f"{part}.en", "w") as source, open(folder / "partial", "w") as target:
            for words in made_up_texts(draw, count, 4, 20):
                source.write(spelt(words) + "\n")
                target.write(spelt(words[::-1], "v") + "\n")
        (folder / "partial").rename(folder / f"{part}.fr")


def start_translation(folder: Path, measured: Measured):
    """Starts a training as the pipeline does; returns the model, the options, the loss, the batches of an epoch, the
    name of an array that has a row for each example, and the number of examples."""
    from pipelines.common.config import replace
    from pipelines.common.data import corpora
    from pipelines.common.data.loading import load_vocabulary
    from pipelines.translation import dataset
    from pipelines.translation.preprocessing import Preprocessing
    from pipelines.translation.presets import PRESETS
    from pipelines.translation.train import build, encode_parts, learn_vocabularies, make_loss

    config = replace(PRESETS["sample"][1], location=str(folder), run=folder / "run", layers=1, units=32)
    pairs, held_out = dataset.open_parts(config.data)
    paths = [folder / f"vocabulary.{side}.txt" for side in ("source", "target")]
    if paths[1].exists():
        vocabularies = [load_vocabulary(path) for path in paths]
    else:
        vocabularies = learn_vocabularies(config, pairs, None)
        for path, vocabulary in zip(paths, vocabularies, strict=True):
            path.write_text(vocabulary.to_text())
    measured.lap("vocabularies")
    preprocessing = Preprocessing(*vocabularies, **vars(config.text))
    encoded = encode_parts(config, pairs, held_out["validation"], preprocessing, None)["train"]
    measured.lap("ids")
    measured.found["before training"] = peak_megabytes()
    model = build(config, preprocessing)
    model.softmax.initialize_bias(corpora.slices(encoded.targets.ids), len(encoded))
    measured.lap("model")
    limits = {"batch_pairs": config.data.batch_pairs, "batch_tokens": config.data.batch_tokens}
    data = dataset.batches(encoded, seed=1, **limits)
    return model, config.training, make_loss(model, config.loss, config.training), data, "rows", len(encoded)


# Language model -------------------------------------------------------------------------------------------------------


def write_lines(folder: Path, lines: int):
    """Writes a text file with lines of 4 to 20 words, unless it is there."""
    path = folder / "lines.txt"
    if not path.exists():
        with open(folder / "partial", "w") as file:
            file.writelines(spelt(words) + "\n" for words in made_up_texts(np.random.default_rng(0), lines, 4, 20))
        (folder / "partial").rename(path)


def start_language_model(folder: Path, measured: Measured):
    """See start_translation. A share of the lines is split off for validation."""
    from layers.text import GENERATION
    from pipelines.common.config import replace
    from pipelines.common.data import corpora
    from pipelines.common.data.loading import load_vocabulary
    from pipelines.sentiment.language_model.dataset import load
    from pipelines.sentiment.language_model.model import make_model
    from pipelines.sentiment.language_model.presets import PRESETS
    from pipelines.sentiment.language_model.train import make_step, make_streams
    from pipelines.sentiment.preprocessing import Preprocessing, learn_vocabulary
    from pipelines.sentiment.reviews import all_texts
    from pipelines.sentiment.word_ids import encode

    config = replace(PRESETS["sample"][1], location=str(folder / "lines.txt"), units=32)
    texts = load(config.data, config.text.max_characters, folder / "cache")
    measured.lap("texts")
    path = folder / "vocabulary.txt"
    if not path.exists():
        options = {**vars(config.vocabulary), **vars(config.text)}
        found = learn_vocabulary(all_texts(texts["train"]), reserved=GENERATION, **options)
        path.write_text(found.to_text())
    vocabulary = load_vocabulary(path)
    measured.lap("vocabularies")
    preprocessing = Preprocessing(vocabulary, **vars(config.text))
    encoded = {part: encode(found, preprocessing, folder / "cache") for part, found in texts.items()}
    measured.lap("ids")
    measured.found["before training"] = peak_megabytes()
    model = make_model(config, vocabulary)
    model.softmax.initialize_bias(corpora.slices(encoded["train"].ids), len(encoded["train"]))
    measured.lap("model")
    data = make_streams(config, encoded["train"]).epoch(0)
    return model, config.training, make_step(model, config), data, "age", sum(map(len, encoded.values()))


# Sentiment ------------------------------------------------------------------------------------------------------------


def write_reviews(folder: Path, reviews: int):
    """Writes reviews of 10 to 60 words, unless they are there, a few for each other part."""
    draw = np.random.default_rng(0)
    for part, count in (("validation", HELD_OUT), ("test", HELD_OUT), ("train", reviews)):
        if (folder / f"{part}.tsv").exists():
            continue
        with open(folder / "partial", "w") as file:
            file.write("text\tlabel\n")
            for words in made_up_texts(draw, count, 10, 60):
                file.write(f"{spelt(words)}\t{('good', 'bad')[words[0] % 2]}\n")
        (folder / "partial").rename(folder / f"{part}.tsv")


def start_sentiment(folder: Path, measured: Measured):
    """See start_translation."""
    from pipelines.common.config import replace
    from pipelines.common.data.loading import load_vocabulary
    from pipelines.sentiment import dataset, word_ids
    from pipelines.sentiment.labels import choose_names
    from pipelines.sentiment.model import make_model
    from pipelines.sentiment.preprocessing import Preprocessing
    from pipelines.sentiment.presets import PRESETS
    from pipelines.sentiment.train import encode_training, make_loss, make_vocabulary

    config = replace(PRESETS["sample"][1], location=str(folder), run=folder / "run", group_column="")
    reviews = dataset.load(config.data, folder / "cache")
    names = choose_names(config, reviews, None)
    measured.lap("texts")
    path = folder / "vocabulary.txt"
    if not path.exists():
        path.write_text(make_vocabulary(config, reviews, None, None).to_text())
    vocabulary = load_vocabulary(path)
    measured.lap("vocabularies")
    texts = encode_training(None, config, reviews, Preprocessing(vocabulary, **vars(config.text)), names)
    measured.lap("ids")
    measured.found["before training"] = peak_megabytes()
    model = make_model(config, vocabulary, names)
    measured.lap("model")
    limits = {"batch_reviews": config.data.batch_reviews, "batch_words": config.data.batch_words}
    data = word_ids.batches(texts, seed=1, **limits)
    return model, config.training, make_loss(model, np.ones(2), 0.0), data, "rows", len(texts)


# ----------------------------------------------------------------------------------------------------------------------

TASKS = {
    "translation": (write_pairs, start_translation),
    "language-model": (write_lines, start_language_model),
    "sentiment": (write_reviews, start_sentiment),
}


def start_training(task: str, folder: Path, batches: int) -> dict:
    """Starts the training of a small network as the pipeline does, for some batches; returns seconds and megabytes."""
    import tensorflow as tf  # noqa: F401 (so that its memory is part of what is imported)

    from pipelines.common.training.updates import Updates

    measured = Measured()
    model, options, loss, data, name, examples = TASKS[task][1](folder, measured)
    steps = {0: int(data.cardinality())}
    measured.lap("plan")
    updates = Updates(model, loss, options, steps_per_epoch=steps)
    updates.prepare(data.element_spec)
    rows = 0
    for step, batch in enumerate(data.take(batches + 5), start=1):
        if step == 6:  # the first ones trace and compile
            measured.lap("first batches")
        rows += len(batch[name]) if step > 5 else 0
        updates.train_on_batch(batch, step)
    measured.lap("batches")
    found = measured.found
    found |= {"rows a second": rows / found["batches"], "peak": peak_megabytes()}
    files = (folder / "cache").rglob("*.array")
    return found | {"disk bytes an example": sum(path.stat().st_size for path in files) / examples}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, required=True, help="a folder for corpora and ids")
    parser.add_argument("--task", choices=TASKS, default="translation")
    parser.add_argument("--pairs", type=int, nargs="+", default=[500_000, 5_000_000])
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--start", action="store_true", help="only start the training, on the corpus in --to")
    options = parser.parse_args()
    if options.start:
        print(json.dumps(start_training(options.task, options.to, options.batches)))
        return
    lines = []
    for pairs in options.pairs:
        folder = options.to / options.task / str(pairs)
        folder.mkdir(parents=True, exist_ok=True)
        TASKS[options.task][0](folder, pairs)
        for name in ("first start", "restart"):
            command = [sys.executable, __file__, "--start", "--to", folder, "--task", options.task]
            command += ["--batches", str(options.batches)]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
            lines.append(f"| {pairs:,} | {name} | {' | '.join(f'{value:,.1f}' for value in found.values())} |")
            print(lines[-1], flush=True)
    print(f"\n| {options.task} | | {' | '.join(found)} |\n|{' --- |' * (len(found) + 2)}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

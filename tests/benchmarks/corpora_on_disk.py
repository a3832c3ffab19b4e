"""Measures memory, disk and time of training on made-up corpora of several sizes: docs/scale.md.

    python tests/benchmarks/corpora_on_disk.py --to FOLDER [--pairs 500000 5000000] [--batches 200]

For each size a process of its own starts the training of a small network, and a second one starts it again: the
vocabularies are read and the token ids are mapped. Peak memory is that of the process, mapped files included.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the command line does

import numpy as np

WORDS = 20_000  # of a made-up language
AT_ONCE = 10_000  # pairs that are written


def write_pairs(folder: Path, pairs: int):
    """Writes training pairs of 4 to 20 words by Zipf's law, unless they are there, and 100 pairs for each other part.

    Nothing is split off the training pairs then, which would need them in memory.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    for part, count in (("val", 100), ("test", 100), ("train", pairs)):
        if (folder / f"{part}.fr").exists():
            continue
        with open(folder / f"{part}.en", "w") as source, open(folder / "partial", "w") as target:
            for start in range(0, count, AT_ONCE):
                for size in draw.integers(4, 21, min(AT_ONCE, count - start)).tolist():
                    words = np.exp(draw.uniform(0, np.log(WORDS), size)).astype(int).tolist()
                    source.write(" ".join(f"w{word}" for word in words) + ".\n")
                    target.write(" ".join(f"v{word}" for word in reversed(words)) + ".\n")
        (folder / "partial").rename(folder / f"{part}.fr")


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def start_training(folder: Path, batches: int) -> dict:
    """Starts the training of a small network as the pipeline does, for some batches; returns seconds and megabytes."""
    from pipelines.common.config import replace
    from pipelines.common.data import corpora
    from pipelines.common.data.loading import load_vocabulary
    from pipelines.common.training.updates import Updates
    from pipelines.translation import dataset
    from pipelines.translation.model import make_preprocessing
    from pipelines.translation.presets import PRESETS
    from pipelines.translation.train import build, encode_parts, learn_vocabularies, make_loss

    config = replace(PRESETS["sample"][1], location=str(folder), run=folder / "run", layers=1, units=32)
    found = {"imported": peak_megabytes()}
    clock = time.perf_counter()

    def lap(name: str):
        nonlocal clock
        found[name], clock = time.perf_counter() - clock, time.perf_counter()

    pairs, held_out = dataset.open_parts(config.data)
    paths = [folder / f"vocabulary.{side}.txt" for side in ("source", "target")]
    if paths[1].exists():
        vocabularies = [load_vocabulary(path) for path in paths]
    else:
        vocabularies = learn_vocabularies(config, pairs, None)
        for path, vocabulary in zip(paths, vocabularies, strict=True):
            path.write_text(vocabulary.to_text())
    lap("vocabularies")
    preprocessing = make_preprocessing(config, *vocabularies)
    encoded = encode_parts(config, pairs, held_out["validation"], preprocessing, None)["train"]
    lap("ids")
    found["before training"] = peak_megabytes()
    model = build(config, preprocessing)
    model.softmax.initialize_bias(corpora.slices(encoded.targets.ids), len(encoded))
    lap("model")
    limits = {"batch_pairs": config.data.batch_pairs, "batch_tokens": config.data.batch_tokens}
    data = dataset.batches(encoded, seed=1, **limits)
    steps = {0: int(data.cardinality())}
    lap("plan")
    updates = Updates(
        model,
        make_loss(model, config.loss, config.training),
        config.training,
        steps_per_epoch=steps,
    )
    updates.prepare(data.element_spec)
    rows = 0
    for step, batch in enumerate(data.take(batches + 5), start=1):
        if step == 6:  # the first ones trace and compile
            lap("first batches")
        rows += len(batch["rows"]) if step > 5 else 0
        updates.train_on_batch(batch, step)
    lap("batches")
    found |= {"rows a second": rows / found["batches"], "peak": peak_megabytes()}
    files = encoded.folder.glob("*.array")
    return found | {"disk bytes a pair": sum(path.stat().st_size for path in files) / len(encoded)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, required=True, help="a folder for corpora and ids")
    parser.add_argument("--pairs", type=int, nargs="+", default=[500_000, 5_000_000])
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--start", action="store_true", help="only start the training, on the corpus in --to")
    options = parser.parse_args()
    if options.start:
        print(json.dumps(start_training(options.to, options.batches)))
        return
    lines = []
    for pairs in options.pairs:
        folder = options.to / str(pairs)
        write_pairs(folder, pairs)
        for name in ("first start", "restart"):
            command = [sys.executable, __file__, "--start", "--to", folder, "--batches", str(options.batches)]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
            lines.append(f"| {pairs:,} | {name} | {' | '.join(f'{value:,.1f}' for value in found.values())} |")
            print(lines[-1], flush=True)
    print(f"\n| pairs | | {' | '.join(found)} |\n|{' --- |' * (len(found) + 2)}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

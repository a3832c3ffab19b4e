"""Measures an update of one process, of two replicas in one process, and of two workers on this machine.

    python tests/benchmarks/bench_workers.py [--preset sutskever2014] [--pairs 128] [--updates 20] [--rounds 2]
        [--compress float16] [--only none mirrored multi-worker]

The network is that of a preset of translation, with words that are drawn by Zipf's law, 25 to a sentence. The ways to
train take turns; the time is the median over all updates after the first ones, which trace and allocate. Bytes are
those that the loopback device has carried meanwhile, for each update: run it without other traffic there.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the command line does

import numpy as np

STRATEGIES = ("none", "mirrored", "multi-worker")
TOKENS = 25  # of a sentence
FIRST = 3  # updates that are not counted


def loopback_bytes() -> int:
    """Returns the bytes that the loopback device has received since the machine was started."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, values = line.partition(":")
        if name.strip() == "lo":
            return int(values.split()[0])
    raise RuntimeError("/proc/net/dev has no loopback device")


def make_batches(pairs: int, source_words: int, target_words: int):
    """Yields batches of random sentences, the same in every process."""
    from layers.text import GENERATION

    draw = np.random.default_rng(0)

    def ids(words: int):
        first = len(GENERATION)
        return np.exp(draw.uniform(np.log(first), np.log(words), (pairs, TOKENS))).astype(np.int32)

    while True:
        source, target = ids(source_words), ids(target_words)
        yield {"source": source, "target": target, "real": np.ones(pairs, np.float32)}


def measure(options) -> dict:
    """Makes some updates in this process; returns the seconds of each, the bytes of all, and the largest memory."""
    import resource

    import tensorflow as tf

    from layers.text import GENERATION, Vocabulary
    from pipelines.common.config import replace
    from pipelines.common.training import cluster, workers
    from pipelines.common.training.updates import Updates
    from pipelines.translation.preprocessing import Preprocessing
    from pipelines.translation.presets import PRESETS
    from pipelines.translation.train import build, make_loss

    (strategy,) = options.only
    if strategy == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    config = replace(PRESETS[options.preset][1], strategy=strategy, compress=options.compress, level="word")
    if strategy == "multi-worker":
        workers.connect(cluster.find())
    words = (config.vocabulary.source_vocabulary, config.vocabulary.target_vocabulary)
    vocabularies = [Vocabulary([*GENERATION, *map(str, range(count - len(GENERATION)))]) for count in words]
    model = build(config, Preprocessing(*vocabularies, **vars(config.text)))
    batches = make_batches(options.pairs, *words)
    ids = tf.TensorSpec([options.pairs, TOKENS], tf.int32)
    spec = {"source": ids, "target": ids, "real": tf.TensorSpec([options.pairs], tf.float32)}
    updates = Updates(model, make_loss(model, config.loss, config.training), config.training, steps_per_epoch={0: 1000})
    updates.prepare(spec)
    seconds, carried = [], 0
    for step in range(1, options.updates + FIRST + 1):
        batch = {name: tf.constant(value) for name, value in next(batches).items()}
        if step == FIRST + 1:
            carried = loopback_bytes()
        start = time.perf_counter()
        updates.train_on_batch(batch, step)
        loss = updates.metrics()["loss"]
        seconds.append(time.perf_counter() - start)
    return {
        "seconds": seconds[FIRST:],
        "bytes": (loopback_bytes() - carried) / options.updates,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "loss": loss,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="multi30k")
    parser.add_argument("--pairs", type=int, default=128)
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--compress", default="none")
    parser.add_argument("--only", nargs="+", default=STRATEGIES, choices=STRATEGIES)
    parser.add_argument("--here", action="store_true", help="measure the first of --only in this process")
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options)), flush=True)
        return
    found = {strategy: [] for strategy in options.only}
    values = [f"--{name}={getattr(options, name)}" for name in ("preset", "pairs", "updates", "compress")]
    for _ in range(options.rounds):
        for strategy in options.only:
            command = [sys.executable, __file__, "--here", "--only", strategy, *values]
            if strategy == "multi-worker":
                command = [sys.executable, "-m", "pipelines.launch", "--workers", "2", "--", *command]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found[strategy].append(json.loads(output.splitlines()[-1]))
    print(f"{options.preset}, {options.pairs} pairs of {TOKENS} and {TOKENS} words; {options.rounds} processes each")
    print("| | seconds an update | MB an update on loopback | MB of memory, largest process | loss at the end |")
    print("| --- | --- | --- | --- | --- |")
    for strategy, results in found.items():
        seconds = statistics.median(value for result in results for value in result["seconds"])
        row = [statistics.median(result[name] for result in results) for name in ("bytes", "megabytes", "loss")]
        print(f"| {strategy} | {seconds:.3f} | {row[0] / 1e6:,.1f} | {row[1]:,.0f} | {row[2]:.6f} |")


if __name__ == "__main__":
    main()

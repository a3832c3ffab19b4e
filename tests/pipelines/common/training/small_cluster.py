"""A small training with the prologue of the pipelines, as a command:

python -m tests.pipelines.common.training.small_cluster train RUN [--devices N] [--pause SECONDS] [--options JSON]
"""

import argparse
import dataclasses
import json
import pathlib
import sys

import numpy as np
import tensorflow as tf

from pipelines.common import cli
from pipelines.common.runs import Run
from pipelines.common.training import cluster, replicas, strategies, workers
from pipelines.common.training.options import TrainingOptions
from pipelines.common.training.prologue import train_run
from pipelines.common.training.updates import Updates
from tests.pipelines.common.training import small_training

SPARSE_FROM = replicas.SPARSE_FROM


@dataclasses.dataclass(frozen=True)
class DataConfig:
    location: str = "sample"


@dataclasses.dataclass(frozen=True)
class Config:
    run: pathlib.Path
    data: DataConfig
    training: TrainingOptions


def train(arguments: list[str]):
    """Train the classifier of small_training.py."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--data", default="sample")
    parser.add_argument("--devices", type=int, default=1, help="logical CPUs")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds that each batch takes to come")
    parser.add_argument("--options", type=json.loads, default={})
    flags = parser.parse_args(arguments)
    if flags.devices > 1:
        split_cpu(flags.devices)

    def train_new(run: Run, config: Config) -> dict:
        with run.create():
            return small_training.train_classifier(run, config.training, pause=flags.pause)[1]

    config = Config(flags.run, DataConfig(flags.data), TrainingOptions(**{"tensorboard": False, **flags.options}))
    train_run("small", config, None, train_new, lambda run: print("finished", run.summary["steps"]))


def update(arguments: list[str]):
    """Update the classifier of small_training.py a few times."""
    file, strategy, cases = arguments
    if strategy == "multi-worker":
        workers.connect(cluster.find())
    else:
        split_cpu(2)
    found = {}
    for i, changes in enumerate(json.loads(cases)):
        recurrent = changes.pop("recurrent", False)
        replicas.SPARSE_FROM = changes.pop("sparse_from", SPARSE_FROM)
        options = TrainingOptions(**{"strategy": strategy, "learning_rate": 0.05, "clip_norm": 0.05, **changes})
        model = strategies.build(options, lambda recurrent=recurrent: small_training.classifier(0.3, recurrent))
        updates = Updates(model, small_training.classification(model), options)
        updates.prepare((tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)))
        batches = small_training.sentences()[:3]
        for step, (ids, labels) in enumerate([*batches, (batches[0][0][:1], batches[0][1][:1])]):  # one row for two
            updates.train_on_batch((tf.constant(ids), tf.constant(labels)), step + 1)
        updates.apply_pending(4)
        for part, variables in updates.variables().items():
            found |= {f"{i}/{part}/{number}": variable.numpy() for number, variable in enumerate(variables)}
        found[f"{i}/sums"] = list(updates.metrics().values())
    if workers.is_chief():
        np.savez(file, **{name: np.asarray(value, np.float64) for name, value in found.items()})
    workers.any_worker(False)  # a worker that ends would end the others


def split_cpu(devices: int):
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)


if __name__ == "__main__":
    sys.exit(cli.main("small", {"train": train, "update": update}))

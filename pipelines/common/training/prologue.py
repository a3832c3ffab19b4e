"""Starts every training: connects the workers, opens the run, and reports a finished one without training it."""

import contextlib
import dataclasses
import pathlib
import tempfile
from collections.abc import Callable

import tensorflow as tf

from pipelines.common.errors import WorkerLostError
from pipelines.common.files import data_files, read_json, write_json
from pipelines.common.runs import Run, as_json
from pipelines.common.training import cluster, rendezvous, workers
from pipelines.common.training.checkpoints import Checkpoints
from pipelines.common.training.identity import describe

# Raised by TensorFlow when another worker is gone. InternalError and UnknownError can also be faults of this worker.
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)


def train_run(task: str, config, preset: str | None, train: Callable[..., dict], report: Callable[[Run], None]) -> dict:
    """Trains the run of a configuration, resumes it, or only reports it if it is finished; returns its summary.

    Args:
        task: name of the pipeline.
        config: has the fields `run`, `data` and `training`.
        preset: name of the preset; None for a fine-tuning.
        train: train(run, config) creates the folder of the run after the data was checked, trains, and returns the
            summary.
        report: prints the scores of a finished run.

    Raises:
        WorkerLostError: Another worker of --strategy multi-worker has ended.
    """
    if config.training.strategy != "multi-worker":
        return train_or_report(Run.prepare(config.run, task, config, preset), config, train, report)
    found = cluster.find()
    description = {} if len(found.workers) == 1 else describe(task, config)
    with contextlib.ExitStack() as stack:
        if found.is_chief:
            run = meet_others(found, description, lambda: Run.prepare(config.run, task, config, preset), config)
        else:
            folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="unfold-worker-")))
            config = dataclasses.replace(config, run=folder / "run")
            rendezvous.meet_as_worker(found, description, config.training.worker_timeout, config.run)
            adopt(config)
            run = Run.prepare(config.run, task, config, preset)
        try:
            if not run.finished:
                workers.connect(found)
            return train_or_report(run, config, train, report if found.is_chief else lambda run: None)
        except LOST as error:
            if len(found.workers) == 1:
                raise
            raise WorkerLostError(
                f"another worker was lost; start all workers again, and the training resumes ({first_line(error)})"
            ) from error


def train_or_report(run: Run, config, train: Callable[..., dict], report: Callable[[Run], None]) -> dict:
    summary = run.summary if run.finished else train(run, config)
    report(run)
    return summary


def meet_others(found: cluster.Cluster, description: dict, open_run: Callable[[], Run], config) -> Run:
    """Returns the run of the chief, whose files the other workers have then."""
    opened = []

    def prepare() -> list[tuple[pathlib.Path, str]]:
        opened.append(open_run())
        return files_of(opened[0])

    try:
        rendezvous.meet_as_chief(found, description, config.training.worker_timeout, prepare)
    except BaseException:
        for run in opened:
            run.close()
        raise
    return opened[0]


def files_of(run: Run) -> list[tuple[pathlib.Path, str]]:
    """Returns what the other workers need to resume a run: the files that its training began with, such as the
    vocabulary, and the last whole checkpoint."""
    if not run.config_file.is_file():
        return []
    results = (run.weights_file, run.history_file, run.curves_file, run.metrics_file)
    found = [(path, path.name) for path in data_files(run.path) if path.is_file() and path not in results]
    newest = None if run.finished else Checkpoints(run.checkpoints).newest()
    return found + ([(newest[0], f"{run.checkpoints.name}/{newest[0].name}")] if newest else [])


def adopt(config):
    """Replaces the configuration in the folder that came from the chief, whose paths may differ."""
    file = config.run / "config.json"
    if file.is_file():
        write_json(file, read_json(file) | {"config": as_json(config)})


def first_line(error: tf.errors.OpError) -> str:
    return " ".join(error.message.split("\n")[0].split())[:200]

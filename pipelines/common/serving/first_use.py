"""Makes the export of a run when it is first used. Does not import TensorFlow: the command lines use it."""

import os
import pathlib
import sys
from collections.abc import Callable

from pipelines.common.errors import UserError
from pipelines.common.files import lock_folder
from pipelines.common.options import Export
from pipelines.common.runs import Run

GRAPH = "saved_model.pb"  # the file that makes a folder a SavedModel


def require_export(model: pathlib.Path, task: str, export: Callable[[Export], object], pipeline: str | None = None):
    """Makes the export of a run that has none, once, also if several processes need it at the same time.

    An export that is older than the weights of the run is used as it is, and standard error says so: it may have been
    made on purpose, such as before the training ended.

    Args:
        model: a run, or an export, for which nothing is done.
        task: the task of the run.
        export: function of the options of the command export, which it executes.
        pipeline: the package whose command line exports it, for messages. None: that of the name of the task.

    Raises:
        UserError: The training of the run is not finished: its export would be that of other weights.
    """
    if (model / GRAPH).is_file() or not (model / "config.json").is_file():
        return  # an export; or neither, which is explained where it is loaded
    command = f"python -m pipelines.{pipeline or task} export --run {model}"
    run = Run.open(model, task)
    if (run.export / GRAPH).is_file():
        report_older(run, command)
        return
    if not run.finished:
        raise UserError(
            f"{model} has no export yet, and its training is not finished: finish it, or make an export of its best"
            f" weights so far with {command}"
        )
    run.require_weights()
    lock = lock_folder(model, wait=True)  # without a lock, on a disk that has none, two processes both make it
    try:
        if not (run.export / GRAPH).is_file():
            print(f"{model} has no export yet: making it, in {run.export}", file=sys.stderr, flush=True)
            export(Export((model,)))
    finally:
        if lock is not None:
            os.close(lock)


def report_older(run: Run, command: str):
    """Says on standard error if the weights of a run have changed after its export was made."""
    made = (run.export / GRAPH).stat().st_mtime
    if run.weights_file.is_file() and run.weights_file.stat().st_mtime > made:
        print(
            f"{run.export} is older than the weights of the run, and is used as it is: {command} makes a new one",
            file=sys.stderr,
        )

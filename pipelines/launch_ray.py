"""Starts the workers of a training on a Ray cluster, and starts them all again when one is lost:

    python -m pipelines.launch_ray --workers 2 -- python -m pipelines.sentiment train sample --strategy multi-worker

Ray Train places the workers, tells them of each other (TF_CONFIG), and replaces machines that are lost. Without a
cluster (`ray start`, RAY_ADDRESS), Ray runs on this machine. It needs the extra `cluster`. See docs/clusters.md.
"""

import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Sequence

from pipelines.common.cli import FAULT, WORKER_LOST
from pipelines.launch import at_least, make_parser


def run_worker(settings: dict) -> int:
    """Runs the command as a worker of Ray; returns its exit status. Raises RuntimeError if all workers have to be
    started again.

    The command has a process of its own, because a training receives its signals in the main thread. On Linux it gets
    SIGTERM when the worker ends, as Ray ends the others when one is lost.
    """
    from ray import train

    os.environ.pop("TF_USE_LEGACY_KERAS", None)  # set by Ray
    together = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    status = subprocess.call([*together, *settings["command"]], cwd=settings["folder"])
    if status < 0 or status == settings["lost"]:
        raise RuntimeError(f"worker {train.get_context().get_world_rank()} ended with status {status}")
    return status


def launch(command: Sequence[str], workers: int, restarts: int, gpus: int, storage: pathlib.Path) -> int:
    """Runs the workers to their end; returns the exit status of the command, or 75 if one was lost after the last
    restart."""
    from ray import train
    from ray.train.tensorflow import TensorflowTrainer

    trainer = TensorflowTrainer(
        run_worker,
        train_loop_config={"command": list(command), "folder": os.getcwd(), "lost": WORKER_LOST},
        scaling_config=train.ScalingConfig(
            num_workers=workers, use_gpu=gpus > 0, resources_per_worker={"GPU": gpus} if gpus else None
        ),
        run_config=train.RunConfig(
            storage_path=str(storage.absolute()), failure_config=train.FailureConfig(max_failures=restarts)
        ),
    )
    try:
        return int(trainer.fit().return_value)  # that of the chief
    except train.WorkerGroupError as error:
        print(f"launch_ray: {error}; giving up", file=sys.stderr)
        return WORKER_LOST


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser("launch_ray", "Start a training as several workers on a Ray cluster.")
    parser.add_argument("--gpus", type=at_least(0), default=0, help="GPUs of each worker (default: 0)")
    parser.add_argument(
        "--storage",
        type=pathlib.Path,
        default=pathlib.Path("saved_models/ray"),
        help="folder in which Ray keeps its own state, on a disk that all machines share (default: saved_models/ray)",
    )
    options = parser.parse_args(arguments)
    try:
        import ray.train  # noqa: F401
    except ImportError:
        print("launch_ray: Ray is not installed: pip install '.[cluster]'", file=sys.stderr)
        return FAULT
    return launch(options.command, options.workers, options.restarts, options.gpus, options.storage)


if __name__ == "__main__":
    sys.exit(main())

"""The workers of a training: what the chief alone does, and what all of them decide together.

Without --strategy multi-worker this process is the only worker, and the chief. With it, the functions that exchange
values wait for the other workers, which have to call the same functions in the same order.
"""

import functools
import json
import signal
import threading

import numpy as np
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.training.cluster import Cluster

_strategy: tf.distribute.Strategy | None = None
_cluster: Cluster | None = None


def connect(cluster: Cluster):
    """Makes the strategy of the workers, which have met; before any other operation of TensorFlow in this process."""
    global _strategy, _cluster
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.workers)}),
        task_type="worker",
        task_id=cluster.index,
        num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},
        rpc_layer="grpc",
    )
    before = signal.getsignal(signal.SIGTERM)
    _cluster, _strategy = cluster, tf.distribute.MultiWorkerMirroredStrategy(resolver)
    if threading.current_thread() is threading.main_thread():  # no other thread may set handlers
        signal.signal(signal.SIGTERM, before)  # TensorFlow has taken it, and ignores it


def strategy() -> tf.distribute.Strategy:
    """Returns the strategy of the workers."""
    if _strategy is None:
        raise ValueError("--strategy multi-worker needs `workers.connect` first, see prologue.py")
    return _strategy


def several() -> bool:
    """Returns whether there are other workers."""
    return _strategy is not None


def is_chief() -> bool:
    """Returns whether this is the worker that validates, and writes the run."""
    return _cluster is None or _cluster.is_chief


def part() -> tuple[int, int]:
    """Returns the index of this worker and the number of workers: which rows of a batch it trains on."""
    return (_cluster.index, len(_cluster.workers)) if _cluster else (0, 1)


def from_chief(value):
    """Returns a JSON value of the chief at every worker, whose own are ignored."""
    if not several():
        return value
    content = json.dumps(value).encode() if is_chief() else b""
    size = int(_sum(np.array([len(content)], np.int32))[0])
    padded = np.zeros(size, np.int32)
    padded[: len(content)] = np.frombuffer(content, np.uint8)
    return json.loads(_sum(padded).astype(np.uint8).tobytes())


def any_worker(flag: bool) -> bool:
    """Returns whether the flag is true at any worker."""
    return bool(_sum(np.array([flag], np.int32))[0]) if several() else flag


def require_same(value, what: str):
    """Raises UserError at every worker if a JSON value is not the same at all of them."""
    if several() and any_worker(value != from_chief(value)):
        raise UserError(f"{what} differ between the workers, although their configuration and data are the same")


def _sum(values: np.ndarray) -> np.ndarray:
    """Returns the sum over the workers of int32[n]."""
    return strategy().experimental_local_results(_summed()(tf.constant(values)))[0].numpy()


@functools.cache
def _summed():
    def replica(values):
        context = tf.distribute.get_replica_context()
        devices = len(strategy().extended.worker_devices)  # of this worker: the first one counts
        is_first = tf.equal(context.replica_id_in_sync_group % devices, 0)
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(is_first, values, 0))

    return tf.function(
        lambda values: strategy().run(replica, (values,)),
        input_signature=[tf.TensorSpec([None], tf.int32)],
        autograph=False,
    )

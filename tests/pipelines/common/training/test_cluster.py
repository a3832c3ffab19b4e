import json

import pytest

from pipelines.common.errors import UserError
from pipelines.common.training import cluster

WORKERS = ["a:1", "b:2"]


def tf_config(jobs=None, **task) -> dict[str, str]:
    jobs = {"worker": WORKERS} if jobs is None else jobs
    return {"TF_CONFIG": json.dumps({"cluster": jobs, "task": {"type": "worker", "index": 0, **task}})}


def slurm(**changes) -> dict[str, str]:
    return {
        "SLURM_STEP_NODELIST": "n[8-10],gpu-[01,03]",
        "SLURM_STEP_TASKS_PER_NODE": "1(x3),2(x2)",
        "SLURM_PROCID": "5",
        "SLURMD_NODENAME": "gpu-03",
        **changes,
    }


def test_tf_config():
    found = cluster.find(tf_config(index=1))
    assert found == cluster.Cluster(("a:1", "b:2"), 1) and not found.is_chief
    assert cluster.find(tf_config()).is_chief


def test_a_chief_in_tf_config_is_the_first_worker():
    jobs = {"worker": WORKERS, "chief": ["c:3"]}
    assert cluster.find(tf_config(jobs, type="chief")) == cluster.Cluster(("c:3", "a:1", "b:2"), 0)
    assert cluster.find(tf_config(jobs, index=1)) == cluster.Cluster(("c:3", "a:1", "b:2"), 2)


def test_slurm():
    found = cluster.find(slurm())
    assert found.workers == (
        "n8:12300", "n9:12300", "n10:12300", "gpu-01:12300", "gpu-01:12301", "gpu-03:12300", "gpu-03:12301"
    )  # fmt: skip
    assert found.index == 5
    assert cluster.find(slurm(UNFOLD_PORT="7")).workers[4] == "gpu-01:8"
    assert cluster.expand_hosts("a[1-2]b[08-10,3],c") == ["a1b08", "a1b09", "a1b10", "a1b3", "a2b08", "a2b09", "a2b10",
                                                          "a2b3", "c"]  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({}, "--strategy multi-worker needs to know the workers"),
        ({"TF_CONFIG": "{"}, "TF_CONFIG could not be read"),
        ({"TF_CONFIG": "[]"}, "TF_CONFIG could not be read"),
        ({"TF_CONFIG": "{}"}, "TF_CONFIG has no 'cluster'"),
        ({"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}}'}, "TF_CONFIG has no 'task'"),
        (tf_config(index="x"), "TF_CONFIG could not be read"),
        (tf_config(index=2), "this is worker 2, but lists 2 of them"),
        (tf_config(index=-1), "this is worker -1"),
        (tf_config(type="ps"), "TF_CONFIG has the job ps"),
        (tf_config({"worker": WORKERS, "ps": ["c:1"]}), "TF_CONFIG has the job ps"),
        (tf_config(type="chief"), "this is chief 0, but lists 0 of them"),
        (tf_config({"worker": ["a"]}), "the worker 'a': expected HOST:PORT"),
        (tf_config({"worker": ["a:1", "a:1"]}), "the worker a:1 twice"),
        (slurm(SLURM_PROCID="7"), "do not describe the workers"),
        (slurm(SLURM_STEP_TASKS_PER_NODE="1"), "do not describe the workers"),
        (slurm(SLURMD_NODENAME="n8"), "task 5 of SLURM is on n8, expected gpu-03"),
    ],
)
def test_what_does_not_describe_a_cluster(environment, sentence):
    with pytest.raises(UserError, match=sentence):
        cluster.find(environment)

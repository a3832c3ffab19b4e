"""Which processes train together: from TF_CONFIG (Kubernetes, pipelines.launch) or the variables of SLURM's srun."""

import dataclasses
import json
import os
import re
from collections.abc import Mapping

from pipelines.common.errors import UserError

PORT = 12300  # of the first worker on a machine, under SLURM; those after it have the next ones
PORT_VARIABLE = "UNFOLD_PORT"
FORMAT = '{"cluster": {"worker": ["HOST:PORT", …]}, "task": {"type": "worker", "index": 0}}'


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers, as HOST:PORT, and the index of this one. The first worker is the chief: it alone writes the run."""

    workers: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        return self.index == 0

    def name(self, index: int) -> str:
        return f"worker {index} ({self.workers[index]})"


def find(environment: Mapping[str, str] = os.environ) -> Cluster:
    """Returns the cluster that the environment describes; raises UserError if it describes none, or an invalid one."""
    if "TF_CONFIG" in environment:
        return from_tf_config(environment["TF_CONFIG"])
    if "SLURM_STEP_NODELIST" in environment:
        return from_slurm(environment)
    raise UserError(
        "--strategy multi-worker needs to know the workers: start it with python -m pipelines.launch or srun, or give"
        f" TF_CONFIG, {FORMAT}"
    )


def from_tf_config(text: str) -> Cluster:
    """Reads TF_CONFIG. A job `chief`, if there is one, is the first worker."""
    try:
        content = json.loads(text)
        jobs, task = content["cluster"], content["task"]
        job, index = task["type"], int(task["index"])
        workers = tuple(address for name in ("chief", "worker") for address in jobs.get(name, []))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"has no {error}" if isinstance(error, KeyError) else f"could not be read: {error}"
        raise UserError(f"TF_CONFIG {what}; expected {FORMAT}") from error
    others = sorted(jobs.keys() - {"chief", "worker"})
    if others or job not in ("chief", "worker"):
        raise UserError(f"TF_CONFIG has the job {others[0] if others else job}: expected only workers (and a chief)")
    if job not in jobs or not 0 <= index < len(jobs[job]):
        raise UserError(f"TF_CONFIG says that this is {job} {index}, but lists {len(jobs.get(job, []))} of them")
    for address in workers:
        if not isinstance(address, str) or not re.fullmatch(r"\S+:\d{1,5}", address):
            raise UserError(f"TF_CONFIG has the worker {address!r}: expected HOST:PORT")
        if workers.count(address) > 1:
            raise UserError(f"TF_CONFIG has the worker {address} twice")
    return Cluster(workers, index + len(jobs.get("chief", [])) if job == "worker" else index)


def from_slurm(environment: Mapping[str, str]) -> Cluster:
    """Reads the variables of srun, whose tasks are distributed in blocks (SLURM's default)."""
    try:
        hosts = expand_hosts(environment["SLURM_STEP_NODELIST"])
        counts = expand_counts(environment["SLURM_STEP_TASKS_PER_NODE"])
        index, base = int(environment["SLURM_PROCID"]), int(environment.get(PORT_VARIABLE, PORT))
        places = [(host, base + i) for host, count in zip(hosts, counts, strict=True) for i in range(count)]
        own, _ = places[index]
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(
            f"the variables of SLURM do not describe the workers ({error!r}): start them with srun"
        ) from error
    here = environment.get("SLURMD_NODENAME", own)
    if here != own:
        raise UserError(f"task {index} of SLURM is on {here}, expected {own}: use srun --distribution=block")
    return Cluster(tuple(f"{host}:{port}" for host, port in places), index)


def expand_hosts(text: str) -> list[str]:
    """Returns the hosts of a list of SLURM's: "a[1-2,07],b" is a1, a2, a07, b."""
    found = []
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text):
        hosts = [""]
        for literal, ranges in re.findall(r"([^\[]+)|\[([^\]]*)\]", part):
            ends = [literal] if literal else [number for each in ranges.split(",") for number in expand_range(each)]
            hosts = [host + end for host in hosts for end in ends]
        found += hosts
    return found


def expand_range(text: str) -> list[str]:
    """Returns the numbers of a range, as wide as its first: "08-10" is 08, 09, 10."""
    first, _, last = text.partition("-")
    return [str(number).zfill(len(first)) for number in range(int(first), int(last or first) + 1)]


def expand_counts(text: str) -> list[int]:
    """Returns the number of tasks of each host: "2(x3),1" is 2, 2, 2, 1."""
    found = []
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text):
        found += [int(count)] * int(times or 1)
    return found

import dataclasses
import json
import threading

import pytest

from pipelines import launch
from pipelines.common.errors import UserError
from pipelines.common.runs import Run
from pipelines.common.training import cluster, prologue
from pipelines.common.training.checkpoints import Checkpoints
from pipelines.common.training.cluster import Cluster
from pipelines.common.training.options import TrainingOptions
from tests.pipelines.common.training.small_cluster import Config, DataConfig


def config(run, **changes) -> Config:
    return Config(run, DataConfig(), TrainingOptions(worker_timeout=2.0, **changes))


def test_one_process(tmp_path):
    """A new run is trained and reported; a finished one is only reported."""
    said, chosen = [], config(tmp_path / "run")

    def train(run: Run, config: Config) -> dict:
        said.append("trained")
        with run.create():
            run.finish({"score": 1.0})
        return {"score": 1.0}

    for _ in range(2):
        assert prologue.train_run("small", chosen, None, train, lambda run: said.append(run.summary)) == {"score": 1.0}
    assert said == ["trained", {"score": 1.0}, {"score": 1.0}]


def test_what_the_chief_sends(tmp_path):
    """The vocabulary and the last whole checkpoint, but neither weights nor history."""
    with Run.start(tmp_path / "run", "small", config(tmp_path / "run")) as run:
        for name in ("vocabulary.txt", "history.csv", "model.weights.h5", ".hidden"):
            (run.path / name).write_text("x")
        for step in (1, 2, 3):
            Checkpoints(run.checkpoints).save(step, {"step": step}, {})
        (run.checkpoints / "step-000000003.npz").write_bytes(b"damaged")
        sent = {name for _, name in prologue.files_of(run)}
    assert sent == {"config.json", "vocabulary.txt", "checkpoints/step-000000002.npz"}


def test_all_workers_end_where_a_finished_run_is_reported(tmp_path, monkeypatch):
    """And each gives its summary, wherever its data is; another list of fields is refused by all."""
    run = tmp_path / "run"
    reports: list[Run] = []
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.csv").write_text("text,label\n")
    workers = tuple(f"127.0.0.1:{port}" for port in launch.free_ports(2))

    def chosen(index: int, **changes) -> Config:
        data = DataConfig(str(tmp_path / ("here", "there")[index] / "data.csv"))
        changed = config(run if index == 0 else tmp_path / "nowhere", strategy="multi-worker", **changes)
        return dataclasses.replace(changed, data=data)

    with Run.start(run, "small", chosen(0)) as new:
        new.finish({"score": 1.0})

    def together(*configs: Config) -> list:
        found: list = [None, None]
        this = threading.local()

        def worker(index: int):
            this.cluster = Cluster(workers, index)
            try:
                found[index] = prologue.train_run("small", configs[index], None, None, reports.append)
            except UserError as error:
                found[index] = str(error)

        monkeypatch.setattr(cluster, "find", lambda: this.cluster)
        threads = [threading.Thread(target=worker, args=(index,)) for index in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found

    assert together(chosen(0), chosen(1)) == [{"score": 1.0}] * 2
    assert [report.path for report in reports] == [run]
    chief, one = together(chosen(0), chosen(1, seed=2))
    assert chief == one and "training.seed is 1 at worker 0 and 2 at worker 1" in chief
    assert not (tmp_path / "nowhere").exists()


def test_paths_of_a_worker_replace_those_of_the_chief(tmp_path):
    chosen = config(tmp_path / "run")
    (tmp_path / "run").mkdir()
    stored = {"task": "small", "preset": None, "config": {"data": {"location": "/chief"}}, "versions": {}}
    (tmp_path / "run" / "config.json").write_text(json.dumps(stored))
    prologue.adopt(chosen)
    with Run.prepare(chosen.run, "small", chosen) as run:
        assert run.config["data"] == {"location": "sample"}


def test_a_strategy_without_workers(tmp_path, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UserError, match="needs to know the workers"):
        prologue.train_run("small", config(tmp_path, strategy="multi-worker"), None, None, None)

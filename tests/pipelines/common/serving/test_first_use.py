import os

import pytest

from pipelines.common.errors import UserError
from pipelines.common.runs import Run
from pipelines.common.serving.first_use import GRAPH, require_export


@pytest.fixture
def run(tmp_path):
    """Returns a finished run without an export."""
    with Run.start(tmp_path / "run", "sentiment", {}) as run:
        run.weights_file.write_bytes(b"some")
        run.finish({})
    return run


def export(options):
    (model,) = options.run
    (model / "export").mkdir()
    (model / "export" / GRAPH).touch()


def refuse(options):
    raise AssertionError("there is an export already")


def test_it_is_made_once_and_said_so(run, capsys):
    require_export(run.path, "sentiment", export)
    assert capsys.readouterr() == ("", f"{run.path} has no export yet: making it, in {run.export}\n")
    for model in (run.path, run.export):
        require_export(model, "sentiment", refuse)
    assert capsys.readouterr() == ("", "")
    assert sorted(entry.name for entry in run.path.iterdir()) == [
        ".lock", "config.json", "export", "model.weights.h5", "status.json",
    ]  # fmt: skip


def test_an_older_one_is_used_and_said_so(run, capsys):
    require_export(run.path, "sentiment", export)
    capsys.readouterr()
    made = (run.export / GRAPH).stat().st_mtime
    os.utime(run.weights_file, (made + 5, made + 5))
    require_export(run.path, "sentiment", refuse)
    message = f"{run.export} is older than the weights of the run, and is used as it is: python -m pipelines.sentiment"
    assert capsys.readouterr().err == f"{message} export --run {run.path} makes a new one\n"


def test_not_of_other_folders_and_unfinished_runs(run, tmp_path):
    require_export(tmp_path, "sentiment", refuse)
    with pytest.raises(UserError, match="is a run of the pipeline sentiment: expected one of video"):
        require_export(run.path, "video", refuse)
    run.status_file.unlink()
    with pytest.raises(UserError, match=r"training is not finished: .* python -m pipelines\.other export --run .*run"):
        require_export(run.path, "sentiment", refuse, "other")

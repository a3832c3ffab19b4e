import shutil

import numpy as np
import pytest

from pipelines.common import named_runs
from pipelines.common.errors import UserError
from pipelines.common.runs import Run
from pipelines.common.serving.first_use import GRAPH
from pipelines.serve import models as serve_models


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Returns an empty saved_models of the folder in which the process works."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "saved_models" / "sentiment").mkdir(parents=True)
    return tmp_path / "saved_models"


def test_a_model_has_its_own_name_and_the_first_that_of_its_task(models, runs):
    assert set(models) == {name for task in runs for name in (task, f"{task}-run")}
    assert all(models[task] is models[f"{task}-run"] for task in runs)
    lines = list(serve_models.describe(models))
    assert len(lines) == 4 and any(line.startswith("video-run and video: ") for line in lines)


def test_signatures_and_metadata(models):
    assert {"serving_default", "explain"} == set(models["sentiment"].signatures)
    assert [name for name, each in models["translation"].signatures.items() if each.batches] == ["serving_default"]
    found = models["video"].metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert found["method_name"] == "tensorflow/serving/predict"
    frames = found["inputs"]["frames"]
    assert (frames["dtype"], frames["name"]) == ("DT_UINT8", "serving_default_frames:0")
    sizes = [axis["size"] for axis in frames["tensor_shape"]["dim"]]
    assert sizes == ["-1", "-1", "-1", "-1", "3"] and frames["tensor_shape"]["unknown_rank"] is False
    assert set(found["outputs"]) == {"labels", "probabilities", "confidence"}


def test_a_run_a_name_and_a_folder_of_a_version(runs, saved, monkeypatch):
    export = runs["sentiment"] / "export"
    assert set(serve_models.load({"sentiment": [export]})) == {"sentiment", "sentiment-run"}
    numbered = saved.parent / "models" / "films" / "12"
    shutil.copytree(export, numbered)
    made = serve_models.load({"sentiment": [numbered]})
    assert set(made) == {"sentiment", "sentiment-films"} and made["sentiment"].version == 12
    shutil.copytree(runs["sentiment"], saved / "sentiment" / "mine")
    assert named_runs.resolve(named_runs.read("sentiment/mine")).name == "mine"
    with pytest.raises(UserError, match="would both have the name sentiment-run: rename a folder"):
        serve_models.load({"sentiment": [runs["sentiment"], export]})


def test_all_that_is_found_is_served_and_exports_are_made_once(runs, saved, capsys):
    run, unfinished = saved / "sentiment" / "without-export", saved / "sentiment" / "unfinished"
    for path in (run, unfinished):
        shutil.copytree(runs["sentiment"], path, ignore=shutil.ignore_patterns("export"))
    Run.open(unfinished, "sentiment").status_file.unlink()
    shutil.copytree(runs["sentiment"] / "export", saved / "sentiment" / "bare")
    (saved / "captioning" / "cache").mkdir(parents=True)
    (saved / "sentiment" / "notes.txt").touch()
    made = serve_models.load({})
    assert set(made) == {"sentiment", "sentiment-bare", "sentiment-without-export"}
    assert made["sentiment"] is made["sentiment-bare"] and (run / "export" / GRAPH).is_file()
    said = capsys.readouterr().err
    assert "without-export has no export yet: making it" in said and "unfinished is left out" in said


@pytest.mark.extra
def test_a_language_model_is_called_for_one_request_after_another(pretrained, saved):
    """One seed is for all rows of a batch: the text of a row depends on the others."""
    shutil.copytree(pretrained.run, saved / "sentiment" / "mine")
    for given in ({"language-model": [pretrained.run]}, {}):
        made = serve_models.load(given)
        assert "language-model" in made and len(made) == 2
    signature = made["language-model-mine"].signatures["serving_default"]
    assert not signature.batches
    (text,) = signature({"prefix": np.array([b"the film"], object)})["text"]
    assert text.startswith(b"the film")


def test_what_cannot_be_served_is_one_sentence(runs, saved):
    with pytest.raises(UserError, match="saved_models has no export and no finished run"):
        serve_models.load({"sentiment": []})
    with pytest.raises(UserError, match="is a run of the pipeline sentiment: expected one of video"):
        serve_models.load({"video": [runs["sentiment"]]})
    with pytest.raises(UserError, match="is not an export of the pipeline video"):
        serve_models.load({"video": [runs["sentiment"] / "export"]})
    with pytest.raises(UserError, match="neither a run nor an export"):
        serve_models.load({"video": [saved]})
    broken = shutil.copytree(runs["sentiment"] / "export", saved / "broken")
    (broken / GRAPH).write_bytes(b"no graph")
    with pytest.raises(UserError, match="cannot be loaded"):
        serve_models.load({"sentiment": [broken]})

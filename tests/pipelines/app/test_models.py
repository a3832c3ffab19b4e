"""Which models the page shows, and in which order."""

import json
import time

import pytest

from pipelines.app import models
from pipelines.common import named_runs
from pipelines.common.errors import UserError
from pipelines.common.serving.first_use import GRAPH


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Returns an empty folder that stands for saved_models."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(named_runs, "SAVED_MODELS", tmp_path / "saved_models")
    (tmp_path / "saved_models").mkdir()
    return tmp_path / "saved_models"


def make_run(folder, task, location, metrics, **data):
    (folder / "export").mkdir(parents=True)
    (folder / "export" / GRAPH).touch()
    config = {"task": task, "preset": None, "config": {"data": {"location": location, **data}}, "versions": {}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "metrics.json").write_text(json.dumps(metrics))


def test_the_best_of_each_task_is_first(saved):
    make_run(saved / "translation" / "sample", "translation", "sample", {"beams": {"5": {"bleu": 99.0}}}, source="en")
    make_run(saved / "translation" / "low", "translation", "multi30k", {"beams": {"5": {"bleu": 27.8}}}, source="de")
    make_run(
        saved / "translation" / "high", "translation", "multi30k", {"beams": {"1": {"bleu": 39}, "5": {"bleu": 41}}}
    )
    make_run(saved / "video" / "features", "video", "50salads", {"accuracy": 90.0})
    (saved / "video" / "features" / "features.json").touch()
    make_run(saved / "video" / "sample", "video", "sample", {"accuracy": 100.0})
    make_run(saved / "sentiment" / "broken", "sentiment", "imdb", {"accuracy": None})
    found = models.find({})
    assert [each.name for each in found] == [
        "sentiment-broken", "translation-high", "translation-low", "translation-sample", "video-sample",
        "video-features",
    ]  # fmt: skip
    assert [each.score for each in found] == [0, 41, 27.8, 99, 100, 90]
    assert [each.source for each in found[1:4]] == ["", "de", "en"] and found[-1].features


def test_given_models_keep_their_order(saved):
    make_run(saved / "sentiment" / "low", "sentiment", "imdb", {"accuracy": 0.1})
    make_run(saved / "sentiment" / "high", "sentiment", "imdb", {"accuracy": 0.9})
    given = [saved / "sentiment" / "low" / "export", saved / "sentiment" / "high"]
    found = models.find({"sentiment": given, "video": []})
    assert [(each.name, each.data, each.score) for each in found] == [
        ("sentiment-low", "imdb", 0.1), ("sentiment-high", "imdb", 0.9),
    ]  # fmt: skip


def test_without_models_there_are_none(saved):
    assert models.find({}) == []


def test_a_model_that_cannot_be_loaded_is_one_sentence(saved, caplog):
    make_run(saved / "sentiment" / "empty", "sentiment", "imdb", {})
    known = models.Models(models.find({}))
    with pytest.raises(UserError, match="cannot be loaded"):
        known.get("sentiment-empty")
    known.load_at_start()
    assert "cannot be loaded" in caplog.text and known.loaded == {} and known.failed == {"sentiment-empty"}
    known.failed.clear()
    known.load_later("sentiment-empty")
    end = time.monotonic() + 60
    while not known.failed:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert not known.busy
    with pytest.raises(UserError, match="choose a model"):
        known.get("sentiment-other")

from pathlib import Path

import pytest

from pipelines.common import named_runs
from pipelines.common.errors import UserError


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Returns saved_models of a checkout, in which the process does not work."""
    saved = tmp_path / "checkout" / "saved_models"
    for name in ("sentiment/imdb", "translation/de-en", "translation/en-fr"):
        (saved / name).mkdir(parents=True)
        (saved / name / "config.json").touch()
    (saved / "captioning" / "cache").mkdir(parents=True)
    monkeypatch.setattr(named_runs, "SAVED_MODELS", saved)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return saved


def test_a_name_stands_for_its_folder_unless_it_is_a_path(saved, tmp_path, monkeypatch):
    assert named_runs.find(Path("translation/de-en")) == saved / "translation" / "de-en"
    assert named_runs.find(saved) == saved
    monkeypatch.chdir(saved.parent)
    assert named_runs.find(Path("translation/de-en")) == Path("saved_models/translation/de-en")
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("translation/de-en").mkdir(parents=True)
    assert named_runs.find(Path("translation/de-en")) == Path("translation/de-en")


def test_an_unknown_name_lists_what_is_there(saved):
    for name, known in (
        ("translation/fr-en", "translation/de-en, translation/en-fr in"),
        ("imdb", "sentiment/imdb, translation/de-en, translation/en-fr in"),
    ):
        with pytest.raises(UserError) as found:
            named_runs.find(Path(name))
        expected = f"there is no run or export {name}: expected a path, or one of the names {known} saved_models"
        assert str(found.value) == expected
    assert named_runs.resolve(Path("imdb")) == Path("imdb")
    for config in saved.glob("*/*/config.json"):
        config.unlink()
    with pytest.raises(UserError, match="expected a path, or that of a run, as there is none in saved_models yet"):
        named_runs.find(Path("imdb"))


def test_other_paths_are_left_to_the_commands(saved):
    (saved.parent / "data").mkdir()
    for path in (saved / "none", Path("..") / "none", Path("..") / "data"):
        assert named_runs.find(path) == path

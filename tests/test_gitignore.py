import shutil
import subprocess

import pytest


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_released_model_is_committed_if_it_is_listed_by_name(root, tmp_path):
    def git(*arguments) -> str:
        return subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    git("init", "--quiet")
    rules = (root / ".gitignore").read_text()
    (tmp_path / ".gitignore").write_text(rules.replace("*/*\n", "*/*\n!/saved_models/sentiment/imdb/\n", 1))
    released = ["README.md", "config.json", "model.weights.h5", "vocabulary.txt"]
    added = ["export/saved_model.pb", ".partial-1-export/a", ".lock", "confusion_matrix.png", "captions.tsv"]
    for folder in ("sentiment/imdb", "sentiment/mine", "captioning/cache", "mine"):
        for name in [*released, *added]:
            path = tmp_path / "saved_models" / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    (tmp_path / "saved_models" / "README.md").touch()
    git("add", "saved_models")
    expected = ["README.md", *(f"sentiment/imdb/{name}" for name in released)]
    assert git("ls-files", "saved_models").split() == [f"saved_models/{name}" for name in expected]

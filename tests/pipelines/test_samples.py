"""The models of the demo learn their samples: the long form of the test of sentiment, with the real commands."""

import json
import subprocess
import sys

import pytest


def exact_matches(scores: dict) -> list[float]:
    return [row["exact_match"] for row in scores["beams"].values()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "shares", "least"),
    [
        ("translation", exact_matches, 0.9),
        ("captioning", exact_matches, 0.9),
        ("video", lambda scores: [scores["accuracy"] / 100], 0.95),
    ],
)
def test_a_sample_is_learned(root, tmp_path, task, shares, least):
    train = ["train", "sample", "--run", tmp_path / "run", "--no-tensorboard"]
    if task != "translation":
        train += ["--cache", tmp_path / "cache"]
    for arguments in (train, ["evaluate", "--run", tmp_path / "run"]):
        subprocess.run([sys.executable, "-m", f"pipelines.{task}", *arguments], cwd=root, check=True)
    assert min(shares(json.loads((tmp_path / "run" / "metrics.json").read_text()))) >= least

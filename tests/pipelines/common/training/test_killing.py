"""A run that is killed and started again ends as one that never was."""

import json

import pytest

from tests import killing

OPTIONS = {
    "epochs": 4,
    "learning_rate": 0.02,
    "schedule": "cosine",
    "decay_steps": 30,
    "accumulate": 2,
    "ema": 0.9,
    "checkpoint_steps": 4,
    "checkpoint_minutes": 0.004,  # some 0.24 seconds: checkpoints at other steps in every process
}


def command(folder, *flags, pause=0.02, **options):
    text = json.dumps({**OPTIONS, **options})
    return "tests.pipelines.common.training.small_training", [folder, "--pause", pause, "--options", text, *flags]


def check(tmp_path, kills: int, longest_delay: float, *flags, **options):
    log = tmp_path / "log"
    killing.finish(*command(tmp_path / "whole", *flags, **options), log)
    killed = command(tmp_path / "killed", *flags, **options)
    taken = killing.kill_and_resume(*killed, tmp_path / "killed", kills, longest_delay, log)
    assert taken == kills, f"the training was over after {taken} kills"
    assert log.read_text().count("going on after step") >= kills // 2
    killing.assert_same_run(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.slow
def test_two_kills(tmp_path):
    # Quick tests kill each pipeline, whose loop this is.
    check(tmp_path, 2, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--tbptt"]])
@pytest.mark.parametrize("xla", [False, True])
def test_twenty_kills(tmp_path, flags, xla):
    check(tmp_path, 20, 4.0, *flags, pause=0.05, xla=xla, epochs=60, decay_steps=400)

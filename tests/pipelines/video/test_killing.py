"""The real command, killed and given again, ends with the run of a command that never was."""

import pytest

from tests import killing

MODULE = ["-m", "pipelines.video", "train", "sample", "--no-tensorboard"]
# Some 0.6 seconds: checkpoints at other steps in every process.
OFTEN = ["--checkpoint-minutes", "0.01"]


def check(tmp_path, kills: int, longest_delay: float, *options, sign="*") -> tuple[int, int]:
    """(kills before the training was over, restarts that went on from a checkpoint)."""
    log = tmp_path / "log"
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    killing.finish(killing.python(*MODULE, *OFTEN, *options, "--run", whole), log)
    command = killing.python(*MODULE, *OFTEN, *options, "--run", killed)
    taken = killing.kill_and_resume(command, killed, kills, longest_delay, log, sign=sign)
    killing.assert_same_run(whole, killed)
    return taken, log.read_text().count("going on after step")


def test_two_kills(tmp_path, room):
    """With what draws random numbers and with what is carried from batch to batch: dropout, moved pictures, states."""
    tiny = "--units 8 --image-size 16 --batch-videos 2 --epochs 6 --dropout 0.2 --shift 0.1 --shuffle-colours"
    options = [*tiny.split(), "--no-bidirectional", "--k1", "4"]
    kills, resumed = check(tmp_path, 2, 1.0, "--data", room.data, *options, sign="step-*.npz")
    assert kills and resumed  # a quick machine may be done before the second


@pytest.mark.slow
def test_twenty_kills(tmp_path):
    kills, resumed = check(tmp_path, 20, 12.0, "--ema", "0.99", "--epochs", "6")
    assert kills == 20 and resumed >= 5

"""The real command, killed and given again, ends with the run of a command that never was."""

import pytest

from tests import killing

MODULE = ["-m", "pipelines.translation", "train", "sample", "--no-tensorboard"]
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
    """With what draws random numbers: dropout, scheduled sampling, a sampled softmax."""
    tiny = "--units 8 --embedding-units 8 --layers 2 --max-tokens 20 --batch-pairs 8 --epochs 8"
    random = "--dropout 0.2 --word-dropout 0.1 --teacher-forcing constant --softmax sampled --softmax-samples 10"
    kills, resumed = check(tmp_path, 2, 1.0, "--data", room.data, *tiny.split(), *random.split(), sign="step-*.npz")
    assert kills and resumed  # a quick machine may be done before the second


@pytest.mark.slow
def test_twenty_kills(tmp_path):
    kills, resumed = check(tmp_path, 20, 12.0, "--ema", "0.99", "--epochs", "6")
    assert kills == 20 and resumed >= 5

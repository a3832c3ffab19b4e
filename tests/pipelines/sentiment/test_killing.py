"""A command that was killed and run again ends with the same run as one that was not."""

import pytest

from tests import killing

# Some 0.6 seconds: checkpoints at other steps in every process.
SAMPLE = ["train", "sample", "--no-tensorboard", "--checkpoint-minutes", "0.01"]


@pytest.mark.extra
def test_two_kills(tmp_path, shared):
    tiny = "--units 4 --embedding-units 4 --max-words 50 --batch-words 2000 --batch-reviews 4 --epochs 12 --calibrate"
    command = [*SAMPLE, "--data", shared.data, "--group-column", "film", *tiny.split()]
    assert killing.check_command("sentiment", command, tmp_path, kills=2, longest_delay=1.0)


@pytest.mark.slow
def test_twenty_kills(tmp_path):
    command = [*SAMPLE, "--ema", "0.99", "--epochs", "180"]
    assert killing.check_command("sentiment", command, tmp_path, kills=20, longest_delay=12, sign="*") >= 5

"""A training command that is killed and repeated ends with the same run as one that is not killed."""

import pytest

from tests import killing

# About 0.6 seconds, so that every process writes its checkpoints at other steps.
SAMPLE = ["train", "sample", "--no-tensorboard", "--checkpoint-minutes", "0.01"]


@pytest.mark.extra
def test_two_kills(tmp_path, shared):
    """With random numbers and a state that is carried over from batch to batch: dropout, augmentation, TBPTT."""
    tiny = "--units 8 --image-size 16 --batch-videos 2 --epochs 6 --dropout 0.2 --shift 0.1 --shuffle-colours"
    command = [*SAMPLE, "--data", shared.data, *tiny.split(), "--no-bidirectional", "--k1", "4"]
    assert killing.check_command("video", command, tmp_path, kills=2, longest_delay=1.0)


@pytest.mark.slow
def test_twenty_kills(tmp_path):
    command = [*SAMPLE, "--ema", "0.99", "--epochs", "24"]
    assert killing.check_command("video", command, tmp_path, kills=20, longest_delay=12, pattern="*") >= 5

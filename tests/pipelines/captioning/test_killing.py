"""A training command that is killed and repeated ends with the same run as one that is not killed."""

import pytest

from tests import killing

# About 0.6 seconds, so that every process writes its checkpoints at other steps.
SAMPLE = ["train", "sample", "--no-tensorboard", "--checkpoint-minutes", "0.01"]


@pytest.mark.extra
def test_two_kills(tmp_path, shared, tiny):
    """With random numbers, and a CNN that is trained from a later epoch on, which then reads pixels, not features."""
    noise = "--dropout 0.2 --embedding-dropout 0.1 --augment 0.1"
    phases = "--encoder peaks --finetune-cnn-after 3 --epochs 8 --batch-images 4"
    command = [*SAMPLE, "--data", shared.data, *tiny, *noise.split(), *phases.split()]
    assert killing.check_command("captioning", command, tmp_path, kills=2, longest_delay=1.0)


@pytest.mark.extra
def test_two_kills_with_attention(tmp_path, shared, tiny):
    """While features are computed, and while maps are read from the cache, then pixels, as the CNN is trained."""
    noise = "--dropout 0.2 --embedding-dropout 0.1 --layers 2"
    phases = "--image attend --attention-input --attention-penalty 0.1 --finetune-cnn-after 6 --epochs 8"
    command = [*SAMPLE, "--data", shared.data, *tiny, "--cache", tmp_path / "cache", *noise.split(), *phases.split()]
    assert killing.check_command("captioning", command, tmp_path, kills=2, longest_delay=1.0)


@pytest.mark.extra
def test_two_kills_of_self_critical_training(tmp_path, shared):
    """The captions that are drawn, too, are the same after a restart."""
    command = ["fine-tune", "--from", shared.run, "--data", shared.data, "--no-tensorboard", "--checkpoint-minutes"]
    command += ["0.01", "--reward", "cider", "--epochs", "8", "--finetune-cnn-after", "None", "--batch-pairs", "8"]
    assert killing.check_command("captioning", command, tmp_path, kills=2, longest_delay=1.0)


@pytest.mark.slow
def test_twenty_kills(tmp_path):
    command = [*SAMPLE, "--cache", tmp_path / "cache", "--ema", "0.99", "--epochs", "9", "--finetune-cnn-after", "3"]
    command += ["--augment", "0.1"]
    assert killing.check_command("captioning", command, tmp_path, kills=20, longest_delay=12, pattern="*") >= 5

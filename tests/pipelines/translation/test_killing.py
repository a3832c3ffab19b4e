"""A training command that is killed and repeated ends with the same run as one that is not killed."""

import pytest

from tests import killing

# About 0.6 seconds, so that every process writes its checkpoints at other steps.
SAMPLE = ["train", "sample", "--no-tensorboard", "--checkpoint-minutes", "0.01"]


@pytest.mark.extra
def test_two_kills(tmp_path, shared):
    """With everything that draws random numbers: dropout, scheduled sampling, a sampled softmax."""
    tiny = "--units 8 --embedding-units 8 --layers 1 --max-tokens 20 --batch-pairs 8 --epochs 8"
    random = "--dropout 0.2 --word-dropout 0.1 --teacher-forcing constant --softmax sampled --softmax-samples 10"
    command = [*SAMPLE, "--data", shared.data, *tiny.split(), *random.split()]
    assert killing.check_command("translation", command, tmp_path, kills=2, longest_delay=1.0)


@pytest.mark.extra
def test_two_kills_with_attention_inside_the_recurrence(tmp_path, shared):
    """With dropout between the layers and of the state, whose masks are drawn before the loop over time."""
    tiny = "--units 8 --embedding-units 8 --layers 2 --context none --max-tokens 20 --batch-pairs 8 --epochs 8"
    attention = "--attention general --attention-input --recurrent-dropout 0.2 --variational --dropout 0.2"
    command = [*SAMPLE, "--data", shared.data, *tiny.split(), *attention.split(), "--precision", "mixed_bfloat16"]
    assert killing.check_command("translation", command, tmp_path, kills=2, longest_delay=1.0)


@pytest.mark.slow
def test_twenty_kills(tmp_path):
    command = [*SAMPLE, "--ema", "0.99", "--epochs", "12"]
    assert killing.check_command("translation", command, tmp_path, kills=20, longest_delay=12, pattern="*") >= 5

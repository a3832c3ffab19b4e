import re
import resource

import numpy as np
import pytest
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.training.checkpoints import KEEP, Checkpoints, NotFiniteError, read


def some_variables(seed: int = 0) -> dict[str, list]:
    draw = np.random.default_rng(seed)
    return {
        "model": [
            tf.Variable(draw.normal(size=(5, 3)).astype("float32")),
            tf.Variable(tf.cast(draw.normal(size=(4,)), tf.bfloat16)),
            tf.Variable(draw.integers(0, 9, 2).astype("uint32")),
            tf.Variable(draw.normal(size=(2, 2)), shape=[None, 2]),
        ],
        "optimizer": [tf.Variable(7, dtype=tf.int64), tf.Variable(True)],
        "average": [],
    }


def bits(variables) -> list[bytes]:
    return [v.numpy().tobytes() for part in variables.values() for v in part]


STATE = {"epoch": 3, "sums": {"loss": [0.1 + 0.2, 1e-17]}, "best": None, "name": "é"}


def test_everything_comes_back_to_the_bit(tmp_path):
    saved, other = some_variables(1), some_variables(2)
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.restore(other) is None
    checkpoints.save(12, STATE, saved)
    assert checkpoints.restore(other) == STATE
    assert bits(other) == bits(saved)


def test_the_last_few_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (8, 9, 10, 100, 1000):
        checkpoints.save(step, {"at": step}, {})
    assert [int(file.name[5:14]) for file in checkpoints.files()] == [10, 100, 1000][-KEEP:]
    assert checkpoints.restore({}) == {"at": 1000}


def test_damage_falls_back_and_says_so(tmp_path, capsys):
    checkpoints, good = Checkpoints(tmp_path), some_variables(1)
    checkpoints.save(1, {"at": 1}, good)
    for step in (2, 3):
        checkpoints.save(step, {"at": step}, some_variables(step))
    second, third = checkpoints.files()[1:]
    third.write_bytes(third.read_bytes()[:-100])
    content = bytearray(second.read_bytes())
    content[len(content) // 4] ^= 1
    second.write_bytes(content)
    other = some_variables(4)
    assert checkpoints.restore(other) == {"at": 1}
    assert bits(other) == bits(good)
    said = capsys.readouterr().err
    assert "step-000000003.npz is damaged" in said and "step-000000002.npz is damaged" in said
    assert len(checkpoints.files()) == 1  # damaged ones must not count among those that are kept


def test_no_whole_checkpoint_is_an_error(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {}, some_variables())
    checkpoints.files()[0].write_bytes(b"")
    with pytest.raises(UserError, match=r"every checkpoint in .* is damaged"):
        checkpoints.restore(some_variables())


def test_a_flipped_bit_anywhere_is_found_or_harmless(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, STATE, some_variables())
    file = checkpoints.files()[0]
    whole = file.read_bytes()
    content, arrays = read(file)
    found = 0
    for place in range(0, len(whole), 3):
        broken = bytearray(whole)
        broken[place] ^= 1 << (place % 8)
        file.write_bytes(broken)
        try:
            again, others = read(file)
        except Exception:
            found += 1
            continue
        assert again == content
        assert {k: v.tobytes() for k, v in others.items()} == {k: v.tobytes() for k, v in arrays.items()}
    assert found > 100


def test_values_that_are_not_finite_are_never_saved(tmp_path):
    checkpoints, good = Checkpoints(tmp_path), some_variables()
    checkpoints.save(1, {}, good)
    for bad in (np.nan, np.inf):
        for i in (0, 1):
            variables = some_variables()
            variables["model"][i].assign(
                tf.fill(variables["model"][i].shape, tf.cast(bad, variables["model"][i].dtype))
            )
            with pytest.raises(NotFiniteError):
                checkpoints.save(2, {}, variables)
    assert len(checkpoints.files()) == 1


def test_disk_full_keeps_the_last_good_one(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"at": 1}, {"model": [tf.ones([10])]})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, hard))  # the real kernel refuses the write
    try:
        with pytest.raises(UserError) as caught:
            checkpoints.save(2, {"at": 2}, {"model": [tf.ones([10000])]})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert re.search(r"step 2 could not be saved: .*File too large; the last good .*step-000000001", str(caught.value))
    assert checkpoints.restore({"model": [tf.Variable(tf.zeros([10]))]}) == {"at": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-000000001.npz"]


@pytest.mark.parametrize(
    "variables",
    [{"model": [tf.Variable([1.0, 2.0])]}, {"model": [tf.Variable(1.0)] * 2}, {"optimizer": [tf.Variable(1.0)]}],
)
def test_another_model_is_refused_and_left_alone(tmp_path, variables):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {}, {"model": [tf.Variable(3.0)]})
    before = bits(variables)
    with pytest.raises(UserError, match="checkpoint of another model"):
        checkpoints.restore(variables)
    assert bits(variables) == before

import json
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.vision import encoders, feature_cache

KEY = {"encoder": "small", "weights": "abc", "image_size": 48}


@pytest.fixture
def items(tmp_path):
    """Seven files of different lengths; their features are as many rows as they have bytes."""
    folder = tmp_path / "items"
    folder.mkdir()
    for number in range(7):
        (folder / f"{number}.dat").write_bytes(bytes([number]) * (number + 1))
    return {path.name: path for path in sorted(folder.iterdir())}


class Counting:
    """Computes, and remembers what for."""

    def __init__(self, broken=()):
        self.asked, self.broken = [], broken

    def __call__(self, paths):
        for path in paths:
            self.asked.append(path.name)
            if path.name in self.broken:
                yield "is no video"
            else:
                yield expected(path)


def expected(path):
    content = np.frombuffer(path.read_bytes(), np.uint8).astype(np.float32)
    return np.stack([content, content / 3], axis=1)


def fill(folder, items, compute, key=KEY, **options):
    lines = []
    features = feature_cache.fill(folder / "cache", key, items, compute, log=lines.append, **options)
    return features, lines


def assert_right(features, items):
    assert list(features) == list(items)
    for name, rows in features.items():
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows, expected(items[name]))


@pytest.mark.parametrize("shard_items", [1, 3, 7, 100])
def test_computed_once_and_read_afterwards(tmp_path, items, shard_items):
    compute = Counting()
    features, lines = fill(tmp_path, items, compute, shard_items=shard_items)
    assert_right(features, items)
    assert compute.asked == list(items) and lines[0].startswith("computing the features of 7 of 7 items")
    again, lines = fill(tmp_path, items, compute)
    assert_right(again, items)
    assert compute.asked == list(items) and lines == []
    with pytest.raises(ValueError, match="read-only"):
        again["3.dat"][0, 0] = 1


def test_half_precision_is_a_cache_of_its_own_and_does_not_overflow(tmp_path, items):
    large = {name: np.full((2, 3), 1e6 if name == "3.dat" else 1 / 3) for name in items}
    fill(tmp_path, items, Counting())
    features, lines = fill(tmp_path, items, lambda paths: (large[path.name] for path in paths), dtype="float16")
    assert lines[0].startswith("computing the features of 7 of 7 items")
    assert {rows.dtype for rows in features.values()} == {np.dtype("float16")}
    np.testing.assert_array_equal(features["3.dat"], np.full((2, 3), np.finfo("float16").max))
    np.testing.assert_array_equal(features["4.dat"], np.full((2, 3), np.float16(1 / 3)))
    again, lines = fill(tmp_path, items, Counting(), dtype="float16")
    np.testing.assert_array_equal(again["3.dat"], features["3.dat"])
    assert lines == []
    assert_right(fill(tmp_path, items, Counting())[0], items)


def test_a_shard_is_limited_by_its_size(tmp_path, items):
    fill(tmp_path, items, Counting(), shard_bytes=24)  # 8 bytes a row: 1 + 2, 3, 4, …
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 6


def test_only_new_and_changed_items_are_computed(tmp_path, items):
    some = {name: items[name] for name in ("1.dat", "4.dat")}
    fill(tmp_path, some, Counting())
    items["4.dat"].write_bytes(b"longer than before")
    compute = Counting()
    features, _ = fill(tmp_path, items, compute)
    assert_right(features, items)
    assert compute.asked == [name for name in items if name != "1.dat"]
    status = items["5.dat"].stat()
    items["5.dat"].write_bytes(b"5" * status.st_size)  # as long as before, later
    os.utime(items["5.dat"], ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    compute = Counting()
    features, _ = fill(tmp_path, items, compute)
    assert_right(features, items)
    assert compute.asked == ["5.dat"]


def test_another_key_is_another_cache(tmp_path, items):
    for key in (KEY, {**KEY, "weights": "abd"}, {**KEY, "image_size": 64}, {**KEY, "fit": "crop"}):
        compute = Counting()
        fill(tmp_path, items, compute, key=key)
        assert compute.asked == list(items)
    compute = Counting()
    fill(tmp_path, items, compute, key=dict(reversed(KEY.items())))
    assert compute.asked == []
    keys = [json.loads(path.read_text()) for path in (tmp_path / "cache").glob("*/key.json")]
    assert {**KEY, "format": feature_cache.FORMAT} in keys and len(keys) == 4


def test_failures_are_reported_and_tried_again(tmp_path, items):
    items["7.dat"] = tmp_path / "none"
    features, _ = fill(tmp_path, items, Counting(broken=("2.dat", "6.dat")), shard_items=2)
    assert features.failures == {
        "2.dat": "is no video",
        "6.dat": "is no video",
        "7.dat": "could not be read: No such file or directory",
    }
    good = {name: path for name, path in items.items() if name not in features.failures}
    assert_right(features, good)
    compute = Counting(broken=("2.dat",))
    features, _ = fill(tmp_path, items, compute)
    assert compute.asked == ["2.dat", "6.dat"] and list(features.failures) == ["2.dat", "7.dat"]
    assert list(features) == [name for name in items if name not in features.failures]


def test_only_failures(tmp_path, items):
    features, _ = fill(tmp_path, items, Counting(broken=tuple(items)))
    assert len(features) == 0 and list(features.failures) == list(items)
    features, lines = fill(tmp_path, {}, Counting())
    assert len(features) == 0 and lines == []


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("ending", ["npy", "json"])
@pytest.mark.parametrize("damage", [cut, flip, empty, os.unlink])
def test_a_damaged_shard_is_logged_and_computed_again(tmp_path, items, damage, ending):
    fill(tmp_path, items, Counting(), shard_items=3)
    [target] = (tmp_path / "cache").rglob(f"000002.{ending}")
    damage(target)
    compute = Counting()
    features, lines = fill(tmp_path, items, compute)
    assert_right(features, items)
    assert compute.asked == ["3.dat", "4.dat", "5.dat"]
    told = [line for line in lines if "is damaged: its features are computed again" in line]
    assert len(told) == (0 if (damage, ending) == (os.unlink, "json") else 1)  # without its index it is left over
    compute = Counting()
    assert_right(fill(tmp_path, items, compute)[0], items)
    assert compute.asked == []


def test_features_of_a_wrong_shape(tmp_path, items):
    for wrong in (np.zeros(3), np.zeros((0, 3)), np.zeros((1, 2, 3))):
        with pytest.raises(ValueError, match=r"the features of 0.dat have the shape .*, expected \[rows >= 1, units\]"):
            fill(tmp_path, items, lambda paths, wrong=wrong: (wrong for _ in paths))


def test_an_error_keeps_the_shards_written_before(tmp_path, items):
    def stops(paths):
        yield from Counting()(paths[:5])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path, items, stops, shard_items=2)
    compute = Counting()
    assert_right(fill(tmp_path, items, compute)[0], items)
    assert compute.asked == ["4.dat", "5.dat", "6.dat"]


def test_a_full_disk_is_one_sentence(tmp_path, items):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a file that grows too long is an error
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400, limits[1]))
        with pytest.raises(UserError, match=r"000001\.npy could not be written: "):
            fill(tmp_path, items, lambda paths: (np.zeros((9, 99)) for _ in paths))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert [path.name for path in (tmp_path / "cache").rglob("*") if "0001" in path.name] == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"the feature cache .* cannot be written: Not a directory"):
        feature_cache.fill(tmp_path / "file", KEY, items, Counting())


PROGRAM = """
import pathlib, sys, time
import numpy as np
from pipelines.common.vision import feature_cache

def compute(paths):
    for path in paths:
        time.sleep(0.01)
        with open(sys.argv[3], "a") as log:
            log.write(path.name + "\\n")
        content = np.frombuffer(path.read_bytes(), np.uint8).astype(np.float32)
        yield np.stack([content, content / 3], axis=1)

items = {path.name: path for path in sorted(pathlib.Path(sys.argv[1]).iterdir())}
features = feature_cache.fill(sys.argv[2], {"encoder": "small", "weights": "abc", "image_size": 48}, items, compute,
                              shard_items=4)
print(len(features), sum(float(rows.sum()) for rows in features.values()))
"""


@pytest.fixture
def many(tmp_path, items):
    for number in range(7, 120):
        (tmp_path / "items" / f"{number:03d}.dat").write_bytes(bytes([number]) * (1 + number % 5))
    return {path.name: path for path in sorted((tmp_path / "items").iterdir())}


def start(tmp_path, root, number):
    command = [sys.executable, "-c", PROGRAM, tmp_path / "items", tmp_path / "cache", tmp_path / f"log{number}"]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)


@pytest.mark.extra
def test_two_processes_at_once_share_the_work_and_a_killed_one_leaves_whole_shards(tmp_path, many, root):
    """Two start; the one that computes is killed in the middle, and the one that waited goes on."""
    processes = [start(tmp_path, root, number) for number in range(2)]
    logs = [tmp_path / f"log{number}" for number in range(2)]
    deadline = time.monotonic() + 300
    while not any(log.exists() and len(log.read_text().split()) > 30 for log in logs):
        assert time.monotonic() < deadline and all(process.poll() is None for process in processes)
        time.sleep(0.02)
    first = 0 if logs[0].exists() else 1
    processes[first].kill()
    processes[first].communicate()
    printed, _ = processes[1 - first].communicate(timeout=300)
    assert processes[1 - first].returncode == 0
    total = sum(float(expected(path).sum()) for path in many.values())
    assert printed.splitlines()[-1] == f"{len(many)} {total}"
    once, twice = (log.read_text().split() for log in (logs[first], logs[1 - first]))
    assert len(once) < len(many) and len(set(once) & set(twice)) <= 4  # of the unfinished shard at most
    compute = Counting()
    assert_right(fill(tmp_path, many, compute)[0], many)
    assert compute.asked == []
    left = [path.name for path in (tmp_path / "cache").rglob(".partial-*")]
    assert left == []


@pytest.mark.extra
def test_reading_is_much_faster_than_computing(tmp_path):
    encoder = encoders.build_encoder("mobilenet_v2", weights="none", image_size=96)
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)

    items = {}
    for number in range(64):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(tf.io.encode_jpeg(np.roll(pixels, number, axis=1)).numpy())
        items[path.name] = path

    def compute(paths):
        return encoders.encode_files(encoder, paths, size=96, fit="squeeze", pixel_limit=10**6)

    seconds = []
    for _ in range(2):
        began = time.monotonic()
        features, _ = fill(tmp_path, items, compute)
        total = np.concatenate(list(features.values())).sum()
        seconds.append(time.monotonic() - began)
        assert np.isfinite(total) and features["5.jpg"].shape == (1, 1280)
    assert seconds[1] * 5 < seconds[0]

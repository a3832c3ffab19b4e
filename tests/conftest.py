"""Fixtures shared by all tests, and the order of the files. Set before TensorFlow is imported: its log, for this
process and those it starts."""

import collections
import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the commands have it
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # the tests compare to the last bit; a GPU has other sums

ROOT = Path(__file__).resolve().parents[1]
LONG = ("test_killing", "test_train", "test_training", "test_export")


def pytest_collection_modifyitems(items):
    """The files in turns from one folder and the next, the longest first: two processes then seldom wait for each
    other, be it for the run that the tests of a folder share, or in the end for a long file."""
    files = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    taken = collections.Counter()
    order = []
    for path in sorted(files, key=lambda path: (path.stem not in LONG, path)):
        order.append((taken[path.parent], path))
        taken[path.parent] += 1
    items[:] = [item for _, path in sorted(order) for item in files[path]]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout's folder."""
    return ROOT


@pytest.fixture(scope="session")
def samples(root) -> Path:
    """The folder of the embedded sample data."""
    return root / "data" / "samples"


@pytest.fixture
def real_data():
    """Gives a function: the folder `name` of the real data (UNFOLD_DATA, else ../shared/data), or skips the test."""
    folder = Path(os.environ.get("UNFOLD_DATA") or ROOT.parent / "shared" / "data")

    def find(name: str) -> Path:
        if not (folder / name).is_dir():
            pytest.skip(f"needs the real data: no folder {name!r} in {folder} (set UNFOLD_DATA to where it is)")
        return folder / name

    return find

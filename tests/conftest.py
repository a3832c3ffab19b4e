"""Fixtures for all tests, and the order of the test files.

The environment variables are set before TensorFlow is imported, for this process and those that it starts.
"""

import collections
import gc
import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as in the commands
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # tests compare the last bit; a GPU adds in another order

ROOT = Path(__file__).resolve().parents[1]
LONG = ("test_export", "test_train", "test_features", "test_recurrent", "test_recurrent_decoder", "test_tokenizer",
        "test_encoders", "test_loop", "test_killing")  # fmt: skip


def pytest_collection_modifyitems(items):
    """Orders the test files: the long ones first, taking turns between the folders.

    Two processes of pytest-xdist then seldom wait for each other: neither for the shared run of a folder, which a long
    file of that folder makes before the files that use the runs of all, nor, at the end, for a long file.
    """
    files = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    taken = collections.Counter()
    order = []
    for path in sorted(files, key=lambda path: (path.stem not in LONG, path)):
        order.append((path.stem not in LONG, taken[path.parent], path))
        taken[path.parent] += 1
    items[:] = [item for *_, path in sorted(order) for item in files[path]]


def pytest_collection(session):
    """Turns the garbage collector off during the imports, where it would take a third of the time and find nothing."""
    gc.disable()


def pytest_collection_finish(session):
    """Turns it on again, except for the objects of the imported modules, which live until the process ends.

    It searches all objects ten times less often than by default, where it takes 8 % of the time of the tests.
    """
    gc.freeze()
    gc.set_threshold(1000, 10, 100)
    gc.enable()


@pytest.fixture(scope="session")
def root() -> Path:
    """Returns the folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def samples(root) -> Path:
    """Returns the folder of the embedded sample data."""
    return root / "data" / "samples"


@pytest.fixture
def real_data():
    """Returns a function that returns the folder `name` of the real data, or skips the test if it is missing.

    The real data is in UNFOLD_DATA, by default ../shared/data.
    """
    folder = Path(os.environ.get("UNFOLD_DATA") or ROOT.parent / "shared" / "data")

    def find(name: str) -> Path:
        if not (folder / name).is_dir():
            pytest.skip(f"needs the real data: no folder {name!r} in {folder} (set UNFOLD_DATA to its path)")
        return folder / name

    return find

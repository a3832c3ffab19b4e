"""Fixtures shared by all tests. Set before TensorFlow is imported: its log, for this process and those it starts."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # the tests compare to the last bit; a GPU has other sums

ROOT = Path(__file__).resolve().parents[1]


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

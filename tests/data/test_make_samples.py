"""The embedded samples are reproducible and small."""

import subprocess
import sys

import av
import numpy as np
import pytest


@pytest.fixture(scope="module")
def rendered(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    command = [sys.executable, root / "data" / "make_samples.py", "--to", folder]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return folder


def files(folder):
    return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}


def frames(path):
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]).astype(int)


@pytest.mark.extra
def test_rendering_again_gives_the_same_bytes(rendered, samples):
    fresh = files(rendered)
    committed = {name: path for name, path in files(samples).items() if not name.startswith("photos/")}
    assert fresh.keys() == committed.keys()
    differing = [name for name in fresh if fresh[name].read_bytes() != committed[name].read_bytes()]
    assert [name for name in differing if not name.endswith(".mp4")] == []


@pytest.mark.extra
def test_rendering_again_gives_the_same_clips(rendered, samples):
    """The bytes of a clip depend on the version of the encoder, its frames do not."""
    fresh = {name: path for name, path in files(rendered).items() if name.endswith(".mp4")}
    assert len(fresh) == 245
    for name in sorted(fresh)[::5]:
        again, committed = frames(fresh[name]), frames(samples / name)
        assert again.shape == committed.shape, name
        assert np.abs(again - committed).mean() < 2, name  # of 255


def test_all_samples_together_are_small(samples):
    sizes = {name: path.stat().st_size for name, path in files(samples).items()}
    photos = sum(size for name, size in sizes.items() if name.startswith("photos/"))
    assert 0 < photos < 300_000
    assert sum(sizes.values()) - photos < 3_500_000

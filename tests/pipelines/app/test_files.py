"""The temporary folder."""

import os
import time

import pytest

pytest.importorskip("gradio", reason="needs the extra app: pip install 'unfold[app]'")

from pipelines.app.files import Folder, require_size
from pipelines.common.errors import UserError


def test_old_files_are_deleted_but_not_the_examples(tmp_path):
    folder = Folder(tmp_path)
    (tmp_path / "photo.jpg").touch()
    example = folder.copy(tmp_path / "photo.jpg")
    folder.start()
    folder.stopped.set()
    old, new = folder.new("old.png"), folder.new("new.png")
    old.touch()
    time.sleep(0.05)
    between = time.time()
    time.sleep(0.05)
    new.touch()
    os.utime(new, (0, 0))  # the time of a copied file is that of its source: the change counts
    folder.sweep(between)
    assert example.exists() and new.exists() and not old.exists()


def test_sizes(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"12345")
    assert require_size(str(tmp_path / "clip.mp4"), 5, "video") == tmp_path / "clip.mp4"
    with pytest.raises(UserError, match=r"^clip\.mp4 has 5 bytes: expected at most 4$"):
        require_size(str(tmp_path / "clip.mp4"), 4, "video")
    with pytest.raises(UserError, match="there is no video yet"):
        require_size(None, 4, "video")

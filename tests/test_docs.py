"""The picture of an unfolded network is drawn from a network that is trained in the same script."""

import importlib.util

import pytest


@pytest.mark.extra
def test_the_unfolded_network_has_learned_the_word(root, tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("unfolded", root / "docs" / "unfolded.py")
    unfolded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unfolded)
    unfolded.main(str(tmp_path / "unfolded.png"))
    assert "hell -> ello" in capsys.readouterr().out
    assert (tmp_path / "unfolded.png").read_bytes().startswith(b"\x89PNG")

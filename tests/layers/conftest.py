import pytest


@pytest.fixture(params=["small", "large"])
def both_sizes(request, monkeypatch):
    """Runs the test twice: as it is, and with its weights and batches taken for large ones, which go another way."""
    if request.param == "large":
        monkeypatch.setattr("layers.groups.LARGE", 0)
        monkeypatch.setattr("layers.groups.ROWS", 2)

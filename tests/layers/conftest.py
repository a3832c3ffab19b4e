import pytest


@pytest.fixture(params=["small", "large"])
def both_sizes(request, monkeypatch):
    """The test twice: few weights, as it has, go another way through the layers than many, as it is told it has."""
    if request.param == "large":
        monkeypatch.setattr("layers.groups.LARGE", 0)

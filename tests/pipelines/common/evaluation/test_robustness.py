import pytest

from pipelines.common.evaluation.robustness import UNCHANGED, Column, Distortion, measure, show, table
from tests.pipelines.common.pictures.pixels import coloured

COLUMNS = (Column("right", "right", 100), Column("loss", "loss", places=3))
BLUE = (0, 114 / 255, 178 / 255)


def swapped(text: str) -> str:
    return text[::-1]


DISTORTIONS = (
    Distortion("reversed", "letters reversed", swapped),
    Distortion("half", "the first half", lambda text: text[: len(text) // 2]),
)
WORDS = ["level", "noon", "abba", "ab"]


def score(distortion: Distortion) -> dict:
    """How many words are their own distortion; a half is compared with another score than that of the words."""
    changed = [distortion.change(word) for word in WORDS]
    right = sum(one == other for one, other in zip(changed, WORDS, strict=True)) / len(WORDS)
    scores = {"right": right, "loss": 1 - right}
    return {**scores, UNCHANGED: {"right": 0.5, "loss": 0.5}} if distortion.name == "half" else scores


def test_every_distortion_is_scored_and_compared(tmp_path, capsys):
    rows = measure({"right": 1.0, "loss": 0.0}, DISTORTIONS, score)
    assert list(rows) == [UNCHANGED, "reversed", "half"]
    assert rows["reversed"] == {"right": 0.75, "loss": 0.25}
    assert capsys.readouterr().err.splitlines()[1] == "distortion 2 of 2: the first half"
    show(rows, DISTORTIONS, COLUMNS, tmp_path / "bars.png", "words")
    lines = capsys.readouterr().out.splitlines()
    assert lines == table(rows, DISTORTIONS, COLUMNS).splitlines()
    assert [line.split()[-3:] for line in lines[1:]] == [
        ["100.0", "0.000", "-"], ["75.0", "0.250", "25.0%"], ["0.0", "1.000", "100.0%"],
    ]  # fmt: skip
    rows["half"]["right"] = 0.5  # nothing is lost of what it is compared with
    show(rows, DISTORTIONS, COLUMNS, tmp_path / "longer.png", "words")
    assert coloured(tmp_path / "longer.png", BLUE) == pytest.approx(
        175 / 75 * coloured(tmp_path / "bars.png", BLUE), rel=0.02
    )


def test_a_model_that_is_never_right(tmp_path):
    rows = measure({"right": 0.0, "loss": 1.0}, DISTORTIONS[:1], lambda _: {"right": 0.0, "loss": 1.0})
    show(rows, DISTORTIONS[:1], COLUMNS, tmp_path / "bars.png", "words")
    assert table(rows, DISTORTIONS[:1], COLUMNS).endswith(" -")

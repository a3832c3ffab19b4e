"""Robustness: the scores of a run on distorted inputs, such as dark images or misspelled words.

A task scores a run on a part of its data as it is, and on each distortion of that part. Distortions are fixed, so that
runs can be compared.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from pipelines.common.pictures.charts import draw_shares

UNCHANGED = "unchanged"


@dataclasses.dataclass(frozen=True)
class Distortion:
    """A change of the input.

    Attributes:
        name: in metrics.json.
        meaning: in the table and in the picture.
        change: what changes an input, such as a function of it; the task defines it.
    """

    name: str
    meaning: str
    change: Any


@dataclasses.dataclass(frozen=True)
class Column:
    """A score in the table.

    Attributes:
        key: its name in the scores.
        title: of the column.
        factor: what it is multiplied with.
        places: decimal places.
    """

    key: str
    title: str
    factor: float = 1.0
    places: int = 1

    def shown(self, scores: dict) -> str:
        return f"{self.factor * scores[self.key]:.{self.places}f}"


def measure(unchanged: dict, distortions: Sequence[Distortion], score: Callable[[Distortion], dict]) -> dict:
    """Returns the scores of the unchanged input and of each distortion, by name.

    Args:
        unchanged: scores of the input as it is.
        score: returns the scores of a distorted input. If they have the entry `unchanged`, it is what they are compared
            with in place of the scores of the unchanged input, such as those on other references.
    """
    rows = {UNCHANGED: unchanged}
    for number, distortion in enumerate(distortions, start=1):
        print(f"distortion {number} of {len(distortions)}: {distortion.meaning}", file=sys.stderr)
        rows[distortion.name] = score(distortion)
    return rows


def show(
    rows: dict, distortions: Sequence[Distortion], columns: Sequence[Column], png: pathlib.Path, title: str
) -> None:
    """Prints the scores as a table and draws those of the first column as bars.

    Args:
        rows: what `measure` returned.
        title: of the picture, such as the data and its part.
    """
    print(table(rows, distortions, columns))
    main = columns[0]
    before = [rows[each.name].get(UNCHANGED, rows[UNCHANGED]) for each in distortions]
    draw_shares(
        [each.meaning for each in distortions],
        [main.factor * rows[each.name][main.key] for each in distortions],
        [main.factor * each[main.key] for each in before],
        png,
        title=f"{title}: {main.title} {main.shown(rows[UNCHANGED])}, and what distortions cost",
        name=main.title,
        places=main.places,
    )


def table(rows: dict, distortions: Sequence[Distortion], columns: Sequence[Column]) -> str:
    """Returns the scores as text. The last column is the share of the first score that is lost."""
    main = columns[0]
    meanings = {UNCHANGED: UNCHANGED, **{each.name: each.meaning for each in distortions}}
    width = max(map(len, meanings.values()))
    lines = [f"{'distortion':<{width}}" + "".join(f"{column.title:>10}" for column in columns) + "      lost"]
    for name, meaning in meanings.items():
        scores = rows[name]
        before = scores.get(UNCHANGED, rows[UNCHANGED])[main.key]
        lost = f"{1 - scores[main.key] / before:.1%}" if name != UNCHANGED and before else "-"
        cells = "".join(f"{column.shown(scores):>10}" for column in columns)
        lines.append(f"{meaning:<{width}}{cells}{lost:>10}")
    return "\n".join(lines)

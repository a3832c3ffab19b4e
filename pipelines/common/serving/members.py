"""Runs whose probabilities an export averages."""

import pathlib
from collections.abc import Callable, Sequence
from typing import TypeVar

from pipelines.common.errors import UserError
from pipelines.common.runs import Run

Trained = TypeVar("Trained")


def load_members(
    paths: Sequence[pathlib.Path],
    task: str,
    load: Callable[[Run], Trained],
    difference: Callable[[Trained, Trained], str | None],
) -> list[Trained]:
    """Returns the trained runs.

    Args:
        load: loads a run.
        difference: returns what the first run and another one do not share, such as "vocabularies differ"; None if they
            can be averaged.

    Raises:
        UserError: A run is not trained, or two cannot be averaged.
    """
    runs = [Run.open(path, task) for path in paths]
    members = [load(run) for run in runs]
    for run, member in zip(runs[1:], members[1:], strict=True):
        if found := difference(members[0], member):
            raise UserError(f"{runs[0].path} and {run.path} cannot be averaged: their {found}")
    return members

"""Which reviews train, and which are held out."""

import contextlib
import pathlib

import numpy as np

from pipelines.common.config import flag
from pipelines.common.data import sources
from pipelines.common.errors import UserError
from pipelines.sentiment.reviews import NAMED, Reviews
from pipelines.sentiment.text_options import TextOptions

# Where two runs read the same data, these say which reviews belong to which part of it.
SPLIT = ("group_column", "validation_share", "test_share", "split_seed")


def refuse_other_split(config: TextOptions, learned: TextOptions, what: str):
    """UserError when a run with the config `learned`, called `what` in the message, has read the same data as this
    config's, and other reviews of it were held out."""
    if not same_data(config.data, learned.data):
        return
    for field in SPLIT:
        if getattr(config, field) != getattr(learned, field):
            raise UserError(
                f"{flag(field)} is {getattr(config, field)!r}, but {getattr(learned, field)!r} in {what}, which has"
                " read the same data: it may have read what is held out here"
            )


def same_data(one: str, other: str) -> bool:
    """Whether two values of --data mean the same place, however they are written."""
    places = []
    for data in (one, other):
        place = data
        with contextlib.suppress(UserError):  # gone since: its name is all that is left
            place = sources.locate(data, "sentiment", NAMED)
        places.append(place.resolve() if isinstance(place, pathlib.Path) else place)
    return one == other or places[0] == places[1]


def split(reviews: Reviews, share: float, seed: int, where: str) -> tuple[Reviews, Reviews]:
    """(the rest, about `share` of the reviews): whole groups, drawn by the seed; neither side is empty."""
    groups = sorted(set(reviews.groups))
    if len(groups) < 2:
        raise UserError(f"--data {where} cannot be split: all {len(reviews)} training reviews belong to one group")
    sizes = dict.fromkeys(groups, 0)
    for group in reviews.groups:
        sizes[group] += 1
    chosen, taken = set(), 0
    for number in np.random.default_rng(seed).permutation(len(groups))[:-1]:
        if chosen and taken >= share * len(reviews):
            break
        chosen.add(groups[number])
        taken += sizes[groups[number]]
    rest, part = [], []
    for row, group in enumerate(reviews.groups):
        (part if group in chosen else rest).append(row)
    return reviews.take(rest), reviews.take(part)

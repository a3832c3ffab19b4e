"""Seeds for all that is random in a model."""

import itertools


class Seeds:
    """A new seed for every weight and every dropout, all from one; None: seeds of the global generator."""

    def __init__(self, seed: int | None):
        self.seeds = itertools.repeat(None) if seed is None else itertools.count(seed * 1000)

    def __call__(self) -> int | None:
        return next(self.seeds)

"""Seeds for the random numbers of a model."""

import itertools


class Seeds:
    """Returns a new seed at each call, all derived from one seed; None: seeds of the global generator."""

    def __init__(self, seed: int | None):
        self.seeds = itertools.repeat(None) if seed is None else itertools.count(seed * 1000)

    def __call__(self) -> int | None:
        return next(self.seeds)

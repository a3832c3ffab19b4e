"""How an export that writes sentences is told to decode, on the command line of every pipeline that has one."""

import dataclasses

from pipelines.common.config import flag
from pipelines.common.errors import UserError


@dataclasses.dataclass(frozen=True)
class Search:
    """What is not given is as the export does it by itself. With a temperature, or top_k, top_p or a seed, a sentence
    is drawn at random; else it is searched for.

    Raises:
        UserError: both are asked for, or a value is out of its range.
    """

    prefix: str = ""
    """How every answer begins: the decoder is given these true words and goes on alone (warm start)."""

    beam_size: int | None = None
    """Hypotheses kept, 1 without a length penalty for greedy; that of the run if not given."""

    length_penalty: float | None = None
    """Exponent a of the length penalty ((5 + length) / 6)^a that divides a score; that of the run if not given."""

    min_length: int | None = None
    """Fewest words (tokens of the vocabulary) of an answer."""

    max_length: int | None = None
    """Most words of an answer."""

    n_best: int = 1
    """Give this many candidates, best first."""

    temperature: float | None = None
    """Draw at random, from probabilities sharpened (below 1) or flattened (above 1)."""

    top_k: int | None = None
    """Draw at random, from this many of the likeliest words; 0: from all."""

    top_p: float | None = None
    """Draw at random, from the likeliest words that together have this probability."""

    seed: int | None = None
    """Draw at random, the same for the same seed."""

    def __post_init__(self):
        drawn = [name for name in ("temperature", "top_k", "top_p", "seed") if getattr(self, name) is not None]
        searched = [n for n in ("beam_size", "length_penalty", "min_length") if getattr(self, n) is not None]
        if self.n_best > 1:
            searched.append("n_best")
        if drawn and searched:
            raise UserError(f"{flag(drawn[0])} draws at random and {flag(searched[0])} searches: give one of them")
        at_least = {"beam_size": 1, "n_best": 1, "length_penalty": 0, "min_length": 0, "max_length": 1, "top_k": 0}
        for name, least in at_least.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"{flag(name)} is {value}, but must be at least {least}")
        if self.temperature is not None and self.temperature <= 0:
            raise UserError(f"--temperature is {self.temperature}, but must be greater than 0")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError(f"--top-p is {self.top_p}, but must be above 0 and at most 1")

    @property
    def samples(self) -> bool:
        return any(value is not None for value in (self.temperature, self.top_k, self.top_p, self.seed))

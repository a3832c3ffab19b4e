"""Options of decoding, as the signatures of an export and the command line take them."""

import dataclasses

from pipelines.common.config import check, check_at_least, flag
from pipelines.common.errors import UserError

# The options of the signatures `beam` and `sample`. A value here determines the dtype of the option, and applies if
# neither the caller nor the defaults of the export set it.
BEAM_OPTIONS = {"beam_size": 1, "length_penalty": 0.0, "min_length": 0, "max_length": 100}
SAMPLE_OPTIONS = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": 0, "max_length": 100}
ONLY_BEAM = [*(name for name in BEAM_OPTIONS if name not in SAMPLE_OPTIONS), "n_best"]
ONLY_SAMPLE = [name for name in SAMPLE_OPTIONS if name not in BEAM_OPTIONS]


@dataclasses.dataclass(frozen=True)
class DecodingOptions:
    """Options of decoding on the command line.

    With a temperature, top_k, top_p or a seed, sentences are sampled; otherwise beam search finds them. Options that
    are not given have the values of the export.

    Raises:
        UserError: Options of both are given, or a value is out of its range.
    """

    prefix: str = ""
    """The first words of every answer: the model continues from these (warm start)."""

    beam_size: int | None = None
    """Number of hypotheses; 1 without a length penalty is greedy search. Default: that of the run."""

    length_penalty: float | None = None
    """Exponent a of the length penalty ((5 + length) / 6)^a that divides a score. Default: that of the run."""

    min_length: int | None = None
    """Minimum number of words (tokens of the vocabulary) of an answer."""

    max_length: int | None = None
    """Maximum number of words of an answer."""

    n_best: int = 1
    """Number of candidates to return, best first."""

    temperature: float | None = None
    """Sample from probabilities that are sharpened (below 1) or flattened (above 1)."""

    top_k: int | None = None
    """Sample from this many of the most probable words; 0: from all."""

    top_p: float | None = None
    """Sample from the most probable words that together have this probability."""

    seed: int | None = None
    """Sample with this seed: the same seed returns the same answers."""

    def __post_init__(self):
        given = [f.name for f in dataclasses.fields(self) if getattr(self, f.name) not in (None, f.default)]
        sampling = [name for name in ONLY_SAMPLE if name in given]
        searching = [name for name in ONLY_BEAM if name in given]
        if sampling and searching:
            raise UserError(f"{flag(sampling[0])} samples and {flag(searching[0])} searches: give only one of them")
        limits = {"beam_size": 1, "n_best": 1, "length_penalty": 0, "min_length": 0, "max_length": 1, "top_k": 0}
        check_at_least(self, **{name: limit for name, limit in limits.items() if name in given})
        check(self, "temperature", self.temperature is None or self.temperature > 0, "greater than 0")
        check(self, "top_p", self.top_p is None or 0 < self.top_p <= 1, "above 0 and at most 1")

    @property
    def signature(self) -> str:
        """Returns the name of the signature that decodes: "beam" or "sample"."""
        return "sample" if any(getattr(self, name) is not None for name in ONLY_SAMPLE) else "beam"

    def values(self, defaults: dict) -> dict:
        """Returns the values of all options of the signature, from `defaults` those that are not given."""
        values = dict(BEAM_OPTIONS if self.signature == "beam" else SAMPLE_OPTIONS)
        for name, value in values.items():
            given = getattr(self, name)
            values[name] = type(value)(defaults.get(name, value) if given is None else given)
        if "beam_size" in values:
            values["beam_size"] = max(values["beam_size"], self.n_best)
        return values

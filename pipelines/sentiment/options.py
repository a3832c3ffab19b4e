"""Options of the commands evaluate, predict and generate."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pipelines.common.config import check_at_least
from pipelines.common.errors import UserError
from pipelines.common.named_runs import ExistingRun
from pipelines.common.serving.decoding_options import DecodingOptions


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Score a run on labelled reviews: a table, metrics.json, confusion_matrix.png and reliability.png."""

    run: ExistingRun
    """Run to score."""

    location: Annotated[str | None, tyro.conf.arg(name="data")] = None
    """Labelled reviews to score it on, all of a file; the data of the run if not given."""

    split: Literal["train", "validation", "test"] = "test"
    """Part of the data."""

    text_column: str | None = None
    """Column or field of the review; that of the run if not given."""

    label_column: str | None = None
    """Column or field of the label; that of the run if not given."""

    quoting: bool = False
    """Quotation marks enclose fields of tab-separated --data, even if they do not in the data of the run."""

    manual_dir: Path | None = None
    """Folder with the archive of a tfds: data set that was downloaded by hand."""

    @property
    def data_changes(self) -> dict:
        """The fields of the data group of the run that have other values, by name."""
        given = {name: value for name, value in vars(self).items() if name not in ("run", "split")}
        return {name: value for name, value in given.items() if value not in (None, False)}


@dataclasses.dataclass(frozen=True)
class Predict:
    """Label texts with an export: a JSON object in each line."""

    input: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(name="INPUT")]
    """Texts; - reads the lines of standard input."""

    model: ExistingRun
    """Run, or an export. The export of a run is made when it is first used."""

    picture: Path | None = None
    """Draw each text with the probability and the gates over its words into this PNG file."""

    def __post_init__(self):
        if not self.input:
            raise UserError("predict needs INPUT: texts, or - for the lines of standard input")


@dataclasses.dataclass(frozen=True)
class Generate:
    """Generate texts with a language model, from a prefix: a JSON object in each line."""

    run: ExistingRun
    """Run of pretrain, or its export, which is made when it is first used."""

    prefix: str = ""
    """How the text begins (warm start)."""

    number: int = 1
    """Number of texts, with consecutive seeds."""

    temperature: float = 1.0
    """Divides the logits: below 1 probable words become more probable, above 1 less."""

    top_k: int = 0
    """Sample from this many most probable words. 0: from all."""

    top_p: float = 1.0
    """Sample from the fewest most probable words that together have this probability. 1: from all."""

    seed: int = 0
    """Seed of the sampling: the same seed gives the same text."""

    max_length: int | None = None
    """Maximum number of words of a text, the prefix included; that of the run if not given."""

    def __post_init__(self):
        check_at_least(self, number=1)

    @property
    def decoding(self) -> DecodingOptions:
        """How the words are sampled."""
        return DecodingOptions(**{name: value for name, value in vars(self).items() if name not in ("run", "number")})

"""Options of the commands evaluate and predict."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from pipelines.common.errors import UserError
from pipelines.common.named_runs import ExistingRun
from pipelines.common.options import check_beam_sizes
from pipelines.common.serving.decoding_options import DecodingOptions


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Score a run on images with captions: a table, metrics.json, captions.tsv and contact_sheet.png."""

    run: ExistingRun
    """The run to score."""

    data: str | None = None
    """Images with captions to score it on, a captions file as a whole; the data of the run if not given."""

    split: str = "test"
    """The part of the data: train, validation, test, or NAME of a file captions_NAME."""

    quoting: bool = False
    """Quotation marks enclose fields of tab-separated --data, even if they do not in the data of the run."""

    beam_size: tuple[int, ...] = (1, 3, 5)
    """Number of hypotheses of the beam search; 1 without a length penalty is greedy search. Several are compared."""

    length_penalty: float | None = None
    """Exponent a of the length penalty ((5 + length) / 6)^a that divides a score; as in the run if not given."""

    robust: bool = False
    """Also score distorted images, with the last beam size: a second table, and robustness.png."""

    def __post_init__(self):
        check_beam_sizes(self.beam_size)


@dataclasses.dataclass(frozen=True)
class Predict:
    """Caption images with an export: prints one JSON object per image."""

    input: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(name="INPUT")]
    """JPEG and PNG files, folders of them, patterns such as 'holiday/*.jpg'; - reads these from standard input, one
    per line."""

    model: ExistingRun
    """Run, or an export. The export of a run is made when it is first used."""

    search: tyro.conf.OmitArgPrefixes[DecodingOptions] = dataclasses.field(default_factory=DecodingOptions)
    """Beam search, or sampling with any of --temperature, --top-k, --top-p and --seed."""

    picture: Path | None = None
    """Draw the images with their captions to this PNG file; with attention, where the model looked for each word."""

    def __post_init__(self):
        if not self.input:
            raise UserError("predict needs INPUT: images, folders or patterns, or - for the lines of standard input")

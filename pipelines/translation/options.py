"""Options of the commands evaluate, export and predict."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from pipelines.common import options
from pipelines.common.errors import UserError
from pipelines.common.named_runs import ExistingRun
from pipelines.common.serving.decoding_options import DecodingOptions


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Evaluate a run: prints a table, writes metrics.json, translations.tsv and bleu_by_length.png."""

    run: ExistingRun
    """Run to evaluate."""

    data: str | None = None
    """Sentence pairs to evaluate on, a table as a whole. Default: the data of the run."""

    split: str = "test"
    """Part of the data: train, validation, test, or the beginning of a file name, such as test_2016_flickr."""

    quoting: bool = False
    """Quotation marks enclose fields of tab-separated --data, even if they do not in the data of the run."""

    beam_size: tuple[int, ...] = ()
    """Number of hypotheses; 1 without a length penalty is greedy search. Several values (1 2 5 12) are compared.
    Default: that of the run."""

    length_penalty: float | None = None
    """Exponent a of the length penalty ((5 + length) / 6)^a that divides a score. Default: that of the run."""

    replace_unknown: bool | None = None
    """Replace an unknown word by the source word that the decoder attends to most. Default: as in the run."""

    robust: bool = False
    """Also score sentences as people type them, with the last beam size: a second table, and robustness.png."""

    def __post_init__(self):
        options.check_beam_sizes(self.beam_size)


@dataclasses.dataclass(frozen=True)
class Export(options.Export):
    """Export a run as a SavedModel, or for LiteRT or ONNX; several runs, as one that averages their probabilities."""

    replace_unknown: bool | None = None
    """Replace an unknown word by the source word that the decoder attends to most. Default: as in the first run."""

    def __post_init__(self):
        super().__post_init__()
        if self.format != options.SAVED_MODEL and self.replace_unknown is not None:
            raise UserError(f"--replace-unknown is for a SavedModel: {self.format} has no text")


@dataclasses.dataclass(frozen=True)
class Predict:
    """Translate sentences with an export; prints one JSON object per line."""

    input: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(name="INPUT")]
    """Sentences; - reads lines from standard input."""

    model: ExistingRun
    """Run, or an export. The export of a run is made when it is first used."""

    search: tyro.conf.OmitArgPrefixes[DecodingOptions] = dataclasses.field(default_factory=DecodingOptions)
    """Beam search, or sampling with any of --temperature, --top-k, --top-p and --seed."""

    picture: Path | None = None
    """PNG file for a picture of each translation, and of three or more sentences a map."""

    def __post_init__(self):
        if not self.input:
            raise UserError("predict needs INPUT: sentences, or - for the lines of standard input")

"""Options of the commands that all pipelines have in common. Those of a pipeline are in its own options.py."""

import dataclasses
import pathlib
from typing import Final, Literal

from pipelines.common.errors import UserError
from pipelines.common.named_runs import ExistingRun

SAVED_MODEL: Final = "saved_model"


@dataclasses.dataclass(frozen=True)
class Export:
    """Export a run as a SavedModel, or for LiteRT or ONNX; several runs, as one that averages their probabilities."""

    run: tuple[ExistingRun, ...]
    """Run, or several runs with the same vocabulary and labels."""

    to: pathlib.Path | None = None
    """Folder of the export. Default: in the folder of the first run, export/ or such as export-litert-int8/."""

    format: Literal["saved_model", "litert", "onnx"] = SAVED_MODEL
    """A SavedModel, or the numeric functions of the model for another runtime, see docs/devices.md."""

    weights: Literal["float32", "float16", "int8"] = "float32"
    """Format of the weights, for litert and onnx."""

    def __post_init__(self):
        if not self.run:
            raise UserError("export needs --run DIR: a trained run")
        if self.format == SAVED_MODEL and self.weights != "float32":
            raise UserError(f"--weights {self.weights} is for litert and onnx: expected --format with one of them")

    @property
    def folder(self) -> pathlib.Path:
        """The folder of the export: `to`, or one in that of the first run."""
        names = ["export"]
        if self.format != SAVED_MODEL:
            names += [self.format, *([self.weights] if self.weights != "float32" else [])]
        return self.to or self.run[0] / "-".join(names)


@dataclasses.dataclass(frozen=True)
class Release:
    """Write a small, documented folder of a finished run, which is a run like any other."""

    run: ExistingRun
    """Run that was trained."""

    to: pathlib.Path | None = None
    """Folder of the release, new or empty. Default: that of the run, with -release added to its name."""

    weights: Literal["int8", "float16", "float32"] = "int8"
    """Format of the weights: rounded to int8, with a scale for each output channel, to float16, or as they are."""

    split: str = "test"
    """Part of the data of the run that both the run and the release are evaluated on."""

    base_data: bool = False
    """Evaluate a fine-tuned run on the data of the run that it started from, and describe it by them."""

    limits: pathlib.Path | None = None
    """Text file (Markdown) with limits and known faults, for README.md of the release."""

    @property
    def folder(self) -> pathlib.Path:
        """The folder of the release: `to`, or one beside the run."""
        run = self.run if self.run.name not in ("", "..") else self.run.resolve()
        return self.to or run.with_name(f"{run.name}-release")


def check_beam_sizes(sizes: tuple[int, ...]):
    """Raises UserError for a beam size below 1."""
    if any(size < 1 for size in sizes):
        raise UserError(f"--beam-size is {min(sizes)}, but must be at least 1")

"""Options of the commands evaluate and predict."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pipelines.common.errors import UserError
from pipelines.common.named_runs import ExistingRun


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Score a run on labelled videos: a table, metrics.json, confusion_matrix.png and timelines.png."""

    run: ExistingRun
    """The run to score."""

    beside: tuple[ExistingRun, ...] = ()
    """Other runs, such as a baseline with --cell none, to score and show beside it."""

    average: bool = False
    """Also score the average of the probabilities of all these runs, written to average.json of the first."""

    data: str | None = None
    """Labelled videos to score it on, as a whole if they have no parts; the data of the run if not given."""

    split: Literal["train", "validation", "test"] = "test"
    """The part of the data."""

    annotations: Literal["labels.csv", "segments.csv", "sequences.csv", "groundTruth"] | None = None
    """Which label file of the data to read; as in the run if not given."""

    background: str | None = None
    """Label of frames that no segment covers; as in the run if not given."""

    features_split: int | None = None
    """Number of the split of features, as in splits/test.split1.bundle; as in the run if not given."""

    filter: int | None = None
    """Number of frames of the majority filter, odd; as in the run if not given."""

    manual_dir: Path | None = None
    """Folder with the archive of a tfds: data set that was downloaded by hand."""

    robust: bool = False
    """Also score distorted videos or features: a table, and robustness.png."""

    @property
    def changes(self) -> dict:
        """The fields of the configuration of the runs that have other values, by name."""
        names = ("annotations", "background", "features_split", "filter", "manual_dir")
        given = {name: getattr(self, name) for name in names} | {"location": self.data or None}
        return {name: value for name, value in given.items() if value is not None}


@dataclasses.dataclass(frozen=True)
class Predict:
    """Label the frames of videos with an export: prints one JSON object per video."""

    input: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(name="INPUT")]
    """Video files and folders of JPEG or PNG frames, or .npy files for a model of features; - reads their names from
    standard input, one per line."""

    model: ExistingRun
    """Run, or an export. The export of a run is made when it is first used."""

    picture: Path | None = None
    """Draw the labels over time, below a strip of frames, to this PNG file."""

    video: Path | None = None
    """Write the video, with the labels in the picture, to this file (.mp4, .mkv or .mov)."""

    folder_fps: float = 25.0
    """Frames per second at which the pictures of a folder were taken."""

    def __post_init__(self):
        if not self.input:
            raise UserError(
                "predict needs INPUT: video files or folders of frames, or - for the lines of standard input"
            )
        if not 0.01 <= self.folder_fps <= 1000:
            raise UserError(f"--folder-fps is {self.folder_fps}, but must be from 0.01 to 1000")

"""Everything a video run can be told, and the presets. A default is written here and nowhere else."""

import dataclasses
import pathlib
from typing import Literal

import tyro

from pipelines.common.config import check, from_json
from pipelines.common.training.options import TrainingOptions


@dataclasses.dataclass(frozen=True)
class Config:
    """What to train on, how to read it, the model, and its training."""

    data: str = "sample"
    """Where the clips are: sample, a folder or its label file, tfds:NAME, or a public set by
    name (data/README.md)."""

    run: pathlib.Path = pathlib.Path("saved_models/video/sample")
    """The folder of the run: config, labels, weights, scores."""

    manual_dir: pathlib.Path | None = None
    """Folder with the archive of a tfds: data set that was fetched by hand."""

    annotations: Literal["", "labels.csv", "segments.csv", "sequences.csv"] = ""
    """Which label file of the folder to read; empty: the only one there is."""

    background: str = ""
    """Label of frames that no segment covers; it does not count in the edit score and F1. Empty: there is none."""

    label_names: tuple[str, ...] = ()
    """The labels in their order; empty: those of the data by the alphabet."""

    fps: float = 0.0
    """Frames a second that are read; 0: the file's own."""

    folder_fps: float = 25.0
    """Frames a second at which the pictures of a clip that is a folder were taken."""

    validation_share: float = 0.1
    """Share of the training videos split off for validation, where the data has no validation part of its own."""

    test_share: float = 0.1
    """Share of the videos split off for the test, where the data has no test part of its own."""

    split_by: Literal["auto", "group", "clip"] = "auto"
    """What stays on one side of such a split: the videos of a group, or only each clip; auto: the group where the data
    has the column."""

    split_seed: int = 1
    """Seed of these splits; the same for runs that are compared, whatever their --seed."""

    encoder: Literal["mobilenet_v2", "inception_v3", "efficientnet_b0", "resnet50", "small"] = "mobilenet_v2"
    """The convolutional network that sees each frame."""

    encoder_weights: str = "imagenet"
    """Its weights: imagenet, a file .weights.h5, or none to train it from nothing."""

    train_encoder: bool = False
    """Train it with the rest; else it stays as it is, and its features are computed once and kept in --cache."""

    encoder_first: str = ""
    """Name of the first of its layers that is trained, such as block_13_expand; empty: all are."""

    image_size: int = 160
    """Side of the square that frames are scaled to, in pixels."""

    fit: Literal["squeeze", "crop"] = "squeeze"
    """Squeeze all of a frame into the square, or take the largest square from its middle."""

    cache: pathlib.Path = pathlib.Path("saved_models/video/cache")
    """Folder of the computed features."""

    projection: int = 128
    """Units of a linear map of the features, before the recurrent layers; 0: none."""

    deltas: float = 0.0
    """Give the recurrent layers each frame's change since the frame before as well, times this factor (delta features,
    Furui 1986); 0: the frame alone."""

    cell: Literal["lstm", "rnn", "none"] = "lstm"
    """The recurrent layer: LSTM, or the vanilla RNN with its own output map; none labels each frame by itself."""

    units: int = 128
    """Units of a recurrent layer, in each direction."""

    layers: int = 1
    """Recurrent layers on top of each other."""

    bidirectional: bool = False
    """Read the video from its end as well: for files, not for live streams."""

    shift: float = 0.0
    """With --train-encoder: all frames of a video are moved up or down and sideways by up to this share of a side."""

    shuffle_colours: bool = False
    """With --train-encoder: the colour channels of a video are exchanged at random, so that colour tells nothing."""

    feature_dropout: float = 0.3
    """Share of a frame's features dropped, the same ones in all frames of a video."""

    recurrent_dropout: float = 0.0
    """Share of the state's units dropped on the way to the next frame, the same ones at every step."""

    dropout: float = 0.3
    """Share of units dropped between recurrent layers and before the softmax."""

    smoothing: float = 0.0
    """Weight of the truncated mean squared difference of neighbouring frames' log-probabilities in the loss
    (Farha & Gall 2019, with 0.15)."""

    class_weights: bool = False
    """Weigh each frame by how rare its label is, so that all labels count the same."""

    k1: int = 0
    """Truncated back-propagation through time: an update every k1 frames, the state carried on; 0: whole videos."""

    k2: int = 0
    """Frames that the gradient reaches back, at least k1; 0: k1."""

    batch_videos: int = 8
    """Most videos in a batch."""

    batch_frames: int = 2_000
    """Most frames in a batch, padding included: long videos come in smaller batches."""

    filter: int = 9
    """Frames over which evaluate takes the most frequent label, for the scores it gives beside the plain ones; odd."""

    base: tyro.conf.Suppress[pathlib.Path | None] = None
    """The run that fine-tuning starts from; set by the command fine-tune."""

    training: tyro.conf.OmitArgPrefixes[TrainingOptions] = dataclasses.field(default_factory=TrainingOptions)
    """The training loop."""

    def __post_init__(self):
        for field in ("validation_share", "test_share", "feature_dropout", "recurrent_dropout", "dropout"):
            check(self, field, 0 <= getattr(self, field) < 1, "at least 0 and below 1")
        for field in ("image_size", "units", "layers", "batch_videos", "batch_frames"):
            check(self, field, getattr(self, field) >= 1, "at least 1")
        for field in ("split_seed", "projection", "deltas", "smoothing", "k1"):
            check(self, field, getattr(self, field) >= 0, "at least 0")
        check(self, "fps", self.fps == 0 or 0.01 <= self.fps <= 1000, "0 or from 0.01 to 1000")
        check(self, "folder_fps", 0.01 <= self.folder_fps <= 1000, "from 0.01 to 1000")
        check(self, "filter", self.filter >= 1 and self.filter % 2 == 1, "odd and at least 1")
        names = self.label_names
        check(self, "label_names", len(names) != 1 and len(set(names)) == len(names), "two or more, each once")
        check(self, "k2", self.k1 or not self.k2, "0 without --k1")
        check(self, "k2", self.k2 == 0 or self.k2 >= self.k1, f"0, or at least --k1, {self.k1}")
        check(
            self, "k1", not (self.k1 and self.bidirectional), "0 with --bidirectional: a state is carried forward only"
        )
        check(self, "bidirectional", not (self.bidirectional and self.cell == "none"), "False with --cell none")
        learns = self.train_encoder or self.encoder_weights != "none" or self.base is not None
        check(self, "encoder_weights", learns, "imagenet or a file, as the encoder is not trained (--train-encoder)")
        check(self, "shift", 0 <= self.shift < 0.5, "at least 0 and below 0.5")
        check(self, "encoder_first", self.train_encoder or not self.encoder_first, "empty without --train-encoder")

    @classmethod
    def from_json(cls, stored: dict) -> "Config":
        """The config that a run's config.json holds; UserError when a field is missing, unknown or of no use."""
        return from_json(cls, stored)

    def for_fine_tuning(self, base: pathlib.Path) -> "Config":
        """What fine-tuning from the run `base` of this config does unless told otherwise: the same, without what is
        about the run's data."""
        about_data = ("manual_dir", "annotations", "background", "label_names", "split_by", "class_weights")
        fresh = {field.name: field.default for field in dataclasses.fields(self) if field.name in about_data}
        return dataclasses.replace(self, base=base, run=base.with_name(f"{base.name}-finetuned"), **fresh)


# A preset promises its command, hardware, time and score: README.md has what was measured.
PRESETS: dict[str, tuple[str, Config]] = {
    "sample": (
        "The embedded sample of moving shapes: 74 s on two cores, 99.4 % of the test's frames.",
        Config(
            data="sample",
            run=pathlib.Path("saved_models/video/sample"),
            encoder="small",
            encoder_weights="none",
            train_encoder=True,
            image_size=48,
            # A narrow map and changed colours, so that what a thing is does not tell what it does; and the change of
            # each frame, as a movement is a few hundredths of a picture.
            projection=16,
            deltas=10.0,
            units=64,
            # The second layer, and the loss's smoothing term, make segments of what the first one sees in frames.
            layers=2,
            smoothing=0.15,
            bidirectional=True,
            shift=0.08,
            shuffle_colours=True,
            feature_dropout=0.0,
            dropout=0.1,
            batch_videos=4,
            filter=3,
            training=TrainingOptions(epochs=24, learning_rate=2e-3, schedule="linear", ema=0.99),
        ),
    ),
    "fight": (
        "Surveillance clips joined to sequences, fight or no fight in each frame, split by source video.",
        Config(
            data="fight",
            run=pathlib.Path("saved_models/video/fight"),
            annotations="sequences.csv",
            validation_share=0.2,
            units=64,
            projection=64,
            feature_dropout=0.5,
            dropout=0.5,
            filter=15,
            training=TrainingOptions(epochs=30, learning_rate=1e-3, schedule="linear", weight_decay=1e-2,
                                     optimizer="adamw"),
        ),
    ),
}  # fmt: skip

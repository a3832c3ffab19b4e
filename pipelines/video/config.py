"""The configuration of a video run. A default is written here and nowhere else."""

import dataclasses
import pathlib
from typing import Literal

import tyro

from pipelines.common import config
from pipelines.common.config import check, check_at_least, check_shares, fine_tuned, reset
from pipelines.common.training.options import TrainingOptions


@dataclasses.dataclass(frozen=True)
class DataConfig(config.DataConfig):
    """Which videos to train on, how to split and read them, and how many are in a batch."""

    annotations: Literal["", "labels.csv", "segments.csv", "sequences.csv", "groundTruth"] = ""
    """Which label file of the folder to read, or groundTruth for features in the layout of MS-TCN; empty: the only one
    there is."""

    background: str = ""
    """Label of frames that no segment covers; it does not count in the edit score and F1. Empty: no such label."""

    label_names: tuple[str, ...] = ()
    """The labels in the order of their ids; empty: those of mapping.txt, or of the data in alphabetical order."""

    fps: float = 0.0
    """Frames per second that are read; 0: the frame rate of the file. With --encoder none, the rate at which the
    features were made."""

    features_split: int = 1
    """Number N of the split of features: splits/train.splitN.bundle and test.splitN.bundle."""

    group_prefix: int = 0
    """Number of characters at the start of the name of a features file that name its group, such as 3 for the person
    p01 of p01-2.npy; 0: no groups."""

    folder_fps: float = 25.0
    """Frames per second at which the pictures of a clip that is a folder were taken."""

    split_by: Literal["auto", "group", "clip"] = "auto"
    """The unit that such a split keeps whole: the videos of a group, or only each clip; auto: the group if the data has
    this column."""

    cache: pathlib.Path = pathlib.Path("saved_models/video/cache")
    """Folder of the computed features, for all runs."""

    batch_videos: int = 8
    """Maximum number of videos in a batch."""

    batch_frames: int = 2_000
    """Maximum number of frames in a batch, padding included: long videos come in smaller batches."""

    def __post_init__(self):
        super().__post_init__()
        check_at_least(self, batch_videos=1, batch_frames=1, features_split=1, group_prefix=0)
        check(self, "fps", self.fps == 0 or 0.01 <= self.fps <= 1000, "0 or from 0.01 to 1000")
        check(self, "folder_fps", 0.01 <= self.folder_fps <= 1000, "from 0.01 to 1000")
        names = self.label_names
        check(self, "label_names", len(names) != 1 and len(set(names)) == len(names), "two or more, each once")


@dataclasses.dataclass(frozen=True)
class FramesConfig:
    """How frames become pixels."""

    image_size: int = 160
    """Height and width that frames are scaled to, in pixels."""

    fit: Literal["squeeze", "crop"] = "squeeze"
    """Squeeze the whole frame into a square, or take the largest square from its middle."""

    def __post_init__(self):
        check_at_least(self, image_size=1)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The architecture."""

    encoder: Literal["mobilenet_v2", "inception_v3", "efficientnet_b0", "resnet50", "small", "none"] = "mobilenet_v2"
    """The convolutional network that turns each frame into features; none: the data are features."""

    encoder_weights: str = "imagenet"
    """Its initial weights: imagenet, a file .weights.h5, or none for random ones."""

    standardize: Literal["none", "data", "video"] = "none"
    """Standardise each feature by its mean and standard deviation over all training frames (data), or over the frames
    of each video (video), which removes what is constant in a video, such as its background."""

    projection: int = 128
    """Units of a linear projection of the features, before the recurrent layers; 0: no projection."""

    deltas: float = 0.0
    """Append to each frame its difference from the frame before, times this factor (delta features, Furui 1986);
    0: only the frame itself."""

    cell: Literal["lstm", "rnn", "none"] = "lstm"
    """The recurrent layer: LSTM, or the vanilla RNN with its own output map; none: each frame by itself."""

    units: int = 128
    """Units of a recurrent layer, in each direction."""

    layers: int = 1
    """Number of recurrent layers."""

    bidirectional: bool = False
    """Read the video from its end as well: for files, not for live streams."""

    pool: int = 1
    """Frames that are averaged to one step of the recurrent layers; all of them get its label. 1: each frame is a
    step."""

    refinement: int = 0
    """Units, in each direction, of a second stage that reads the probabilities of the first, as the later stages of
    MS-TCN do; 0: no second stage."""

    def __post_init__(self):
        check_at_least(self, units=1, layers=1, projection=0, deltas=0, pool=1, refinement=0)
        check(self, "bidirectional", not (self.bidirectional and self.cell == "none"), "False with --cell none")
        streams = self.pool > 1 and not self.bidirectional
        check(self, "pool", not streams, "1 without --bidirectional: a stream gets the label of each frame at once")
        whole = self.standardize != "video" or self.bidirectional
        check(self, "standardize", whole, "none or data without --bidirectional: a stream has no end")
        check(self, "refinement", self.bidirectional or not self.refinement, "0 without --bidirectional")


@dataclasses.dataclass(frozen=True)
class RegularizationConfig:
    """Regularization: frozen layers of the encoder, augmentation and dropout."""

    train_encoder: bool = False
    """Train the encoder as well; otherwise it stays frozen, and its features are computed once and stored in
    --cache."""

    encoder_first: str = ""
    """Name of the first layer of the encoder that is trained, such as block_13_expand; empty: all are."""

    shift: float = 0.0
    """With --train-encoder: the frames of a video are moved vertically and horizontally by up to this share of a
    side."""

    shuffle_colours: bool = False
    """With --train-encoder: the colour channels of a video are permuted at random, so that colour is not a cue."""

    feature_noise: float = 0.0
    """Standard deviation of the Gaussian noise that is added to each feature of each frame, after standardisation."""

    feature_dropout: float = 0.3
    """Share of the features that is dropped, the same ones in all frames of a video."""

    recurrent_dropout: float = 0.0
    """Share of the units of the state that is dropped, the same ones at every time step."""

    dropout: float = 0.3
    """Share of units dropped between recurrent layers and before the softmax (with --cell rnn only between layers: its
    output map is part of the last one)."""

    def __post_init__(self):
        check_shares(self, "feature_dropout", "recurrent_dropout", "dropout")
        check_at_least(self, feature_noise=0)
        check(self, "shift", 0 <= self.shift < 0.5, "at least 0 and below 0.5")
        check(self, "encoder_first", self.train_encoder or not self.encoder_first, "empty without --train-encoder")


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """The loss."""

    smoothing: float = 0.0
    """Weight of the truncated mean squared difference of neighbouring frames' log-probabilities in the loss
    (Farha & Gall 2019, with 0.15)."""

    class_weights: bool = False
    """Weight each frame inversely to the frequency of its label, so that all labels count the same."""

    def __post_init__(self):
        check_at_least(self, smoothing=0)


@dataclasses.dataclass(frozen=True)
class TBPTTConfig:
    """Truncated back-propagation through time."""

    k1: int = 0
    """Frames between two updates; the state is carried over. 0: back-propagate through whole videos."""

    k2: int = 0
    """Frames that the gradient reaches back, at least k1; 0: k1."""

    def __post_init__(self):
        check_at_least(self, k1=0)
        check(self, "k2", self.k1 > 0 or self.k2 == 0, "0 without --k1")
        check(self, "k2", self.k2 == 0 or self.k2 >= self.k1, f"0, or at least --k1, {self.k1}")


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation."""

    monitor: Literal["accuracy", "balanced_accuracy", "f1_50", "none"] = "accuracy"
    """Validation score of the epoch whose weights are kept; none: those of the last epoch are, and the data needs no
    validation part (--validation-share 0)."""

    filter: int = 9
    """Number of frames of the majority filter, odd: evaluate also scores the labels that it has smoothed."""

    def __post_init__(self):
        check(self, "filter", self.filter >= 1 and self.filter % 2 == 1, "odd and at least 1")


@dataclasses.dataclass(frozen=True)
class Config:
    """The configuration of a video run."""

    run: pathlib.Path = pathlib.Path("saved_models/video/sample")
    """The folder of the run: configuration, labels, weights, scores."""

    base: tyro.conf.Suppress[pathlib.Path | None] = None
    """The run that fine-tuning starts from; set by the command fine-tune."""

    data: tyro.conf.OmitArgPrefixes[DataConfig] = DataConfig()
    frames: tyro.conf.OmitArgPrefixes[FramesConfig] = FramesConfig()
    model: tyro.conf.OmitArgPrefixes[ModelConfig] = ModelConfig()
    regularization: tyro.conf.OmitArgPrefixes[RegularizationConfig] = RegularizationConfig()
    loss: tyro.conf.OmitArgPrefixes[LossConfig] = LossConfig()
    tbptt: tyro.conf.OmitArgPrefixes[TBPTTConfig] = TBPTTConfig()
    evaluation: tyro.conf.OmitArgPrefixes[EvaluationConfig] = EvaluationConfig()
    training: tyro.conf.OmitArgPrefixes[TrainingOptions] = TrainingOptions()

    def __post_init__(self):
        forward_only = not (self.tbptt.k1 and self.model.bidirectional)
        check(self.tbptt, "k1", forward_only, "0 with --bidirectional: a state is only carried forward")
        features, trained = self.model.encoder == "none", self.regularization.train_encoder
        has_weights = features or trained or self.base is not None or self.model.encoder_weights != "none"
        expected = "imagenet or a file, as the encoder is not trained (--train-encoder)"
        check(self.model, "encoder_weights", has_weights, expected)
        rate = "the frames per second of the features, with --encoder none"
        check(self.data, "fps", self.data.fps > 0 or not features, rate)
        check(self.regularization, "train_encoder", not (features and trained), "False with --encoder none")
        changes = "none with --train-encoder, which changes the features"
        check(self.model, "standardize", self.model.standardize == "none" or not trained, changes)
        endless = self.training.patience and self.evaluation.monitor == "none"
        check(self.training, "patience", not endless, "0 with --monitor none")

    def for_fine_tuning(self, base: pathlib.Path) -> "Config":
        """Returns the defaults for fine-tuning from the run `base` of this configuration: the same, except for what
        depends on the data."""
        data = reset(self.data, "manual_dir", "annotations", "background", "label_names", "split_by")
        return fine_tuned(self, base, data=data, loss=reset(self.loss, "class_weights"))

"""Everything a captioning run can be told, and the presets. A default is written here and nowhere else."""

import dataclasses
import pathlib
from typing import Literal

import tyro

from pipelines.common.config import check, from_json
from pipelines.common.errors import UserError
from pipelines.common.training.options import TrainingOptions


@dataclasses.dataclass(frozen=True)
class Config:
    """What to train on, how to read images and captions, the model, its training, and how it searches for a caption."""

    data: str = "sample"
    """Where images and captions are: sample, a folder, a captions file, tfds:NAME, or a public set by
    name (data/README.md)."""

    run: pathlib.Path = pathlib.Path("saved_models/captioning/sample")
    """The folder of the run: config, vocabulary, weights, scores."""

    cache: pathlib.Path = pathlib.Path("saved_models/captioning/cache")
    """The folder where features of images are kept, for all runs."""

    manual_dir: pathlib.Path | None = None
    """Folder with the archive of a tfds: data set that was fetched by hand."""

    validation_share: float = 0.05
    """Share of the training images split off for validation, where the data has no such part of its own."""

    test_share: float = 0.05
    """Share of the training images split off for the test, where the data has neither a test nor a validation part."""

    split_seed: int = 1
    """Seed of these splits; the same for runs that are compared or averaged, whatever their --seed."""

    encoder: Literal["mobilenet_v2", "inception_v3", "efficientnet_b0", "resnet50", "small", "peaks"] = "mobilenet_v2"
    """The CNN that turns an image into features: one of keras.applications, or a small one for small pictures: small or
    peaks."""

    weights: str = "imagenet"
    """What the CNN knows beforehand: imagenet, none, or the path of a file .weights.h5."""

    image_size: int = 224
    """Height and width, in pixels, that the CNN is given."""

    fit: Literal["squeeze", "crop"] = "squeeze"
    """How an image becomes a square: squeezed, so that all of it is seen, or cropped to its middle."""

    pixel_limit: int = 50_000_000
    """Most pixels of an image; one that has more is left out before it is decoded."""

    augment: float = 0.0
    """Training moves every image by up to this share of its side, and changes its brightness by as much; 0: neither.
    With --finetune-cnn-after it begins with that epoch; else the CNN reads the images in every epoch, not once."""

    finetune_cnn_after: int | None = None
    """Epochs after which the CNN is trained, too, at its own rate; 0: from the beginning; None: never."""

    cnn_learning_rate: float = 3e-5
    """The highest learning rate of the CNN, on the schedule of the others."""

    finetune_cnn_from: str | None = None
    """The first layer of the CNN that is trained, such as block_13_expand; None: all are."""

    vocabulary: int = 30_000
    """Most words of the vocabulary, padding and the unknown word included."""

    min_count: int = 5
    """Words that occur less often in the training captions are unknown."""

    max_tokens: int = 40
    """Most words of a caption: training leaves longer ones out and says how many, and none longer is written."""

    max_characters: int = 1_000
    """Characters read of a caption, before it is split."""

    image: Literal["first", "state", "merge"] = "first"
    """How the decoder is given the image: once, before the first word (Vinyals et al. 2015); as the state it starts
    from; or merged with what it gives to the softmax (Tanti et al. 2017)."""

    cell: Literal["lstm", "rnn"] = "lstm"
    """The recurrent layer: LSTM, or the vanilla RNN."""

    layers: int = 1
    """Recurrent layers of the decoder."""

    units: int = 512
    """Units of a recurrent layer."""

    embedding_units: int = 512
    """Units of a word's vector."""

    tied: bool = True
    """The softmax shares its weights with the words' vectors (Press & Wolf 2017)."""

    dropout: float = 0.3
    """Share of units dropped: of the image's features, between layers and before the softmax."""

    embedding_dropout: float = 0.3
    """Share of the units of each word's vector dropped."""

    label_smoothing: float = 0.0
    """Share of a target's probability spread over the vocabulary."""

    batch_pairs: int = 128
    """Most captions in a batch, each with the features of its image."""

    batch_images: int = 32
    """Images in a batch, each with all its captions, where the CNN reads them in training."""

    monitor: Literal["cider", "bleu4", "exact_match", "perplexity"] = "cider"
    """Which validation score chooses the best weights; the first three are of greedy captions."""

    beam_size: int = 3
    """Hypotheses that the export keeps unless told otherwise."""

    length_penalty: float = 0.0
    """Exponent a of the length penalty ((5 + length) / 6)^a that divides a hypothesis's score (Wu et al. 2016): 0 for
    none, larger for longer ones."""

    base: tyro.conf.Suppress[pathlib.Path | None] = None
    """The run that fine-tuning starts from; set by the command fine-tune."""

    training: tyro.conf.OmitArgPrefixes[TrainingOptions] = dataclasses.field(default_factory=TrainingOptions)
    """The training loop."""

    def __post_init__(self):
        for field in ("validation_share", "test_share", "label_smoothing", "dropout", "embedding_dropout"):
            check(self, field, 0 <= getattr(self, field) < 1, "at least 0 and below 1")
        check(self, "augment", 0 <= self.augment <= 0.5, "from 0 to 0.5")
        for field in (
            "image_size", "pixel_limit", "max_tokens", "max_characters", "min_count", "layers", "units",
            "embedding_units", "batch_pairs", "batch_images", "beam_size",
        ):  # fmt: skip
            check(self, field, getattr(self, field) >= 1, "at least 1")
        for field in ("split_seed", "length_penalty"):
            check(self, field, getattr(self, field) >= 0, "at least 0")
        check(self, "vocabulary", self.vocabulary >= 5, "at least 5: four are reserved")
        check(self, "cnn_learning_rate", self.cnn_learning_rate > 0, "greater than 0")
        after, epochs = self.finetune_cnn_after, self.training.epochs
        good = after is None or 0 <= after < epochs
        check(self, "finetune_cnn_after", good, f"None, or from 0 to below --epochs, {epochs:g}")
        if after is not None and self.training.precision == "mixed_float16":
            raise UserError("--precision is mixed_float16, but a CNN that is trained needs float32 or mixed_bfloat16")
        if after is None and self.finetune_cnn_from:
            raise UserError(f"--finetune-cnn-from is {self.finetune_cnn_from}, but needs --finetune-cnn-after EPOCHS")

    @property
    def reading(self) -> dict:
        """How images and captions are read: what the preprocessing is told."""
        fields = ("image_size", "fit", "pixel_limit", "max_tokens", "max_characters")
        return {field: getattr(self, field) for field in fields}

    @classmethod
    def from_json(cls, stored: dict) -> "Config":
        """The config that a run's config.json holds; UserError when a field is missing, unknown or of no use."""
        return from_json(cls, stored)

    def for_fine_tuning(self, base: pathlib.Path) -> "Config":
        """What fine-tuning from the run `base` of this config does unless told otherwise: the same, on other data."""
        return dataclasses.replace(self, base=base, run=base.with_name(f"{base.name}-finetuned"), manual_dir=None)


# A preset promises its command, hardware, time and score: README.md has what was measured.
PRESETS: dict[str, tuple[str, Config]] = {
    "sample": (
        "The embedded sample, all of it from nothing: one minute on two cores, 95 % of its test right.",
        Config(
            data="sample",
            run=pathlib.Path("saved_models/captioning/sample"),
            encoder="peaks",
            weights="none",
            image_size=64,
            finetune_cnn_after=0,
            cnn_learning_rate=2.5e-3,
            min_count=1,
            image="state",
            units=128,
            embedding_units=64,
            dropout=0.0,
            embedding_dropout=0.0,
            monitor="exact_match",
            training=TrainingOptions(epochs=7, learning_rate=2.5e-3, schedule="linear"),
        ),
    ),
    "flickr8k": (
        "6,000 photos with five captions each, MobileNetV2 frozen: 20 minutes on two cores, BLEU-4 18.8.",
        Config(
            data="flickr8k",
            beam_size=5,
            length_penalty=1.0,
            run=pathlib.Path("saved_models/captioning/flickr8k"),
            dropout=0.5,
            embedding_dropout=0.3,
            training=TrainingOptions(epochs=15, learning_rate=1e-3, schedule="linear", ema=0.998),
        ),
    ),
}
PRESETS["flickr8k-tuned"] = (
    "The same, then its later half trained, too, and the image merged: 42 minutes, BLEU-4 21.1.",
    dataclasses.replace(
        PRESETS["flickr8k"][1],
        run=pathlib.Path("saved_models/captioning/flickr8k-tuned"),
        augment=0.1,
        finetune_cnn_after=4,
        finetune_cnn_from="block_13_expand",
        cnn_learning_rate=1e-4,
        image="merge",
        training=dataclasses.replace(PRESETS["flickr8k"][1].training, epochs=16),
    ),
)

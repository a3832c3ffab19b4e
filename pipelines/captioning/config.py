"""The configuration of a captioning run. A default is written here and nowhere else."""

import dataclasses
import pathlib
from typing import Literal

import tyro

from pipelines.common import config
from pipelines.common.config import SearchConfig, check, check_at_least, check_shares, fine_tuned, flag, reset
from pipelines.common.errors import UserError
from pipelines.common.training.options import TrainingOptions


@dataclasses.dataclass(frozen=True)
class DataConfig(config.DataConfig):
    """Images with captions: where they are, how they are split and batched."""

    cache: pathlib.Path = pathlib.Path("saved_models/captioning/cache")
    """Folder of the computed features of images, for all runs."""

    quoting: bool = False
    """Quotation marks enclose fields of tab-separated text, as they always do in CSV. Otherwise they are part of the
    text."""

    validation_share: float = 0.05
    test_share: float = 0.05

    batch_pairs: int = 128
    """Maximum number of captions in a batch, each with the features of its image."""

    batch_images: int = 32
    """Number of images in a batch, each with all of its captions, if the CNN runs during training or with --image
    attend."""

    def __post_init__(self):
        super().__post_init__()
        check_at_least(self, batch_pairs=1, batch_images=1)


@dataclasses.dataclass(frozen=True)
class ImagesConfig:
    """Decoding of images: arguments of Preprocessing."""

    image_size: int = 224
    """Height and width that images are scaled to, in pixels."""

    fit: Literal["squeeze", "crop"] = "squeeze"
    """Squeeze the whole image into a square, or take the largest square from its middle."""

    pixel_limit: int = 50_000_000
    """Maximum number of pixels of an image; larger ones are left out without being decoded."""

    def __post_init__(self):
        check_at_least(self, image_size=1, pixel_limit=1)


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Limits of captions: arguments of Preprocessing."""

    max_tokens: int = 40
    """Maximum number of words of a caption. Training leaves out longer ones, and reports how many; generated captions
    are not longer."""

    max_characters: int = 1_000
    """Maximum number of characters of a caption that are read."""

    def __post_init__(self):
        check_at_least(self, max_tokens=1, max_characters=1)


@dataclasses.dataclass(frozen=True)
class VocabularyConfig:
    """The vocabulary, which is learned from the training captions."""

    vocabulary: int = 30_000
    """Maximum size of the vocabulary, the reserved tokens included."""

    min_count: int = 5
    """Minimum number of occurrences in the training captions of a word of the vocabulary."""

    def __post_init__(self):
        check(self, "vocabulary", self.vocabulary >= 5, "at least 5: four are reserved")
        check_at_least(self, min_count=1)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Architecture: arguments of CaptioningModel that fine-tuning keeps."""

    encoder: Literal["mobilenet_v2", "inception_v3", "efficientnet_b0", "resnet50", "small", "peaks"] = "mobilenet_v2"
    """CNN that turns an image into features: one of keras.applications, or a small one for small pictures, small or
    peaks."""

    weights: str = "imagenet"
    """Initial weights of the CNN: imagenet, none for random ones, or a file .weights.h5."""

    image: Literal["first", "state", "merge", "attend"] = "first"
    """How the decoder reads the image: once, before the first word (Vinyals et al. 2015); as its initial state; merged
    with its output before the softmax (Tanti et al. 2017); or by attention over the positions of the map of the CNN,
    for every word (Xu et al. 2015)."""

    attention: Literal["dot", "general", "additive"] = "additive"
    """Score of the attention of --image attend: multiplicative, dot or general (Luong et al. 2015), or additive
    (Bahdanau et al. 2015)."""

    attention_input: bool = False
    """The context of a word is an input of the decoder at the next one, so that it enters the recurrence (Xu et al.
    2015). Otherwise attention follows the recurrent layers, for all words at once, which trains faster."""

    attention_gate: bool = False
    """Multiply the context by a gate, a sigmoid of the state of the decoder (beta of Xu et al. 2015)."""

    cell: Literal["lstm", "rnn"] = "lstm"
    """Recurrent layer: LSTM or vanilla RNN."""

    layers: int = 1
    """Recurrent layers of the decoder."""

    units: int = 512
    """Units of a recurrent layer."""

    embedding_units: int = 512
    """Size of the word embeddings."""

    tied: bool = True
    """Use the word embeddings as the weights of the softmax (Press & Wolf 2017)."""

    def __post_init__(self):
        check_at_least(self, layers=1, units=1, embedding_units=1)
        for field in ("attention", "attention_input", "attention_gate"):
            is_default = getattr(self, field) == getattr(type(self), field)
            if self.image != "attend" and not is_default:
                raise UserError(f"{flag(field)} needs --image attend, but --image is {self.image}")


@dataclasses.dataclass(frozen=True)
class RegularizationConfig:
    """Dropout: the other arguments of CaptioningModel."""

    dropout: float = 0.3
    """Share of units dropped of the image features, between layers and before the softmax."""

    embedding_dropout: float = 0.3
    """Share of each word embedding dropped."""

    def __post_init__(self):
        check_shares(self, "dropout", "embedding_dropout")


@dataclasses.dataclass(frozen=True)
class CNNConfig:
    """Training of the CNN, and augmentation of the images."""

    augment: float = 0.0
    """Training shifts every image by up to this share of its side, and changes its brightness by as much. With
    --finetune-cnn-after this starts in that epoch; otherwise the frozen CNN encodes the images in every epoch. 0: no
    augmentation."""

    mirror: bool = False
    """Training mirrors half of the images, in the same epochs. Not for captions about left and right."""

    distort: float = 0.0
    """Share of images that training distorts, in the same epochs: half of them are greyed, the others darkened, turned
    by up to 10 degrees, or set between two black bars."""

    finetune_cnn_after: int | None = None
    """Number of epochs after which the CNN is trained as well, with its own learning rate; 0: from the start; None:
    never."""

    cnn_learning_rate: float = 3e-5
    """Maximum learning rate of the CNN, on the schedule of the other weights."""

    finetune_cnn_from: str | None = None
    """First layer of the CNN that is trained, such as block_13_expand; None: all layers are."""

    def __post_init__(self):
        check(self, "augment", 0 <= self.augment <= 0.5, "from 0 to 0.5")
        check_shares(self, "distort")
        check(self, "cnn_learning_rate", self.cnn_learning_rate > 0, "greater than 0")
        if self.finetune_cnn_after is None and self.finetune_cnn_from:
            raise UserError(f"--finetune-cnn-from is {self.finetune_cnn_from}, but needs --finetune-cnn-after EPOCHS")

    @property
    def is_trained(self) -> bool:
        """Returns whether the CNN is trained in any epoch."""
        return self.finetune_cnn_after is not None

    def is_trained_in(self, epoch: int) -> bool:
        """Returns whether the CNN is trained in an epoch, the first of which is 0."""
        return self.finetune_cnn_after is not None and epoch >= self.finetune_cnn_after

    def runs_in(self, epoch: int) -> bool:
        """Returns whether training reads pixels in an epoch: the CNN is trained, or it is never trained, but images
        are augmented."""
        changed = self.augment > 0 or self.mirror or self.distort > 0
        return self.is_trained_in(epoch) or (not self.is_trained and changed)


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Loss."""

    label_smoothing: float = 0.0
    """Share of a target's probability spread over the vocabulary."""

    attention_penalty: float = 0.0
    """Factor of the doubly stochastic regularization of --image attend: of every caption, the sum over positions of
    (1 - sum over words of the attention)^2 (Xu et al. 2015, equation 14)."""

    reward: Literal["none", "cider"] = "none"
    """Maximize the mean CIDEr-D of captions drawn from the model, instead of the likelihood of true ones (self-critical
    training, Rennie et al. 2017). For fine-tuning: the captions of an untrained model all have the same score."""

    reward_samples: int = 5
    """Captions drawn of each image for the reward."""

    def __post_init__(self):
        check_shares(self, "label_smoothing")
        check_at_least(self, attention_penalty=0, reward_samples=2)
        for field in ("label_smoothing", "attention_penalty"):
            if self.reward != "none" and getattr(self, field):
                raise UserError(
                    f"{flag(field)} is {getattr(self, field):g}, but has no effect with --reward: expected 0"
                )


@dataclasses.dataclass(frozen=True)
class Config:
    """Configuration of a captioning run."""

    run: pathlib.Path = pathlib.Path("saved_models/captioning/sample")
    """Folder of the run: configuration, vocabulary, weights, scores."""

    monitor: Literal["cider", "bleu4", "exact_match", "perplexity"] = "cider"
    """Validation score that chooses the best weights; the first three are scores of greedy captions."""

    base: tyro.conf.Suppress[pathlib.Path | None] = None
    """Run that fine-tuning starts from; set by the command fine-tune."""

    data: tyro.conf.OmitArgPrefixes[DataConfig] = DataConfig()
    images: tyro.conf.OmitArgPrefixes[ImagesConfig] = ImagesConfig()
    text: tyro.conf.OmitArgPrefixes[TextConfig] = TextConfig()
    words: tyro.conf.OmitArgPrefixes[VocabularyConfig] = VocabularyConfig()
    model: tyro.conf.OmitArgPrefixes[ModelConfig] = ModelConfig()
    regularization: tyro.conf.OmitArgPrefixes[RegularizationConfig] = RegularizationConfig()
    cnn: tyro.conf.OmitArgPrefixes[CNNConfig] = CNNConfig()
    loss: tyro.conf.OmitArgPrefixes[LossConfig] = LossConfig()
    search: tyro.conf.OmitArgPrefixes[SearchConfig] = SearchConfig(beam_size=3)
    training: tyro.conf.OmitArgPrefixes[TrainingOptions] = TrainingOptions()

    def __post_init__(self):
        after, epochs = self.cnn.finetune_cnn_after, self.training.epochs
        good = after is None or 0 <= after < epochs
        check(self.cnn, "finetune_cnn_after", good, f"None, or from 0 to below --epochs, {epochs:g}")
        if self.loss.attention_penalty and self.model.image != "attend":
            raise UserError(f"--attention-penalty needs --image attend, but --image is {self.model.image}")
        if self.loss.reward != "none" and self.training.xla:
            raise UserError("--reward cannot be combined with --xla, which cannot compile the drawing of captions")
        if self.cnn.is_trained and self.training.precision == "mixed_float16":
            raise UserError("--precision is mixed_float16, but a CNN that is trained needs float32 or mixed_bfloat16")

    def for_fine_tuning(self, base: pathlib.Path) -> "Config":
        """Returns the default configuration of fine-tuning from the run `base`, which has this configuration."""
        return fine_tuned(self, base, data=reset(self.data, "manual_dir"))

"""The configuration of a sentiment run."""

import dataclasses
import pathlib
from typing import Literal

import tyro

from pipelines.common.config import check, check_at_least, check_shares, fine_tuned, flag, replace, reset
from pipelines.common.errors import UserError
from pipelines.common.named_runs import NamedRun
from pipelines.common.training.options import TrainingOptions
from pipelines.sentiment import text_config
from pipelines.sentiment.language_model import config as language_model
from pipelines.sentiment.text_config import TextConfig, VocabularyConfig


@dataclasses.dataclass(frozen=True)
class DataConfig(text_config.DataConfig):
    """Reviews: where they are, how they are split and batched."""

    label_column: str = "label"
    """Column or field of the label."""

    label_names: tuple[str, ...] = ()
    """Names of the labels in their order, such as negative positive. An integer label n means the n-th, from 0."""

    batch_reviews: int = 64
    """Maximum number of reviews in a batch."""

    batch_words: int = 32_000
    """Maximum number of words in a batch, padding included: batches of long reviews are smaller."""

    def __post_init__(self):
        super().__post_init__()
        check_at_least(self, batch_reviews=1)
        names = self.label_names
        check(self, "label_names", len(names) != 1 and len(set(names)) == len(names), "two or more, each once")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Architecture: arguments of build_model that fine-tuning keeps."""

    cell: Literal["lstm", "rnn"] = "lstm"
    """Recurrent layer: LSTM or vanilla RNN."""

    units: int = 128
    """Units of a recurrent layer, in each direction."""

    layers: int = 1
    """Recurrent layers."""

    bidirectional: bool = True
    """Read the review in both directions."""

    pooling: tuple[Literal["last", "mean", "max", "attention"], ...] = ("max",)
    """Pooling of the hidden states over time: last state, mean, maximum, or a mean with learned weights (Yang et al.
    2016). Several are concatenated."""

    embedding_units: int = 128
    """Size of the word embeddings."""

    def __post_init__(self):
        check_at_least(self, units=1, layers=1, embedding_units=1)
        check(self, "pooling", 0 < len(set(self.pooling)) == len(self.pooling), "one or more names, each once")


# Fields that the architectures of a classifier and of a language model have in common.
ARCHITECTURE = tuple(
    field.name for field in dataclasses.fields(ModelConfig) if hasattr(language_model.ModelConfig, field.name)
)


@dataclasses.dataclass(frozen=True)
class RegularizationConfig:
    """Dropout: the other arguments of build_model."""

    embedding_dropout: float = 0.5
    """Share of the channels of the embeddings dropped, the same ones at every word of a review."""

    word_dropout: float = 0.1
    """Share of words replaced by the unknown word in training."""

    recurrent_dropout: float = 0.0
    """Share of the units of the recurrent state dropped, the same ones at every time step."""

    dropout: float = 0.0
    """Share of units dropped between recurrent layers and before the head."""

    def __post_init__(self):
        check_shares(self, "embedding_dropout", "word_dropout", "recurrent_dropout", "dropout")


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Loss, and the calibration after training."""

    label_smoothing: float = 0.0
    """Share of a target's probability spread over all labels."""

    adversarial: float = 0.0
    """Adversarial training (Miyato et al. 2017): also learn each review with a perturbation of this norm added to its
    embeddings, in the direction that raises its loss most. The unit is the root mean square of an element of the
    embeddings. 0: none. Doubles the work."""

    class_weights: bool = False
    """Weight each review by the inverse frequency of its label, so that all labels count the same."""

    calibrate: bool = False
    """After training, fit a scale of the logits and a bias of each label to the validation reviews, so that a
    probability is closer to how often the label is right (Guo et al. 2017); with --class-weights, to how often it would
    be right if all labels were equally frequent. It may change predictions."""

    calibrate_lengths: bool = False
    """As --calibrate, but with a scale and biases that depend on the number of known words, fitted to the validation
    reviews and to pieces of them. All labels of a text without a known word have the same probability."""

    piece_noise: float = 0.2
    """For --calibrate-lengths and --label-pieces: assumed share of the shortest pieces that say the opposite of their
    review. Of longer pieces it is lower (see --piece-softness). The higher, the more certain the answers to short texts
    are."""

    def __post_init__(self):
        check_shares(self, "label_smoothing")
        check_at_least(self, adversarial=0)
        check(self, "piece_noise", 0 <= self.piece_noise < 0.5, "at least 0 and below 0.5")
        both = self.calibrate and self.calibrate_lengths
        check(self, "calibrate_lengths", not both, "False with --calibrate: expected one of them")


@dataclasses.dataclass(frozen=True)
class AugmentationConfig:
    """Training examples that are changed anew in each epoch."""

    pieces: float = 0.0
    """Share of the training examples that are a piece of a review, instead of all of it: some of its sentences, or a
    part of a sentence."""

    piece_softness: float = 10.0
    """Words of a piece whose target is halfway between the target of its review and the same probability for every
    label (with --label-pieces: what the teachers say to the piece). Longer pieces are closer to the review, shorter
    ones less close. 0: a piece has the target of its review."""

    strong_word_dropout: float = 0.0
    """Share of the words replaced by the unknown word, in whole reviews, among those words whose presence alone
    predicts the label (by naive Bayes)."""

    def __post_init__(self):
        check_shares(self, "pieces", "strong_word_dropout")
        check_at_least(self, piece_softness=0)


@dataclasses.dataclass(frozen=True)
class TransferConfig:
    """Transfer: a language model or word vectors to start from, teachers of the unlabelled reviews."""

    init_from: NamedRun | None = None
    """Run of the command pretrain, whose vocabulary, embeddings and recurrent layers training starts from."""

    vectors: pathlib.Path | None = None
    """Text file of word vectors that the embeddings start from: GloVe, word2vec or fastText (.vec), also as .gz. Not
    needed any more after training."""

    freeze_vectors: int = 0
    """Epochs in which the embeddings that start from --vectors are not trained. As many as --epochs: they never are."""

    teachers: tuple[NamedRun, ...] = ()
    """Runs of this command whose probabilities, averaged, are the pseudo-labels of the unlabelled reviews, which
    training then uses as well (self-training: Xie et al. 2020)."""

    label_pieces: bool = False
    """The teachers also read the pieces (--pieces) of all training reviews, in the share that --piece-softness says.
    They are calibrated for it on pieces of validation reviews."""

    mixture: float = 0.0
    """Share of the training and validation reviews that are drawn from those of the run that fine-tuning starts from,
    which it then forgets less. Needs the same labels."""

    base_share: float = 0.0
    """Share of the weights of the run that fine-tuning starts from, in their average with the weights after training
    (Wortsman et al. 2022). The higher, the less is forgotten, and the less learned. Needs the same labels."""

    layer_decay: float = 1.0
    """Learning rate of each layer below the head, as a share of that of the layer above it (Howard & Ruder 2018: 0.38).
    1: the same learning rate for all."""

    unfreeze_every: int = 0
    """Epochs after which one more layer is unfrozen, from the head down (Howard & Ruder 2018: 1). 0: all learn from the
    start."""

    def __post_init__(self):
        check(self, "layer_decay", 0 < self.layer_decay <= 1, "above 0 and at most 1")
        check_shares(self, "mixture", "base_share")
        check_at_least(self, unfreeze_every=0, freeze_vectors=0)
        check(self, "freeze_vectors", not self.freeze_vectors or self.vectors is not None, "0 without --vectors")
        if self.vectors and self.init_from:
            raise UserError(
                f"--vectors is {self.vectors}, but the language model {self.init_from} has embeddings of its own:"
                " expected one of them (--init-from None: no language model)"
            )


@dataclasses.dataclass(frozen=True)
class Config:
    """Configuration of a sentiment run."""

    run: pathlib.Path = pathlib.Path("saved_models/sentiment/sample")
    """Folder of the run: configuration, vocabulary, weights, scores."""

    base: tyro.conf.Suppress[pathlib.Path | None] = None
    """Run that fine-tuning starts from; set by the command fine-tune."""

    data: tyro.conf.OmitArgPrefixes[DataConfig] = DataConfig()
    text: tyro.conf.OmitArgPrefixes[TextConfig] = dataclasses.field(default_factory=TextConfig)
    vocabulary: tyro.conf.OmitArgPrefixes[VocabularyConfig] = dataclasses.field(default_factory=VocabularyConfig)
    model: tyro.conf.OmitArgPrefixes[ModelConfig] = ModelConfig()
    regularization: tyro.conf.OmitArgPrefixes[RegularizationConfig] = RegularizationConfig()
    augmentation: tyro.conf.OmitArgPrefixes[AugmentationConfig] = AugmentationConfig()
    loss: tyro.conf.OmitArgPrefixes[LossConfig] = LossConfig()
    transfer: tyro.conf.OmitArgPrefixes[TransferConfig] = TransferConfig()
    training: tyro.conf.OmitArgPrefixes[TrainingOptions] = TrainingOptions()

    def __post_init__(self):
        check_at_least(self.vocabulary, vocabulary_size=3)  # two words are reserved
        check(
            self.data,
            "batch_words",
            self.data.batch_words >= self.text.max_words,
            f"at least --max-words, {self.text.max_words}",
        )
        groups = self.model.layers + 1  # that are unfrozen one by one: recurrent layers, then the embeddings
        epochs = self.training.epochs
        frozen = self.transfer.unfreeze_every * groups
        expected = f"below {epochs / groups:g}, so that the embeddings, the last of {groups} layers, learn before"
        expected += f" --epochs {epochs:g} are over"
        check(self.transfer, "unfreeze_every", not frozen or frozen < epochs, expected)
        can_label_pieces = self.transfer.teachers and self.augmentation.pieces
        expected = "False without --teachers and --pieces"
        check(self.transfer, "label_pieces", not self.transfer.label_pieces or bool(can_label_pieces), expected)
        for field in ("mixture", "base_share"):
            starts_new = not self.base and getattr(self.transfer, field)
            check(self.transfer, field, not starts_new, "0 in train: it is an option of fine-tune")
        for field in ("init_from", "vectors"):
            start = getattr(self.transfer, field)
            if self.base and start:
                raise UserError(
                    f"{flag(field)} is {start}, but fine-tune starts from the run {self.base}: expected one of them"
                )

    def for_fine_tuning(self, base: pathlib.Path) -> "Config":
        """Returns the default configuration of fine-tuning from the run `base`, which has this configuration: the same,
        except for the fields about its data and the runs that it started from."""
        return fine_tuned(
            self,
            base,
            data=reset(self.data, "manual_dir", "text_column", "label_column", "group_column", "label_names"),
            loss=reset(self.loss, "class_weights", "calibrate", "calibrate_lengths"),
            transfer=reset(
                self.transfer,
                *("init_from", "vectors", "freeze_vectors", "teachers", "label_pieces", "mixture", "base_share"),
            ),
        )

    def starting_from(self, learned: "language_model.Config | Config", run: pathlib.Path) -> "Config":
        """Returns this configuration with the architecture and the vocabulary of the language model in `run`: the
        default of `train` with --init-from.

        Args:
            learned: the configuration of the language model, or of a classifier that started from it.
        """
        architecture = {name: getattr(learned.model, name) for name in ARCHITECTURE}
        words = {name: getattr(learned.text, name) for name in ("lower_case", "split_negation")}
        size = learned.vocabulary.vocabulary_size
        return replace(self, init_from=run, vocabulary_size=size, **words, **architecture)

"""The configuration of the pretraining of a language model."""

import dataclasses
import pathlib
from typing import Literal

import tyro

from pipelines.common.config import check, check_at_least, check_shares
from pipelines.common.training.options import TrainingOptions
from pipelines.sentiment.text_config import DataConfig, TextConfig, VocabularyConfig

TASK = "sentiment language model"  # in the config.json of its runs


@dataclasses.dataclass(frozen=True)
class WindowsConfig:
    """Streams of text, and the windows of truncated backpropagation through time (TBPTT)."""

    objective: Literal["next-word", "autoencoder"] = "next-word"
    """Predict each next word of a text; or read all of it, then predict it from the final state (Dai & Le 2015)."""

    state: Literal["carried", "reset"] = "carried"
    """At the end of a text, carry the state on into the next text; or reset it, which leaves the rest of the window
    empty. The autoencoder always resets it."""

    shuffle: bool = True
    """Read the texts in another order in every epoch. Turn it off for a text file whose lines are consecutive."""

    k1: int = 100
    """Words of a stream from one update to the next."""

    k2: int = 100
    """Words through which an error is propagated back: k1 or more."""

    streams: int = 64
    """Streams of text that are read in parallel: the batch size."""

    def __post_init__(self):
        check_at_least(self, streams=1, k1=1)
        check(self, "k2", self.k2 >= self.k1, f"at least --k1, {self.k1}: a window has to contain every new word")

    @property
    def carried(self) -> bool:
        """Returns whether the state is carried on from one text to the next."""
        return self.state == "carried" and self.objective == "next-word"


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Architecture: arguments of LanguageModel."""

    cell: Literal["lstm", "rnn"] = "lstm"
    """Recurrent layer: LSTM or vanilla RNN."""

    units: int = 128
    """Units of a recurrent layer, in each direction."""

    layers: int = 1
    """Recurrent layers of each direction."""

    bidirectional: bool = False
    """Also train a second stack of layers, which reads every text from its end, with the same embeddings and softmax;
    for a bidirectional classifier."""

    embedding_units: int = 128
    """Size of the word embeddings."""

    tied: bool = True
    """Use the word embeddings as the weights of the softmax (Press & Wolf 2017)."""

    def __post_init__(self):
        check_at_least(self, units=1, layers=1, embedding_units=1)


@dataclasses.dataclass(frozen=True)
class RegularizationConfig:
    """Dropout: the other arguments of LanguageModel."""

    embedding_dropout: float = 0.2
    """Share of the channels of the embeddings dropped, the same ones at every word of a window."""

    dropout: float = 0.0
    """Share of units dropped between recurrent layers and before the softmax."""

    def __post_init__(self):
        check_shares(self, "embedding_dropout", "dropout")


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Loss in training, perplexity in validation."""

    softmax: Literal["sampled", "full"] = "sampled"
    """Cross-entropy in training: over a sample of the vocabulary, or exact. Perplexity is always exact."""

    softmax_samples: int = 1024
    """Words that a sampled softmax draws for each update."""

    validation_words: int = 200_000
    """Maximum number of validation words on which perplexity is measured after each epoch. 0: all."""

    def __post_init__(self):
        check_at_least(self, softmax_samples=1, validation_words=0)


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """Texts that the export generates, unless it is given other values."""

    max_length: int = 200
    """Maximum number of words of a text."""

    def __post_init__(self):
        check_at_least(self, max_length=1)


@dataclasses.dataclass(frozen=True)
class Config:
    """Configuration of the pretraining of a language model. It does not use labels."""

    run: pathlib.Path = pathlib.Path("saved_models/sentiment/sample-language-model")
    """Folder of the run: configuration, vocabulary, weights, perplexity."""

    data: tyro.conf.OmitArgPrefixes[DataConfig] = dataclasses.field(default_factory=DataConfig)
    text: tyro.conf.OmitArgPrefixes[TextConfig] = dataclasses.field(default_factory=TextConfig)
    vocabulary: tyro.conf.OmitArgPrefixes[VocabularyConfig] = dataclasses.field(default_factory=VocabularyConfig)
    windows: tyro.conf.OmitArgPrefixes[WindowsConfig] = WindowsConfig()
    model: tyro.conf.OmitArgPrefixes[ModelConfig] = ModelConfig()
    regularization: tyro.conf.OmitArgPrefixes[RegularizationConfig] = RegularizationConfig()
    loss: tyro.conf.OmitArgPrefixes[LossConfig] = LossConfig()
    search: tyro.conf.OmitArgPrefixes[SearchConfig] = SearchConfig()
    training: tyro.conf.OmitArgPrefixes[TrainingOptions] = TrainingOptions()

    def __post_init__(self):
        check_at_least(self.vocabulary, vocabulary_size=5)  # four words are reserved

"""The configuration of a translation run."""

import dataclasses
import pathlib
from typing import Literal

import tyro

from pipelines.common import config
from pipelines.common.config import check, check_at_least, check_shares, fine_tuned, reset
from pipelines.common.errors import UserError
from pipelines.common.training.options import TrainingOptions


@dataclasses.dataclass(frozen=True)
class DataConfig(config.DataConfig):
    """Sentence pairs: where they are, how they are split and batched."""

    source: str = "en"
    """Source language: the extension of its files (train.en), or its name in a tfds: data set."""

    target: str = "fr"
    """Target language."""

    quoting: bool = False
    """Quotation marks enclose fields of tab-separated text, as they always do in CSV. Otherwise they are part of the
    text."""

    validation_share: float = 0.05
    test_share: float = 0.05

    max_ratio: float = 4.0
    """Training leaves out a pair if one side has more than this many times the tokens of the other, plus five."""

    mixture: float = 0.0
    """Fine-tuning: share of the pairs of every epoch that come from the data of the base run."""

    noise: float = 0.0
    """Share of the source sentences that training reads as people type them, drawn anew in every epoch: in lower case,
    in capitals, with other punctuation, without accents, with typing errors, in another form of Unicode."""

    batch_pairs: int = 128
    """Maximum number of sentence pairs in a batch."""

    batch_tokens: int = 8_000
    """Maximum number of tokens in a batch, of both sides with their padding."""

    def __post_init__(self):
        super().__post_init__()
        check_shares(self, "mixture", "noise")
        check_at_least(self, max_ratio=1, batch_pairs=1)
        check(self, "target", self.target != self.source, f"a language other than --source, {self.source}")


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Tokens: the arguments of Preprocessing."""

    level: Literal["word", "subword"] = "word"
    """The unit of a token: a word, as in Sutskever et al. 2014, or a subword, learned from the training data."""

    lower_case: bool = False
    """Convert to lower case, translations included."""

    restore_case: bool = False
    """Read a source word in lower case or capitalized if it has fewer tokens so, or is known: "HUND" as "Hund"."""

    max_tokens: int = 100
    """Maximum number of tokens of a sentence. Training drops longer pairs; translation truncates the source."""

    max_characters: int = 5_000
    """Maximum number of characters of a sentence that are read."""

    def __post_init__(self):
        check_at_least(self, max_tokens=1, max_characters=1)


@dataclasses.dataclass(frozen=True)
class VocabularyConfig:
    """Sizes of the vocabularies, which are learned from the training data."""

    source_vocabulary: int = 30_000
    """Maximum size of the source vocabulary, the reserved tokens included."""

    target_vocabulary: int = 30_000
    """Maximum size of the target vocabulary."""

    min_count: int = 2
    """Minimum number of occurrences in training of a word (or, for subwords, a character) that is known."""

    def __post_init__(self):
        for field in ("source_vocabulary", "target_vocabulary"):
            check(self, field, getattr(self, field) >= 5, "at least 5: four tokens are reserved")
        check_at_least(self, min_count=1)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Architecture: arguments of TranslationModel that fine-tuning keeps."""

    cell: Literal["lstm", "rnn"] = "lstm"
    """Recurrent layer: LSTM or vanilla RNN."""

    layers: int = 4
    """Recurrent layers of the encoder, and of the decoder."""

    units: int = 256
    """Units of a recurrent layer."""

    embedding_units: int = 256
    """Size of the token embeddings."""

    reverse: bool = True
    """Read the source backwards, so that its first words are closest to the first words of the translation."""

    bidirectional: bool = False
    """Read the source in both directions, with half of the units each; a linear map of both final states starts the
    decoder."""

    residual: bool = False
    """Add a layer's input to its output, from the second layer on. Deep stacks then learn from the first epoch."""

    context: Literal["none", "last", "mean", "max"] = "none"
    """Vector of the source that the decoder reads at every time step (Cho et al. 2014): the last output of the encoder,
    or the mean or maximum of its outputs over time. With none, as in Sutskever et al. 2014, the decoder knows the
    source only by its initial state."""

    attention: Literal["none", "dot", "general", "additive"] = "none"
    """Attention of the decoder over the outputs of the encoder: how it scores them (dot, general: Luong et al. 2015;
    additive: Bahdanau et al. 2015, which needs more memory)."""

    attention_input: bool = False
    """Feed the result of the attention to the next time step, so that it enters the recurrence, as in Bahdanau et al.
    2015 and, similarly, in the input feeding of Luong et al. 2015. A training step takes about 1.4 times as long: the
    decoder runs step by step."""

    tied: bool = False
    """Use the target embeddings as the weights of the softmax (Press & Wolf 2017)."""

    def __post_init__(self):
        check_at_least(self, layers=1, units=1, embedding_units=1)
        check(self, "units", not self.bidirectional or self.units % 2 == 0, "even with --bidirectional")
        attends = self.attention != "none"
        check(
            self, "context", not attends or self.context == "none", "none with --attention, which is a context itself"
        )
        check(self, "attention_input", attends or not self.attention_input, "False without --attention")


@dataclasses.dataclass(frozen=True)
class VectorsConfig:
    """Word vectors that the embeddings start from."""

    source_vectors: pathlib.Path | None = None
    """Text file of word vectors that the source embeddings start from: GloVe, word2vec or fastText (.vec), also as .gz;
    for --level word."""

    target_vectors: pathlib.Path | None = None
    """The same for the target embeddings."""

    freeze_vectors: int = 0
    """Epochs in which embeddings that start from a file are not trained. As many as --epochs: they never are."""

    def __post_init__(self):
        check_at_least(self, freeze_vectors=0)
        expected = "0 without --source-vectors or --target-vectors"
        check(self, "freeze_vectors", not self.freeze_vectors or bool(self.files), expected)

    @property
    def files(self) -> dict[str, pathlib.Path]:
        """The files by side, "source" and "target"."""
        files = {"source": self.source_vectors, "target": self.target_vectors}
        return {side: path for side, path in files.items() if path}


@dataclasses.dataclass(frozen=True)
class RegularizationConfig:
    """Dropout and initial weights: the other arguments of TranslationModel."""

    dropout: float = 0.2
    """Share of units dropped between layers and before the softmax."""

    embedding_dropout: float = 0.2
    """Share of each token embedding dropped."""

    recurrent_dropout: float = 0.0
    """Share of the hidden state dropped before a recurrent layer reads it at the next time step, with one mask per
    sentence (Gal and Ghahramani 2016)."""

    variational: bool = False
    """Drop the same units at every time step of a sentence, in all kinds of dropout (Gal and Ghahramani 2016)."""

    word_dropout: float = 0.0
    """Share of the decoder's input tokens replaced by the unknown token, so that it relies on the source."""

    initial_range: float = 0.0
    """Draw all weights from U(-r, r). With 0, each layer has its own initializer (Glorot, orthogonal)."""

    def __post_init__(self):
        check_shares(self, "dropout", "embedding_dropout", "recurrent_dropout", "word_dropout")
        check_at_least(self, initial_range=0)


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Loss, and what the decoder reads in training."""

    label_smoothing: float = 0.1
    """Share of a target's probability spread over the vocabulary."""

    softmax: Literal["blocks", "sampled"] = "blocks"
    """Cross-entropy in training: exact, computed in blocks; or over a sample of the vocabulary, for very large ones."""

    softmax_samples: int = 4096
    """Words that a sampled softmax draws for each batch."""

    loss_per: Literal["token", "sentence"] = "token"
    """Divide the loss by the number of tokens of the batch, or of sentences (Sutskever et al. 2014)."""

    teacher_forcing: Literal["always", "constant", "linear", "inverse-sigmoid"] = "always"
    """Feed the true token always, or with a probability given by this schedule (scheduled sampling, Bengio et al.
    2015)."""

    teacher_probability: float = 0.75
    """Probability of a true token with the constant schedule, and at the end of the linear one."""

    teacher_updates: float = 2000.0
    """Updates over which the linear schedule falls; the constant k of the inverse sigmoid."""

    def __post_init__(self):
        check_shares(self, "label_smoothing")
        check_at_least(self, softmax_samples=1, teacher_updates=1)
        check(self, "teacher_probability", 0 <= self.teacher_probability <= 1, "from 0 to 1")


@dataclasses.dataclass(frozen=True)
class SearchConfig(config.SearchConfig):
    """Beam search: defaults of evaluation and of the export."""

    replace_unknown: bool = False
    """Replace an unknown word of a translation, such as a name, by the source word that the decoder attends to most
    (Jean et al. 2015, Luong et al. 2015). For --level word with --attention."""

    split_sentences: bool = False
    """Translate each sentence of a text by itself, for data whose sources are single sentences."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Configuration of a translation run."""

    run: pathlib.Path = pathlib.Path("saved_models/translation/sample")
    """Folder of the run: configuration, vocabularies, weights, scores."""

    monitor: Literal["bleu", "perplexity"] = "bleu"
    """Validation score that chooses the best weights: BLEU of greedy translations, or perplexity."""

    base: tyro.conf.Suppress[pathlib.Path | None] = None
    """Run that fine-tuning starts from; set by the command fine-tune."""

    data: tyro.conf.OmitArgPrefixes[DataConfig] = DataConfig()
    text: tyro.conf.OmitArgPrefixes[TextConfig] = TextConfig()
    vocabulary: tyro.conf.OmitArgPrefixes[VocabularyConfig] = VocabularyConfig()
    model: tyro.conf.OmitArgPrefixes[ModelConfig] = ModelConfig()
    vectors: tyro.conf.OmitArgPrefixes[VectorsConfig] = VectorsConfig()
    regularization: tyro.conf.OmitArgPrefixes[RegularizationConfig] = RegularizationConfig()
    loss: tyro.conf.OmitArgPrefixes[LossConfig] = LossConfig()
    search: tyro.conf.OmitArgPrefixes[SearchConfig] = SearchConfig()
    training: tyro.conf.OmitArgPrefixes[TrainingOptions] = TrainingOptions()

    def __post_init__(self):
        longest = 2 * self.text.max_tokens + 2
        reason = f"at least {longest}, twice --max-tokens and the end tokens"
        check(self.data, "batch_tokens", self.data.batch_tokens >= longest, reason)
        reason = "False without --level word and --attention"
        check(self.search, "replace_unknown", self.can_replace_unknown or not self.search.replace_unknown, reason)
        for side, path in self.vectors.files.items():
            if self.base:
                raise UserError(
                    f"--{side}-vectors is {path}, but fine-tune starts from the run {self.base}: expected one of them"
                )

    @property
    def can_replace_unknown(self) -> bool:
        return self.text.level == "word" and self.model.attention != "none"

    def for_fine_tuning(self, base: pathlib.Path) -> "Config":
        """Returns the default configuration of fine-tuning from the run `base`, which has this configuration."""
        return fine_tuned(self, base, data=reset(self.data, "manual_dir"), vectors=VectorsConfig())

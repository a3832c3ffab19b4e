"""Everything a translation run can be told, and the presets. A default is written here and nowhere else."""

import dataclasses
import pathlib
from typing import Literal

import tyro

from pipelines.common.config import check, from_json
from pipelines.common.training.options import TrainingOptions


@dataclasses.dataclass(frozen=True)
class Config:
    """What to train on, how to read it, the model, its training, and how it searches for a translation."""

    data: str = "sample"
    """Where the sentence pairs are: sample, a folder, tfds:NAME, or a public set by name
    (data/README.md)."""

    run: pathlib.Path = pathlib.Path("saved_models/translation/sample")
    """The folder of the run: config, vocabularies, weights, scores."""

    manual_dir: pathlib.Path | None = None
    """Folder with the archive of a tfds: data set that was fetched by hand."""

    source: str = "en"
    """Language translated from: the ending of its files (train.en), or its name in a tfds: data set."""

    target: str = "fr"
    """Language translated into."""

    validation_share: float = 0.05
    """Share of the training sources split off for validation, where the data has no such part of its own."""

    test_share: float = 0.05
    """Share of the training sources split off for the test, where the data has no such part of its own."""

    split_seed: int = 1
    """Seed of these splits; the same for runs that are compared or averaged, whatever their --seed."""

    level: Literal["word", "subword"] = "word"
    """What a token is: a word, as in Sutskever et al. 2014, or a piece of one, learned from the training data."""

    lower_case: bool = False
    """Turn capitals into small letters, in the translations too."""

    source_vocabulary: int = 30_000
    """Most tokens of the source vocabulary, padding and the unknown token included."""

    target_vocabulary: int = 30_000
    """Most tokens of the target vocabulary."""

    min_count: int = 2
    """Words (of subwords: characters) that occur less often in training are unknown."""

    max_tokens: int = 100
    """Most tokens of a sentence: training leaves longer pairs out, translation reads so many; both say how often."""

    max_characters: int = 5_000
    """Characters read of a sentence, before it is split."""

    max_ratio: float = 4.0
    """Training leaves pairs out in which one side has more than this many times the tokens of the other, and five
    tokens more."""

    cell: Literal["lstm", "rnn"] = "lstm"
    """The recurrent layer: LSTM, or the vanilla RNN."""

    layers: int = 4
    """Recurrent layers of the encoder, and of the decoder."""

    units: int = 256
    """Units of a recurrent layer."""

    embedding_units: int = 256
    """Units of a token's vector."""

    reverse: bool = True
    """Read the source from its end, so that its first words are nearest to the first words of the translation."""

    bidirectional: bool = False
    """Read the source in both directions, with half the units in each; a linear bridge starts the decoder."""

    residual: bool = False
    """From the second layer on, add a layer's input to its output, so that deep stacks learn from the first epoch."""

    context: Literal["none", "last", "mean", "max"] = "none"
    """One vector of the source given to the decoder at every step (Cho et al. 2014): the encoder's last output, or the
    mean or maximum of its outputs over time; none: as in Sutskever et al. 2014 it knows what its first state holds."""

    tied: bool = False
    """The softmax shares its weights with the vectors of the decoder's tokens (Press & Wolf 2017)."""

    dropout: float = 0.2
    """Share of units dropped between layers and before the softmax."""

    embedding_dropout: float = 0.2
    """Share of the units of each token's vector dropped."""

    word_dropout: float = 0.0
    """Share of the decoder's input tokens that training reads as unknown, so that it has to listen to the source."""

    initial_range: float = 0.0
    """Draw all weights from U(-r, r); 0: each layer's own initialization (Glorot, orthogonal)."""

    label_smoothing: float = 0.1
    """Share of a target's probability spread over the vocabulary."""

    softmax: Literal["blocks", "sampled"] = "blocks"
    """Training's cross-entropy: exact, in blocks; or over a sample of the vocabulary, for very large ones."""

    softmax_samples: int = 4096
    """Words that a sampled softmax draws for each batch."""

    loss_per: Literal["token", "sentence"] = "token"
    """What the gradient is divided by: the batch's tokens, or its sentences (Sutskever et al. 2014)."""

    teacher_forcing: Literal["always", "constant", "linear", "inverse-sigmoid"] = "always"
    """Whether training always feeds true tokens, or with a probability that falls as training goes on (scheduled
    sampling, Bengio et al. 2015)."""

    teacher_probability: float = 0.75
    """Probability of a true token: of the constant schedule, and where the linear one ends."""

    teacher_updates: float = 2000.0
    """Updates over which the linear schedule falls, and the constant k of the inverse sigmoid."""

    batch_pairs: int = 128
    """Most sentence pairs in a batch."""

    batch_tokens: int = 8_000
    """Most tokens in a batch, of both sides with their padding: long sentences come in smaller batches."""

    monitor: Literal["bleu", "perplexity"] = "bleu"
    """Which validation score chooses the best weights: BLEU of greedy translations, or perplexity."""

    beam_size: int = 5
    """Hypotheses that evaluate and the export keep unless told otherwise."""

    length_penalty: float = 0.0
    """Exponent a of the length penalty ((5 + length) / 6)^a that divides a hypothesis's score (Wu et al. 2016): 0 for
    none, larger for longer ones."""

    mixture: float = 0.0
    """Fine-tuning: share of the pairs of every epoch that come from the data of the run it starts from."""

    base: tyro.conf.Suppress[pathlib.Path | None] = None
    """The run that fine-tuning starts from; set by the command fine-tune."""

    training: tyro.conf.OmitArgPrefixes[TrainingOptions] = dataclasses.field(default_factory=TrainingOptions)
    """The training loop."""

    def __post_init__(self):
        for field in ("validation_share", "test_share", "label_smoothing", "mixture"):
            check(self, field, 0 <= getattr(self, field) < 1, "at least 0 and below 1")
        for field in ("dropout", "embedding_dropout", "word_dropout"):
            check(self, field, 0 <= getattr(self, field) < 1, "at least 0 and below 1")
        for field in ("max_tokens", "max_characters", "min_count", "layers", "units", "embedding_units", "beam_size"):
            check(self, field, getattr(self, field) >= 1, "at least 1")
        for field in ("split_seed", "initial_range", "length_penalty"):
            check(self, field, getattr(self, field) >= 0, "at least 0")
        for field in ("source_vocabulary", "target_vocabulary"):
            check(self, field, getattr(self, field) >= 5, "at least 5: four are reserved")
        check(self, "target", self.target != self.source, f"another language than --source, {self.source}")
        check(self, "units", not self.bidirectional or self.units % 2 == 0, "even with --bidirectional")
        check(self, "max_ratio", self.max_ratio >= 1, "at least 1")
        check(self, "teacher_probability", 0 <= self.teacher_probability <= 1, "from 0 to 1")
        check(self, "teacher_updates", self.teacher_updates >= 1, "at least 1")
        check(self, "softmax_samples", self.softmax_samples >= 1, "at least 1")
        check(self, "batch_pairs", self.batch_pairs >= 1, "at least 1")
        longest = 2 * self.max_tokens + 2
        check(
            self, "batch_tokens", self.batch_tokens >= longest, f"at least {longest}, twice --max-tokens and the ends"
        )

    @property
    def limits(self) -> dict:
        """How text is read: what both tokenizers are told."""
        return {
            "level": self.level,
            "lower_case": self.lower_case,
            "max_characters": self.max_characters,
            "max_tokens": self.max_tokens,
        }

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
        "The embedded sample, English to French: under two minutes on two cores, 96 % of its test right.",
        Config(
            data="sample",
            run=pathlib.Path("saved_models/translation/sample"),
            min_count=1,
            units=128,
            embedding_units=64,
            bidirectional=True,
            residual=True,
            context="max",
            dropout=0.3,
            embedding_dropout=0.3,
            label_smoothing=0.0,
            batch_pairs=64,
            training=TrainingOptions(epochs=8, learning_rate=5e-3, schedule="linear"),
        ),
    ),
    "multi30k": (
        "29,000 picture captions, German to English: 23 minutes on two cores, BLEU 27.8.",
        Config(
            data="multi30k",
            length_penalty=1.0,
            run=pathlib.Path("saved_models/translation/multi30k"),
            source="de",
            target="en",
            # Of the words of validation, 4.5 % (German) and 2.2 % (English) are in no training sentence twice.
            level="subword",
            source_vocabulary=8_000,
            target_vocabulary=5_000,
            min_count=1,
            bidirectional=True,
            residual=True,
            # The first epochs are won here: BLEU 12 after one, where four plain layers take nine.
            context="max",
            tied=True,
            dropout=0.3,
            embedding_dropout=0.3,
            training=TrainingOptions(epochs=10, learning_rate=2e-3, schedule="linear", ema=0.998),
        ),
    ),
    "tatoeba": (
        "72,000 pairs of short everyday sentences, English to French: 14 minutes on two cores, BLEU 37.0.",
        Config(
            data="tatoeba",
            length_penalty=1.0,
            run=pathlib.Path("saved_models/translation/tatoeba"),
            level="subword",
            source_vocabulary=6_000,
            target_vocabulary=6_000,
            min_count=1,
            bidirectional=True,
            residual=True,
            context="max",
            tied=True,
            dropout=0.3,
            embedding_dropout=0.3,
            training=TrainingOptions(epochs=5, learning_rate=2e-3, schedule="linear", ema=0.998),
        ),
    ),
    "sutskever2014": (
        "The recipe of Sutskever et al. 2014 on WMT'14 English to French: 384 million weights, days on many cores.",
        Config(
            data="wmt14",
            run=pathlib.Path("saved_models/translation/sutskever2014"),
            source_vocabulary=160_000,
            target_vocabulary=80_000,
            min_count=1,
            units=1000,
            embedding_units=1000,
            dropout=0.0,
            embedding_dropout=0.0,
            initial_range=0.08,
            label_smoothing=0.0,
            loss_per="sentence",
            batch_tokens=128 * 202,
            monitor="perplexity",
            beam_size=12,
            training=TrainingOptions(
                epochs=7.5,
                learning_rate=0.7,
                schedule="halving",
                halving_from=5.0,
                halving_every=0.5,
                optimizer="sgd",
                momentum=0.0,
                clip_norm=5.0,
            ),
        ),
    ),
}

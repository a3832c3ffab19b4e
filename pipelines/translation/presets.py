"""The presets of translation. The description of a preset states its time and score, as measured in README.md."""

import pathlib

from pipelines.common.training.options import TrainingOptions
from pipelines.translation.config import (
    Config,
    DataConfig,
    LossConfig,
    ModelConfig,
    RegularizationConfig,
    SearchConfig,
    TextConfig,
    VocabularyConfig,
)

PRESETS: dict[str, tuple[str, Config]] = {
    "sample": (
        "The embedded sample, English to French: under two minutes on two cores, 96 % of the test exactly right.",
        Config(
            run=pathlib.Path("saved_models/translation/sample"),
            data=DataConfig(location="sample", batch_pairs=64),
            vocabulary=VocabularyConfig(min_count=1),
            model=ModelConfig(units=128, embedding_units=64, bidirectional=True, residual=True, context="max"),
            regularization=RegularizationConfig(dropout=0.3, embedding_dropout=0.3),
            loss=LossConfig(label_smoothing=0.0),
            training=TrainingOptions(epochs=8, learning_rate=5e-3, schedule="linear"),
        ),
    ),
    "multi30k": (
        "29,000 picture captions, German to English: 23 minutes on two cores, BLEU 27.8.",
        Config(
            run=pathlib.Path("saved_models/translation/multi30k"),
            data=DataConfig(location="multi30k", source="de", target="en"),
            text=TextConfig(level="subword"),
            vocabulary=VocabularyConfig(source_vocabulary=8_000, target_vocabulary=5_000, min_count=1),
            model=ModelConfig(bidirectional=True, residual=True, context="max", tied=True),
            regularization=RegularizationConfig(dropout=0.3, embedding_dropout=0.3),
            search=SearchConfig(length_penalty=1.0),
            training=TrainingOptions(epochs=10, learning_rate=2e-3, schedule="linear", ema=0.998),
        ),
    ),
    "multi30k-attention": (
        "The same captions, attention over one layer of 512 units: BLEU 41.5, in 13 minutes on two cores with AMX and"
        " --precision mixed_bfloat16.",
        Config(
            run=pathlib.Path("saved_models/translation/multi30k-attention"),
            data=DataConfig(location="multi30k", source="de", target="en", noise=0.5),
            text=TextConfig(level="subword", restore_case=True),
            vocabulary=VocabularyConfig(source_vocabulary=8_000, target_vocabulary=5_000, min_count=1),
            model=ModelConfig(layers=1, units=512, bidirectional=True, attention="general", tied=True),
            regularization=RegularizationConfig(dropout=0.4, embedding_dropout=0.3),
            search=SearchConfig(length_penalty=1.0, split_sentences=True),
            training=TrainingOptions(epochs=12, learning_rate=2e-3, schedule="linear", ema=0.998),
        ),
    ),
    "tatoeba": (
        "72,000 pairs of short everyday sentences, English to French: 14 minutes on two cores, BLEU 37.0.",
        Config(
            run=pathlib.Path("saved_models/translation/tatoeba"),
            data=DataConfig(location="tatoeba"),
            text=TextConfig(level="subword"),
            vocabulary=VocabularyConfig(source_vocabulary=6_000, target_vocabulary=6_000, min_count=1),
            model=ModelConfig(bidirectional=True, residual=True, context="max", tied=True),
            regularization=RegularizationConfig(dropout=0.3, embedding_dropout=0.3),
            search=SearchConfig(length_penalty=1.0),
            training=TrainingOptions(epochs=5, learning_rate=2e-3, schedule="linear", ema=0.998),
        ),
    ),
    "sutskever2014": (
        "The recipe of Sutskever et al. 2014 on WMT'14 English to French: 384 million weights, days on many cores.",
        Config(
            run=pathlib.Path("saved_models/translation/sutskever2014"),
            monitor="perplexity",
            data=DataConfig(location="wmt14", batch_tokens=128 * 202),
            vocabulary=VocabularyConfig(source_vocabulary=160_000, target_vocabulary=80_000, min_count=1),
            model=ModelConfig(units=1000, embedding_units=1000),
            regularization=RegularizationConfig(dropout=0.0, embedding_dropout=0.0, initial_range=0.08),
            loss=LossConfig(label_smoothing=0.0, loss_per="sentence"),
            search=SearchConfig(beam_size=12),
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

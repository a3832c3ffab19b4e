"""The presets of captioning. The description of a preset states its time and score, as measured in README.md."""

import pathlib

from pipelines.captioning.config import (
    CNNConfig,
    Config,
    DataConfig,
    ImagesConfig,
    ModelConfig,
    RegularizationConfig,
    VocabularyConfig,
)
from pipelines.common.config import SearchConfig, replace
from pipelines.common.training.options import TrainingOptions

PRESETS: dict[str, tuple[str, Config]] = {
    "sample": (
        "The embedded sample, trained from random weights: one minute on two cores, 93 % of its test right.",
        Config(
            run=pathlib.Path("saved_models/captioning/sample"),
            monitor="exact_match",
            data=DataConfig(location="sample"),
            images=ImagesConfig(image_size=64),
            words=VocabularyConfig(min_count=1),
            model=ModelConfig(encoder="peaks", weights="none", image="state", units=128, embedding_units=64),
            regularization=RegularizationConfig(dropout=0.0, embedding_dropout=0.0),
            cnn=CNNConfig(finetune_cnn_after=0, cnn_learning_rate=2.5e-3),
            training=TrainingOptions(epochs=7, learning_rate=2.5e-3, schedule="linear"),
        ),
    ),
    "flickr8k": (
        "6,000 photos with five captions each, MobileNetV2 frozen: 20 minutes on two cores, BLEU-4 18.8.",
        Config(
            run=pathlib.Path("saved_models/captioning/flickr8k"),
            data=DataConfig(location="flickr8k"),
            regularization=RegularizationConfig(dropout=0.5, embedding_dropout=0.3),
            search=SearchConfig(beam_size=5, length_penalty=1.0),
            training=TrainingOptions(epochs=15, learning_rate=1e-3, schedule="linear", ema=0.998),
        ),
    ),
}
PRESETS["flickr8k-tuned"] = (
    "The same, then the later half of the CNN is trained as well, and the image merged: 42 minutes, BLEU-4 21.1.",
    replace(
        PRESETS["flickr8k"][1],
        run=pathlib.Path("saved_models/captioning/flickr8k-tuned"),
        augment=0.1,
        finetune_cnn_after=4,
        finetune_cnn_from="block_13_expand",
        cnn_learning_rate=1e-4,
        image="merge",
        epochs=16,
    ),
)
PRESETS["flickr8k-attention"] = (
    "Attention over the map of the CNN, whose later half is trained as well: 52 minutes on two cores, BLEU-4 22.5.",
    replace(
        PRESETS["flickr8k-tuned"][1],
        run=pathlib.Path("saved_models/captioning/flickr8k-attention"),
        image="attend",
        attention="general",
        image_size=256,
        label_smoothing=0.1,
        mirror=True,
        distort=0.3,
        epochs=24,
        precision="mixed_bfloat16",
    ),
)

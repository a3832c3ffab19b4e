"""The presets of video. The description of a preset states its time and score, as measured in README.md."""

import pathlib

from pipelines.common.training.options import TrainingOptions
from pipelines.video.config import (
    Config,
    DataConfig,
    EvaluationConfig,
    FramesConfig,
    LossConfig,
    ModelConfig,
    RegularizationConfig,
)

PRESETS: dict[str, tuple[str, Config]] = {
    "sample": (
        "The embedded sample of moving shapes: a minute on two cores, all of the test's frames.",
        Config(
            run=pathlib.Path("saved_models/video/sample"),
            data=DataConfig(location="sample", batch_videos=4),
            frames=FramesConfig(image_size=48),
            # A narrow projection and permuted colours, so that the appearance of a shape does not reveal its movement;
            # and the differences between frames, as a movement changes only a few hundredths of the picture. The second
            # layer and the smoothing term of the loss turn frame-wise decisions into segments.
            model=ModelConfig(
                encoder="small", encoder_weights="none", projection=16, deltas=10.0, units=64, layers=2,
                bidirectional=True,
            ),
            regularization=RegularizationConfig(
                train_encoder=True, shift=0.08, shuffle_colours=True, feature_dropout=0.0, dropout=0.1
            ),
            loss=LossConfig(smoothing=0.15),
            evaluation=EvaluationConfig(filter=3),
            training=TrainingOptions(epochs=24, learning_rate=2e-3, schedule="linear", ema=0.99),
        ),
    ),
    "fight": (
        "Surveillance clips joined to sequences, fight or no fight in each frame, split by source video.",
        Config(
            run=pathlib.Path("saved_models/video/fight"),
            data=DataConfig(location="fight", annotations="sequences.csv", validation_share=0.2),
            model=ModelConfig(units=64, projection=64),
            regularization=RegularizationConfig(feature_dropout=0.5, dropout=0.5),
            evaluation=EvaluationConfig(filter=15),
            training=TrainingOptions(
                epochs=30, learning_rate=1e-3, schedule="linear", weight_decay=1e-2, optimizer="adamw"
            ),
        ),
    ),
    "50salads": (
        "50 Salads: actions in features of a CNN that were made elsewhere, 3 a second; split by person.",
        Config(
            run=pathlib.Path("saved_models/video/50salads"),
            data=DataConfig(
                location="50salads/dev", background="background", fps=3.0, group_prefix=3, batch_frames=20_000,
                validation_share=0.0, test_share=0.0,
            ),
            # The features nearly give the labels of the people that their CNN was trained on, but not of others: noise
            # and dropout make them as uncertain in training, so that the order of the actions is used as well.
            model=ModelConfig(
                encoder="none", standardize="video", projection=0, units=64, bidirectional=True, pool=3, refinement=64
            ),
            regularization=RegularizationConfig(feature_noise=1.7, feature_dropout=0.5, dropout=0.5),
            loss=LossConfig(smoothing=0.45),
            evaluation=EvaluationConfig(filter=15, monitor="none"),
            training=TrainingOptions(
                epochs=24, learning_rate=5e-3, schedule="cosine", warmup_steps=5, weight_decay=1e-2,
                optimizer="adamw", ema=0.98,
            ),
        ),
    ),
    "ceiling": (
        "Recordings of a room from its ceiling: a label in time for each act, split by recording session.",
        Config(
            run=pathlib.Path("saved_models/video/ceiling"),
            data=DataConfig(location="ceiling", background="none", fps=5.0, test_share=0.0, batch_videos=4),
            # Of a single frame, somebody who sits down looks like one who stands up: the differences of the frames show
            # the direction.
            model=ModelConfig(
                standardize="video", projection=64, deltas=1.0, units=64, bidirectional=True, pool=2
            ),
            regularization=RegularizationConfig(feature_dropout=0.5, dropout=0.5),
            loss=LossConfig(class_weights=True),
            evaluation=EvaluationConfig(filter=15, monitor="balanced_accuracy"),
            training=TrainingOptions(
                epochs=25, learning_rate=3e-3, schedule="cosine", weight_decay=1e-2, optimizer="adamw", ema=0.98
            ),
        ),
    ),
}  # fmt: skip

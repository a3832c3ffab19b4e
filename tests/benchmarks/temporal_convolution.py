"""Scores a temporal convolution network of the size of the recurrent one of the preset 50salads, on the same features.

    python tests/benchmarks/temporal_convolution.py --data 50salads/dev --seeds 1 2 3

Two stages of dilated residual layers as in MS-TCN (Farha and Gall 2019): 64 channels, dilations 1, 2, 4, …; the second
stage reads the probabilities of the first. Standardisation, noise, dropout, pooling, loss, optimizer, schedule and the
number of updates are those of the preset. Prints the test scores of each seed, without an average of weights.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipelines.video import dataset, scores
from pipelines.video.inputs import ArrayInputs
from pipelines.video.presets import PRESETS
from pipelines.video.temporal import standardize_video
from pipelines.video.tracks import make_tracks
from pipelines.video.train import frame_loss

CHANNELS = 64
LAYERS = (6, 3)  # of each stage


def stage(x, layers: int, classes: int, dropout: float):
    """Returns the logits of a stage for x float[batch, steps, channels]."""
    x = keras.layers.Dense(CHANNELS)(x)
    for number in range(layers):
        y = keras.layers.Conv1D(CHANNELS, 3, padding="same", dilation_rate=2**number, activation="relu")(x)
        y = keras.layers.Dense(CHANNELS)(y)
        x = x + keras.layers.Dropout(dropout / 2)(y)
    return keras.layers.Dense(classes)(keras.layers.Dropout(dropout)(x))


def network(features: int, classes: int, regularization) -> keras.Model:
    """Returns a model float[batch, steps, features] -> the logits of both stages."""
    inputs = keras.Input((None, features))
    x = keras.layers.SpatialDropout1D(regularization.feature_dropout)(inputs)
    first = stage(x, LAYERS[0], classes, regularization.dropout)
    second = stage(keras.layers.Softmax()(first), LAYERS[1], classes, regularization.dropout)
    return keras.Model(inputs, [first, second])


def pooled(x: np.ndarray, pool: int) -> np.ndarray:
    """Returns the mean of each `pool` frames: float[frames, features] -> float[steps, features]."""
    return np.stack([x[start : start + pool].mean(axis=0) for start in range(0, len(x), pool)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="50salads/dev")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    config = PRESETS["50salads"][1]
    data = dataclasses.replace(config.data, location=options.data, validation_share=0.0)
    parts = dataset.load(data)
    names = dataset.name_labels(parts["train"], data)
    size = dataset.feature_size(parts["train"], dataclasses.replace(config, data=data))
    tracks = {}
    for part in ("train", "test"):
        inputs = ArrayInputs([clip for video in parts[part] for clip in video.clips], data.fps, size)
        tracks[part] = make_tracks(parts[part], inputs, names, data, part)
    pool, training = config.model.pool, config.training

    def read(part: str) -> list[np.ndarray]:
        chunks = (np.concatenate(list(tracks[part].chunks(number))) for number in range(len(tracks[part])))
        return [standardize_video(x[None]).numpy()[0] for x in chunks]

    train, test = read("train"), read("test")
    steps = -(-max(map(len, train)) // pool)
    for seed in options.seeds:
        keras.utils.set_random_seed(seed)
        draw = np.random.default_rng(seed)
        model = network(size, len(names), config.regularization)
        batches = -(-len(train) // data.batch_videos)
        updates = round(training.epochs * batches)
        rate = keras.optimizers.schedules.CosineDecay(training.learning_rate, updates, training.final_fraction)
        optimizer = keras.optimizers.AdamW(rate, weight_decay=training.weight_decay, global_clipnorm=training.clip_norm)

        @tf.function
        def update(x, labels, mask, model=model, optimizer=optimizer):
            with tf.GradientTape() as tape:
                loss = 0.0
                for logits in model(x, training=True):
                    logits = tf.repeat(logits, pool, axis=1)
                    total, weight = frame_loss(
                        logits, labels, mask, np.ones(len(names)), config.loss.smoothing
                    )["loss"]  # fmt: skip
                    loss += total / weight
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

        order = np.zeros(0, int)
        for _ in range(updates):
            if len(order) < data.batch_videos:
                order = np.concatenate([order, draw.permutation(len(train))])
            rows, order = order[: data.batch_videos], order[data.batch_videos :]
            x = np.zeros([len(rows), steps, size], np.float32)
            labels = np.zeros([len(rows), steps * pool], np.int32)
            mask = np.zeros([len(rows), steps * pool], np.float32)
            for place, row in enumerate(rows):
                noisy = train[row] + config.regularization.feature_noise * draw.normal(size=train[row].shape)
                short = pooled(noisy, pool)
                x[place, : len(short)] = short
                labels[place, : len(noisy)] = tracks["train"].tracks[row].labels
                mask[place, : len(noisy)] = 1
            update(tf.constant(x), tf.constant(labels), tf.constant(mask))
        true = [track.labels for track in tracks["test"].tracks]
        found = [model(pooled(x, pool)[None])[-1].numpy()[0].repeat(pool, axis=0)[: len(x)] for x in test]
        result = scores.temporal(true, [each.argmax(axis=1) for each in found], names.index(data.background))
        shown = {name: round(value, 1) for name, value in result.items() if value is not None}
        print(f"seed {seed}, {model.count_params():,} parameters: {shown}", flush=True)


if __name__ == "__main__":
    main()

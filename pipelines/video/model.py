"""The frame classifier: a CNN encodes each frame, recurrent layers run over time, a linear map returns the logits.

    frames -> encoder -> features -> (standardisation) -> noise, dropout -> projection
        -> (mean of each `pool` frames) -> (deltas) -> recurrent layers with dropout -> logits

The same layers run over whole videos, over windows that start from the state after the previous window, and over single
frames.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

import keras
import tensorflow as tf

from pipelines.common.config import from_json
from pipelines.common.data.loading import load_labels
from pipelines.common.errors import UserError
from pipelines.common.files import read_json
from pipelines.common.runs import Run
from pipelines.common.seeds import Seeds
from pipelines.common.vision import encoders
from pipelines.video import confidence
from pipelines.video.augmentation import Augmentation
from pipelines.video.config import Config
from pipelines.video.preprocessing import Preprocessing
from pipelines.video.temporal import Refinement, append_deltas, make_temporal_layer, pool_frames, standardize_video

STATES = {"lstm": ("h", "c"), "rnn": ("h",), "none": ()}
LABELS_FILE = "labels.json"
FEATURES_FILE = "features.json"  # of a run on features made elsewhere: how many each frame has


@keras.saving.register_keras_serializable(package="unfold")
class FrameClassifier(keras.Model):
    """Labels each frame of a video (Donahue et al. 2015, "Long-term recurrent convolutional networks").

    Args:
        classes: number of labels.
        feature_size: number of features of each frame that were made elsewhere; 0: the encoder makes them.
        encoder, encoder_weights, image_size: see encoders.build_encoder; encoder "none": the inputs are features.
        train_encoder: whether the encoder is trained.
        encoder_first: name of the first layer of the encoder that is trained; empty: all are.
        standardize: "data": features are standardised by the mean and deviation that `set_standardization` sets;
            "video": by those of the video; "none": not.
        projection: units of a linear projection of the features; 0: no projection.
        deltas: factor of the difference from the frame before, which is appended to each frame (Furui 1986, "Speaker-
            independent isolated word recognition using dynamic features of speech spectrum"); 0: not appended.
        cell: "lstm"; "rnn", whose own output map y = W_ho h + b_o returns the logits (the sum of both directions); or
            "none": dense layers with ReLU instead of recurrent ones, so that each frame is labelled by itself.
        units: units of each direction of each recurrent layer.
        layers: number of recurrent layers.
        bidirectional: whether the video is also read from its end.
        pool: frames that are averaged to a step of the recurrent layers, bidirectional ones only if more than one.
        refinement: units of each direction of a second stage, a bidirectional LSTM that reads the probabilities of the
            first and returns the logits, as the later stages of MS-TCN do (Farha and Gall 2019); 0: none.
        shift, shuffle_colours: see Augmentation.
        feature_noise: standard deviation of the noise that is added to each feature of each frame in training.
        feature_dropout: share of the features dropped in the whole video (variational, Gal & Ghahramani 2016).
        recurrent_dropout: share of the units of the state dropped between time steps.
        dropout: share of units dropped between layers and, except with "rnn", before the softmax.
        seed: seed of the initial weights (except the encoder's) and of dropout.
    """

    def __init__(
        self,
        *,
        classes: int,
        feature_size: int,
        encoder: str,
        encoder_weights: str,
        train_encoder: bool,
        encoder_first: str,
        image_size: int,
        standardize: str,
        projection: int,
        deltas: float,
        cell: str,
        units: int,
        layers: int,
        bidirectional: bool,
        pool: int,
        refinement: int,
        shift: float,
        shuffle_colours: bool,
        feature_noise: float,
        feature_dropout: float,
        recurrent_dropout: float,
        dropout: float,
        seed: int | None = None,
        **kwargs,
    ):
        arguments = {name: value for name, value in locals().items() if name not in ("self", "kwargs", "__class__")}
        super().__init__(**kwargs)
        self.arguments = arguments
        self.cell, self.units, self.bidirectional, self.classes = cell, units, bidirectional, classes
        self.train_encoder, self.deltas, self.pool = train_encoder, deltas, pool
        seeds = Seeds(seed)

        def glorot():
            return keras.initializers.GlorotUniform(seed=seeds())

        self.encoder = None
        if encoder != "none":
            self.encoder = encoders.build_encoder(encoder, weights=encoder_weights, image_size=image_size)
            encoders.set_trainable(self.encoder, train_encoder, encoder_first or None)
        self.feature_size = feature_size if self.encoder is None else self.encoder.output_shape[-1]
        self.augmentation = Augmentation(shift, shuffle_colours, seed=seeds(), name="augmentation")
        self.feature_dropout = keras.layers.SpatialDropout1D(feature_dropout, seed=seeds(), name="feature_dropout")
        self.projection = None
        if projection:
            self.projection = keras.layers.Dense(projection, kernel_initializer=glorot(), name="projection")

        maps = [None] * (layers - 1) + [classes if cell == "rnn" else None]  # units of a layer's own output map
        self.temporal_layers = [
            make_temporal_layer(number, cell, units, outputs, bidirectional, recurrent_dropout, seeds)
            for number, outputs in enumerate(maps, start=1)
        ]
        self.dropouts = [
            keras.layers.Dropout(dropout, seed=seeds(), name=f"dropout_{number}") for number in range(1, layers + 1)
        ]
        self.head = None
        if cell != "rnn":
            self.head = keras.layers.Dense(classes, kernel_initializer=glorot(), dtype="float32", name="head")
        self.refinement = None
        if refinement:
            self.refinement = Refinement(refinement, classes, dropout=dropout, seed=seeds(), name="refinement")
        self.feature_noise = feature_noise
        if feature_noise:
            self.noise_seed = keras.random.SeedGenerator(seeds(), name="noise_seed")
        self.standardize = standardize
        if standardize == "data":
            weight = {"shape": (self.feature_size,), "dtype": "float32", "trainable": False, "autocast": False}
            self.feature_mean = self.add_weight(name="feature_mean", initializer="zeros", **weight)
            self.feature_deviation = self.add_weight(name="feature_deviation", initializer="ones", **weight)

    def build(self, input_shape=None):
        if self.built:
            return
        # With features, so that all layers get weights whether the model is called with pixels or features.
        features = tf.zeros([1, 1, self.feature_size])
        self.classify(self.project(features), self.initial_state(1))
        self.built = True

    def set_standardization(self, mean, deviation):
        """Sets the mean and the deviation float[features] of the features. Deviations of 0 are replaced by 1."""
        self.feature_mean.assign(mean)
        self.feature_deviation.assign(tf.where(tf.constant(deviation) > 0, deviation, 1.0))

    def encode(self, pixels, training=False):
        """Encodes pixels: float[batch, time, size, size, 3] from 0 to 255 -> features float[batch, time, features]."""
        assert self.encoder is not None
        pixels = self.augmentation(pixels, training=training and self.train_encoder)
        batch, time = tf.unstack(tf.shape(pixels)[:2])
        frames = tf.reshape(pixels, [-1, *pixels.shape[2:]])
        features = self.encoder(frames, training=training and self.train_encoder)
        return tf.reshape(features, [batch, time, features.shape[-1]])

    def project(self, features, training=False, padding_mask=None):
        """Projects features: float[batch, time, features] -> float[batch, time, width], after standardisation, noise
        and feature dropout.

        Args:
            padding_mask: bool[batch, time], False past the end of a video; None: there is no padding. With standardize
                "video", the features have to be those of whole videos.
        """
        if self.standardize == "data":
            features = (tf.cast(features, tf.float32) - self.feature_mean) / self.feature_deviation
        elif self.standardize == "video":
            features = standardize_video(features, padding_mask)
        if self.feature_noise and training:  # keras.layers.GaussianNoise allows at most 1
            noise = keras.random.normal(tf.shape(features), dtype=features.dtype, seed=self.noise_seed)
            features += tf.cast(self.feature_noise, features.dtype) * noise
        features = self.feature_dropout(features, training=training)
        return features if self.projection is None else self.projection(features)

    @property
    def state_sizes(self) -> list[dict[str, int]]:
        """Names and sizes of the state after a frame, in groups: with deltas, the previous frame and whether there is
        one; then h and c, or h, of each recurrent layer. Empty for a bidirectional model."""
        if self.bidirectional:
            return []
        before = [{"before": self.width, "seen": 1}] if self.deltas else []
        letters, numbers = STATES[self.cell], range(1, len(self.temporal_layers) + 1)
        return before + [{f"{letter}_{number}": self.units for letter in letters} for number in numbers if letters]

    @property
    def width(self) -> int:
        """Size of a projected frame."""
        return self.feature_size if self.projection is None else self.projection.units

    def initial_state(self, batch):
        """Returns the state before the first frame: zeros float[batch, size] in the groups of `state_sizes`."""
        return [[tf.zeros([batch, units]) for units in group.values()] for group in self.state_sizes]

    def classify(self, x, state, padding_mask=None, training=False, all_stages=False):
        """Returns (logits float32[batch, time, classes], the state after the last frame).

        Args:
            x: projected frames, float[batch, time, width].
            state: the state before the first frame; a bidirectional model ignores it.
            padding_mask: bool[batch, time], False past the end of a video; None: there is no padding.
            all_stages: return a list of logits, those of each stage.
        """
        state, states = list(state), []
        frames = tf.shape(x)[1]
        if self.pool > 1:
            x, padding_mask = pool_frames(x, padding_mask, self.pool)
        if self.deltas:
            before, seen = state.pop(0) if state else (tf.zeros_like(x[:, 0]), tf.zeros_like(x[:, 0, :1]))
            x, last = append_deltas(x, before, seen, self.deltas, padding_mask)
            states = [] if self.bidirectional else [last]
        for number, (layer, dropout) in enumerate(zip(self.temporal_layers, self.dropouts, strict=True)):
            if self.cell == "none":
                x = layer(x)
            elif self.bidirectional:
                x = layer(x, mask=padding_mask, training=training)
            else:
                x, *last = layer(x, initial_state=state[number], mask=padding_mask, training=training)
                states.append(last)
            if self.head is not None or number + 1 < len(self.temporal_layers):
                x = dropout(x, training=training)
        stages = [tf.cast(x if self.head is None else self.head(x), tf.float32)]
        if self.refinement is not None:
            stages.append(self.refinement(stages[0], padding_mask=padding_mask, training=training))
        if self.pool > 1:
            stages = [tf.repeat(logits, self.pool, axis=1)[:, :frames] for logits in stages]
        return stages if all_stages else stages[-1], states

    def classify_window(self, inputs, state, training=False, padding_mask=None, all_stages=False):
        """Returns (logits, state) for inputs as in `call` and the state after the previous window."""
        features = self.encode(inputs, training) if len(inputs.shape) == 5 else inputs
        x = self.project(features, training, padding_mask)
        return self.classify(x, state, padding_mask, training, all_stages)

    def call(self, inputs, padding_mask=None, training=False, all_stages=False):
        """Returns the logits of whole videos, float32[batch, time, classes].

        Args:
            inputs: pixels float[batch, time, size, size, 3], or features float[batch, time, features].
            padding_mask: bool[batch, time], False past the end of a video.
            all_stages: return a list of logits, those of each stage.
        """
        state = self.initial_state(tf.shape(inputs)[0])
        return self.classify_window(inputs, state, training, padding_mask, all_stages)[0]

    def get_config(self):
        return {**super().get_config(), **self.arguments, "encoder_weights": "none"}


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained run: its configuration, the names of its labels, its preprocessing, the model, and the temperature of
    its confidence (None: not fitted)."""

    config: Config
    names: tuple[str, ...]
    preprocessing: Preprocessing
    model: FrameClassifier
    temperature: float | None = None


def load_trained(run: Run) -> Trained:
    """Loads a trained run; UserError when it is not trained yet, or a file is missing or damaged."""
    run.require_weights()
    config = from_json(Config, run.config)
    names = load_labels(run.path / LABELS_FILE)
    size = load_feature_size(run.path / FEATURES_FILE) if config.model.encoder == "none" else 0
    model = make_model(config, names, size, encoder_weights="none")
    run.load_weights(model)
    preprocessing = Preprocessing(**vars(config.frames))
    return Trained(config, names, preprocessing, model, confidence.load(run.path))


def load_feature_size(path: pathlib.Path) -> int:
    """Returns the number of features of each frame that the model of a run takes."""
    stored = read_json(path)
    size = stored.get("size") if isinstance(stored, dict) else None
    if type(size) is not int or not 1 <= size < 2**31:
        raise UserError(f'{path} does not contain the size of the features: expected an object such as {{"size": 128}}')
    return size


def make_model(config: Config, names: Sequence[str], feature_size: int = 0, **changes) -> FrameClassifier:
    """Returns a built FrameClassifier for a configuration; `changes` replace arguments of the model."""
    model = FrameClassifier(
        **{
            "classes": len(names),
            "feature_size": feature_size,
            "image_size": config.frames.image_size,
            **vars(config.model),
            **vars(config.regularization),
            "seed": config.training.seed,
            "name": "video",
            **changes,
        }
    )
    model.build()
    return model

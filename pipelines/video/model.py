"""The frame classifier: a CNN encodes each frame, recurrent layers run over time, a linear map returns the logits.

    frames -> encoder -> feature dropout -> projection -> (deltas) -> recurrent layers with dropout -> logits

The same layers run over whole videos, over windows that start from the state after the previous window, and over single
frames.
"""

import dataclasses
from collections.abc import Sequence

import keras
import tensorflow as tf

from layers.cells import CELLS
from pipelines.common.config import from_json
from pipelines.common.data.loading import load_labels
from pipelines.common.runs import Run, load_weights
from pipelines.common.seeds import Seeds
from pipelines.common.vision import encoders
from pipelines.video.augmentation import Augmentation
from pipelines.video.config import Config
from pipelines.video.preprocessing import Preprocessing

STATES = {"lstm": ("h", "c"), "rnn": ("h",), "none": ()}
LABELS_FILE = "labels.json"


@keras.saving.register_keras_serializable(package="unfold")
class FrameClassifier(keras.Model):
    """Labels each frame of a video (Donahue et al. 2015, "Long-term recurrent convolutional networks").

    Args:
        classes: number of labels.
        encoder, encoder_weights, image_size: see pipelines.common.vision.encoders.build_encoder.
        train_encoder: whether the encoder is trained.
        encoder_first: name of the first layer of the encoder that is trained; empty: all are.
        projection: units of a linear projection of the features; 0: no projection.
        deltas: factor of the difference from the frame before, which is appended to each frame (Furui 1986, "Speaker-
            independent isolated word recognition using dynamic features of speech spectrum"); 0: not appended.
        cell: "lstm"; "rnn", whose own output map y = W_ho h + b_o returns the logits (the sum of both directions); or
            "none": dense layers with ReLU instead of recurrent ones, so that each frame is labelled by itself.
        units: units of each direction of each recurrent layer.
        layers: number of recurrent layers.
        bidirectional: whether the video is also read from its end.
        shift, shuffle_colours: see Augmentation.
        feature_dropout: share of the features dropped in the whole video (variational, Gal & Ghahramani 2016).
        recurrent_dropout: share of the units of the state dropped between time steps.
        dropout: share of units dropped between layers and before the softmax.
        seed: seed of the initial weights (except the encoder's) and of dropout.
    """

    def __init__(
        self,
        *,
        classes: int,
        encoder: str,
        encoder_weights: str,
        train_encoder: bool,
        encoder_first: str,
        image_size: int,
        projection: int,
        deltas: float,
        cell: str,
        units: int,
        layers: int,
        bidirectional: bool,
        shift: float,
        shuffle_colours: bool,
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
        self.train_encoder, self.deltas = train_encoder, deltas
        seeds = Seeds(seed)

        def glorot():
            return keras.initializers.GlorotUniform(seed=seeds())

        self.encoder = encoders.build_encoder(encoder, weights=encoder_weights, image_size=image_size)
        encoders.set_trainable(self.encoder, train_encoder, encoder_first or None)
        self.augmentation = Augmentation(shift, shuffle_colours, seed=seeds(), name="augmentation")
        self.feature_dropout = keras.layers.SpatialDropout1D(feature_dropout, seed=seeds(), name="feature_dropout")
        self.projection = keras.layers.Dense(projection, kernel_initializer=glorot(), name="projection") if projection \
            else None  # fmt: skip

        def recurrent(number: int, backwards: bool):
            own = {"output_units": classes} if cell == "rnn" and number == layers else {}
            return CELLS[cell](
                units,
                return_sequences=True,
                return_state=not bidirectional,
                go_backwards=backwards,
                recurrent_dropout=recurrent_dropout,
                kernel_initializer=glorot(),
                recurrent_initializer=keras.initializers.Orthogonal(seed=seeds()),
                seed=seeds(),
                name=f"{'backward' if backwards else 'forward'}_{number}",
                **own,
            )

        def temporal_layer(number: int):
            if cell == "none":
                return keras.layers.Dense(units, "relu", kernel_initializer=glorot(), name=f"dense_{number}")
            forward = recurrent(number, False)
            if not bidirectional:
                return forward
            merge = "sum" if cell == "rnn" and number == layers else "concat"
            return keras.layers.Bidirectional(
                forward, merge_mode=merge, backward_layer=recurrent(number, True), name=f"recurrent_{number}"
            )

        self.temporal_layers = [temporal_layer(number) for number in range(1, layers + 1)]
        self.dropouts = [
            keras.layers.Dropout(dropout, seed=seeds(), name=f"dropout_{number}") for number in range(1, layers + 1)
        ]
        self.head = None
        if cell != "rnn":
            self.head = keras.layers.Dense(classes, kernel_initializer=glorot(), dtype="float32", name="head")

    def build(self, input_shape=None):
        if self.built:
            return
        # With features, so that all layers get weights whether the model is called with pixels or features.
        features = tf.zeros([1, 1, self.encoder.output_shape[-1]])
        self.classify(self.project(features), self.initial_state(1))
        self.built = True

    def encode(self, pixels, training=False):
        """Encodes pixels: float[batch, time, size, size, 3] from 0 to 255 -> features float[batch, time, features]."""
        pixels = self.augmentation(pixels, training=training and self.train_encoder)
        batch, time = tf.unstack(tf.shape(pixels)[:2])
        frames = tf.reshape(pixels, [-1, *pixels.shape[2:]])
        features = self.encoder(frames, training=training and self.train_encoder)
        return tf.reshape(features, [batch, time, features.shape[-1]])

    def project(self, features, training=False):
        """Projects features: float[batch, time, features] -> float[batch, time, width], with feature dropout."""
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
        return self.encoder.output_shape[-1] if self.projection is None else self.projection.units

    def initial_state(self, batch):
        """Returns the state before the first frame: zeros float[batch, size] in the groups of `state_sizes`."""
        return [[tf.zeros([batch, units]) for units in group.values()] for group in self.state_sizes]

    def classify(self, x, state, padding_mask=None, training=False):
        """Returns (logits float32[batch, time, classes], the state after the last frame).

        Args:
            x: projected frames, float[batch, time, width].
            state: the state before the first frame; a bidirectional model ignores it.
            padding_mask: bool[batch, time], False past the end of a video; None: there is no padding.
        """
        state, states = list(state), []
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
        logits = x if self.head is None else self.head(x)
        return tf.cast(logits, tf.float32), states

    def classify_window(self, inputs, state, training=False, padding_mask=None):
        """Returns (logits, state) for inputs as in `call` and the state after the previous window."""
        features = self.encode(inputs, training) if len(inputs.shape) == 5 else inputs
        return self.classify(self.project(features, training), state, padding_mask, training)

    def call(self, inputs, padding_mask=None, training=False):
        """Returns the logits of whole videos, float32[batch, time, classes].

        Args:
            inputs: pixels float[batch, time, size, size, 3], or features float[batch, time, features].
            padding_mask: bool[batch, time], False past the end of a video.
        """
        return self.classify_window(inputs, self.initial_state(tf.shape(inputs)[0]), training, padding_mask)[0]

    def get_config(self):
        return {**super().get_config(), **self.arguments, "encoder_weights": "none"}


def append_deltas(x, before, seen, factor: float, padding_mask):
    """Appends to each frame its difference from the frame before, times `factor`.

    Args:
        x: float[batch, time, width].
        before: the frame before the first one, float[batch, width].
        seen: float[batch, 1], 0 if there is no frame before the first one: its difference is 0.
        padding_mask: bool[batch, time], False past the end of a video; None: there is no padding.

    Returns:
        (float[batch, time, 2 width], [before, seen] for the next window).
    """
    before, seen = tf.cast(before, x.dtype), tf.cast(seen, x.dtype)
    previous = tf.concat([before[:, None], x[:, :-1]], axis=1)
    has_previous = tf.concat([seen[:, None], tf.ones_like(x[:, 1:, :1])], axis=1)
    deltas = (x - previous) * has_previous * tf.cast(factor, x.dtype)
    frames = tf.fill([tf.shape(x)[0]], tf.shape(x)[1])
    if padding_mask is not None:
        frames = tf.reduce_sum(tf.cast(padding_mask, tf.int32), axis=1)
    any_frame = (frames > 0)[:, None]
    last = tf.where(any_frame, tf.gather(x, tf.maximum(frames - 1, 0), batch_dims=1), before)
    return tf.concat([x, deltas], axis=-1), [last, tf.where(any_frame, tf.ones_like(seen), seen)]


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained run: its configuration, the names of its labels, its preprocessing and the model."""

    config: Config
    names: tuple[str, ...]
    preprocessing: Preprocessing
    model: FrameClassifier


def load_trained(run: Run) -> Trained:
    """Loads a trained run; UserError when it is not trained yet, or a file is missing or damaged."""
    run.require_weights()
    config = from_json(Config, run.config)
    names = load_labels(run.path / LABELS_FILE)
    model = make_model(config, names, encoder_weights="none")
    load_weights(model, run.weights_file)
    return Trained(config, names, Preprocessing(**vars(config.frames)), model)


def make_model(config: Config, names: Sequence[str], **changes) -> FrameClassifier:
    """Returns a built FrameClassifier for a configuration; `changes` replace arguments of the model."""
    model = FrameClassifier(
        **{
            "classes": len(names),
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

"""The classifier: a CNN for each frame, recurrent layers over time, a softmax for each frame.

frames -> encoder -> (feature dropout) -> linear map -> recurrent layers, dropout between them -> softmax for each frame

The same layers run over whole videos, over windows that begin with the state that the one before has left, and over a
single frame.
"""

import dataclasses
from collections.abc import Sequence

import keras
import tensorflow as tf

from layers.lstm import LSTM
from layers.rnn import VanillaRNN
from pipelines.common.data.loading import load_labels
from pipelines.common.runs import Run, load_weights
from pipelines.common.seeds import Seeds
from pipelines.common.vision import encoders
from pipelines.video.augmentation import Augmentation
from pipelines.video.config import Config
from pipelines.video.preprocessing import Preprocessing

CELLS = {"lstm": LSTM, "rnn": VanillaRNN}
STATES = {"lstm": ("h", "c"), "rnn": ("h",), "none": ()}
LABELS_FILE = "labels.json"


@keras.saving.register_keras_serializable(package="unfold")
class FrameClassifier(keras.Model):
    """A label for each frame of a video (Donahue et al. 2015, "Long-term recurrent convolutional networks").

    Args:
        encoder, encoder_weights, image_size: of pipelines.common.vision.encoders.build_encoder.
        train_encoder: train the encoder with the rest.
        encoder_first: name of its first layer that is trained; empty: all are.
        classes: number of labels.
        projection: units of a linear map of the features; 0: none.
        deltas: factor of each frame's change since the frame before, which the recurrent layers are given beside it
            (Furui 1986, "Speaker-independent isolated word recognition using dynamic features of speech spectrum"); 0:
            they are not.
        cell: "lstm"; "rnn", whose own output map y = W_ho h + b_o gives the logits (of two directions their sum); or
            "none": a dense layer with ReLU in the place of each recurrent layer, each frame by itself.
        units: of each direction of each recurrent layer.
        layers: number of recurrent layers.
        bidirectional: read the video from its end as well.
        shift, shuffle_colours: of Augmentation.
        feature_dropout: share of features dropped over the whole video (variational, Gal & Ghahramani 2016).
        recurrent_dropout: share of the state's units dropped between steps.
        dropout: share of units dropped between layers and before the softmax.
        seed: makes initial weights (but the encoder's) and dropout repeatable.
    """

    def __init__(
        self,
        *,
        encoder: str,
        encoder_weights: str,
        train_encoder: bool,
        encoder_first: str,
        image_size: int,
        classes: int,
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
        super().__init__(**kwargs)
        self.options = {
            "encoder": encoder, "encoder_weights": encoder_weights, "train_encoder": train_encoder,
            "encoder_first": encoder_first, "image_size": image_size, "classes": classes, "projection": projection,
            "deltas": deltas,
            "cell": cell, "units": units, "layers": layers, "bidirectional": bidirectional,
            "shift": shift, "shuffle_colours": shuffle_colours, "feature_dropout": feature_dropout,
            "recurrent_dropout": recurrent_dropout, "dropout": dropout, "seed": seed,
        }  # fmt: skip
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

        def over_time(number: int):
            if cell == "none":
                return keras.layers.Dense(units, "relu", kernel_initializer=glorot(), name=f"dense_{number}")
            forward = recurrent(number, False)
            if not bidirectional:
                return forward
            merge = "sum" if cell == "rnn" and number == layers else "concat"
            return keras.layers.Bidirectional(
                forward, merge_mode=merge, backward_layer=recurrent(number, True), name=f"recurrent_{number}"
            )

        self.recurrences = [over_time(number) for number in range(1, layers + 1)]
        self.dropouts = [
            keras.layers.Dropout(dropout, seed=seeds(), name=f"dropout_{number}") for number in range(1, layers + 1)
        ]
        self.head = None
        if cell != "rnn":
            self.head = keras.layers.Dense(classes, kernel_initializer=glorot(), dtype="float32", name="head")

    def build(self, input_shape=None):
        if self.built:
            return
        # The layers make their weights when they see what the encoder gives, whatever the model is first called with.
        features = tf.zeros([1, 1, self.encoder.output_shape[-1]])
        self.over_time(self.project(features), self.initial_state(1))
        self.built = True

    def encode(self, pixels, training=False):
        """float[batch, time, size, size, 3] from 0 to 255 -> features float[batch, time, features]."""
        pixels = self.augmentation(pixels, training=training and self.train_encoder)
        batch, time = tf.unstack(tf.shape(pixels)[:2])
        frames = tf.reshape(pixels, [-1, *pixels.shape[2:]])
        features = self.encoder(frames, training=training and self.train_encoder)
        return tf.reshape(features, [batch, time, features.shape[-1]])

    def project(self, features, training=False):
        """What the recurrent layers are given of features float[batch, time, features]."""
        features = self.feature_dropout(features, training=training)
        return features if self.projection is None else self.projection(features)

    @property
    def state_sizes(self) -> list[dict[str, int]]:
        """Names and units of what a frame leaves for the next one, in groups: the frame before it and whether there was
        one (for deltas), and h and c, or h, of each recurrent layer. Empty for a model of two directions."""
        if self.bidirectional:
            return []
        before = [{"before": self.width, "seen": 1}] if self.deltas else []
        letters, numbers = STATES[self.cell], range(1, len(self.recurrences) + 1)
        return before + [{f"{letter}_{number}": self.units for letter in letters} for number in numbers if letters]

    @property
    def width(self) -> int:
        """Units of what `project` gives for a frame."""
        return self.encoder.output_shape[-1] if self.projection is None else self.projection.units

    def initial_state(self, batch):
        """The state before the first frame: zeros float[batch, units] in the groups of `state_sizes`."""
        return [[tf.zeros([batch, units]) for units in group.values()] for group in self.state_sizes]

    def over_time(self, x, state, kept=None, training=False):
        """(logits float32[batch, time, classes], state) from what `project` gives, float[batch, time, width].

        Args:
            state: of the frame before; a model of two directions ignores it.
            kept: bool[batch, time], False past the end of a video; None: all are frames.
        """
        state, states = list(state), []
        if self.deltas:
            before = state.pop(0) if state else [tf.zeros_like(x[:, 0]), tf.zeros_like(x[:, 0, :1])]
            x, last = with_changes(x, *before, self.deltas, kept)
            states = [] if self.bidirectional else [last]
        for number, (layer, dropout) in enumerate(zip(self.recurrences, self.dropouts, strict=True)):
            if self.cell == "none":
                x = layer(x)
            elif self.bidirectional:
                x = layer(x, mask=kept, training=training)
            else:
                x, *last = layer(x, initial_state=state[number], mask=kept, training=training)
                states.append(last)
            if self.head is not None or number + 1 < len(self.recurrences):
                x = dropout(x, training=training)
        logits = x if self.head is None else self.head(x)
        return tf.cast(logits, tf.float32), states

    def steps(self, inputs, state, training=False):
        """(logits, state) of a window: inputs as in `call`, the state that the window before has left."""
        features = self.encode(inputs, training) if len(inputs.shape) == 5 else inputs
        return self.over_time(self.project(features, training), state, training=training)

    def call(self, inputs, kept=None, training=False):
        """Pixels float[batch, time, size, size, 3], or features float[batch, time, features], to logits
        float32[batch, time, classes]; kept: bool[batch, time], False past the end of a video."""
        features = self.encode(inputs, training) if len(inputs.shape) == 5 else inputs
        state = self.initial_state(tf.shape(features)[0])
        return self.over_time(self.project(features, training), state, kept, training)[0]

    def get_config(self):
        return {**super().get_config(), **self.options, "encoder_weights": "none"}


def with_changes(x, before, seen, factor: float, kept):
    """(float[batch, time, 2 width]: each frame and its change since the one before, times `factor`; [before, seen] for
    the next window).

    Args:
        x: float[batch, time, width].
        before: the frame before these, float[batch, width]; seen: float[batch, 1], 0 where there is none: no change.
        kept: bool[batch, time], False past the end of a video; None: all are frames.
    """
    before, seen = tf.cast(before, x.dtype), tf.cast(seen, x.dtype)
    earlier = tf.concat([before[:, None], x[:, :-1]], axis=1)
    known = tf.concat([seen[:, None], tf.ones_like(x[:, 1:, :1])], axis=1)
    changes = (x - earlier) * known * tf.cast(factor, x.dtype)
    frames = tf.fill([tf.shape(x)[0]], tf.shape(x)[1])
    if kept is not None:
        frames = tf.reduce_sum(tf.cast(kept, tf.int32), axis=1)
    some = (frames > 0)[:, None]
    last = tf.where(some, tf.gather(x, tf.maximum(frames - 1, 0), batch_dims=1), before)
    return tf.concat([x, changes], axis=-1), [last, tf.where(some, tf.ones_like(seen), seen)]


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a run learned: its config, the names of its labels, how it reads frames, and the model."""

    config: Config
    names: tuple[str, ...]
    preprocessing: Preprocessing
    model: FrameClassifier


def load_trained(run: Run) -> Trained:
    """Reads a trained run; UserError when it is not trained yet, or a file is missing or damaged."""
    run.require_weights()
    config = Config.from_json(run.config)
    names = load_labels(run.path / LABELS_FILE)
    model = make_model(config, names, with_weights=False)
    load_weights(model, run.weights_file)
    return Trained(config, names, make_preprocessing(config), model)


def make_model(config: Config, names: Sequence[str], with_weights: bool = True) -> FrameClassifier:
    """A built FrameClassifier with the figures of a config; its encoder has the config's weights, or random ones."""
    model = FrameClassifier(
        encoder=config.encoder,
        encoder_weights=config.encoder_weights if with_weights else "none",
        train_encoder=config.train_encoder,
        encoder_first=config.encoder_first,
        image_size=config.image_size,
        classes=len(names),
        projection=config.projection,
        deltas=config.deltas,
        cell=config.cell,
        units=config.units,
        layers=config.layers,
        bidirectional=config.bidirectional,
        shift=config.shift,
        shuffle_colours=config.shuffle_colours,
        feature_dropout=config.feature_dropout,
        recurrent_dropout=config.recurrent_dropout,
        dropout=config.dropout,
        seed=config.training.seed,
        name="video",
    )
    model.build()
    return model


def make_preprocessing(config: Config) -> Preprocessing:
    return Preprocessing(size=config.image_size, fit=config.fit)

"""Exports a run as a SavedModel that takes frames, or features made elsewhere, and only needs TensorFlow."""

import pathlib
from collections.abc import Sequence

import tensorflow as tf

from pipelines.common.confidence import report_missing
from pipelines.common.options import SAVED_MODEL, Export
from pipelines.common.serving import members
from pipelines.common.serving.formats import write_functions
from pipelines.common.serving.saved_model import write_saved_model
from pipelines.common.vision import encoders
from pipelines.video.confidence import average, confidence_of
from pipelines.video.functions import functions, mean_probabilities, state_sizes
from pipelines.video.model import Trained, load_trained


def export(options: Export) -> pathlib.Path:
    """Writes the export of one run, or of several whose probabilities it averages; returns its folder.

    For other runtimes than TensorFlow it is their `functions`.

    Raises:
        UserError: A run is not trained, or several do not have the same labels and inputs.
    """
    trained = load_members(options.run)
    if options.format != SAVED_MODEL:
        return write_functions(options.folder, functions(trained), options.format, options.weights)
    return write_saved_model(options.folder, Exported(trained).signatures, [member.model for member in trained])


def load_members(runs: Sequence[pathlib.Path]) -> list[Trained]:
    """Returns runs whose probabilities can be averaged. Raises UserError if they cannot, or one is not trained."""
    found = members.load_members(runs, "video", load_trained, difference)
    for path, member in zip(runs, found, strict=True):
        if member.temperature is None:
            report_missing(path, "video")
    return found


def difference(first: Trained, other: Trained) -> str | None:
    """Returns what two runs do not share, as far as an average needs it; None if nothing differs."""
    pairs: dict[str, list] = {
        "labels": [each.names for each in (first, other)],
        "frames per second": [each.config.data.fps for each in (first, other)],
        "directions": [each.model.bidirectional for each in (first, other)],
        "inputs": [
            (each.model.encoder is None, each.model.feature_size, each.config.frames) for each in (first, other)
        ],
    }
    return next((f"{what} differ" for what, (one, another) in pairs.items() if one != another), None)


class Exported:
    """The signatures of an export. Frames of any height and width are scaled in the graph, as in training.

    The inputs of `serve`, `window` and `step` are called "frames", or "features" if the model has no encoder. There are
    then no signatures `encode` and `label`.

    The probabilities of several models are averaged. `encode` then returns the features of all of them side by side,
    and the state of the second has names such as h_1_of_2.
    """

    def __init__(self, members: Sequence[Trained]):
        self.trained = members[0]
        self.models = [member.model for member in members]
        self.model = self.models[0]
        self.names = tf.constant(self.trained.names)  # string[classes]
        self.temperature = average([member.temperature for member in members])
        encodes = self.model.encoder is not None
        if encodes:
            inputs = tf.TensorSpec([None, None, None, None, 3], tf.uint8, name="frames")
        else:
            inputs = tf.TensorSpec([None, None, self.model.feature_size], tf.float32, name="features")
        one_step = tf.TensorSpec([inputs.shape[0], *inputs.shape[2:]], inputs.dtype, name=inputs.name)
        lengths = tf.TensorSpec([None], tf.int32, name="lengths")
        width = sum(model.feature_size for model in self.models)  # of what `encode` returns
        encoded = tf.TensorSpec([None, None, width], tf.float32, name="features")
        sizes = state_sizes(self.models)
        self.state_names = list(sizes)
        states = [tf.TensorSpec([None, units], tf.float32, name=name) for name, units in sizes.items()]

        def signature(function, *specs):
            return tf.function(function, input_signature=list(specs), autograph=False)

        self.signatures = {
            "serving_default": signature(self.serve, inputs, lengths),
            "settings": signature(self.settings),
        }
        if encodes:
            self.signatures["encode"] = signature(lambda frames: {"features": self.encode(frames)}, inputs)
            self.signatures["label"] = signature(self.label, encoded, lengths)
        if not self.model.bidirectional:
            self.signatures["step"] = signature(self.step, one_step, *states)
            self.signatures["window"] = signature(self.window, inputs, lengths, *states)

    def encode(self, frames):
        """Encodes frames: uint8[batch, time, height, width, 3] -> float[batch, time, features]. Returns features that
        were made elsewhere as they are."""
        if self.model.encoder is None:
            return frames
        batch, time, height, width, _ = tf.unstack(tf.shape(frames))
        pixels = self.trained.preprocessing(tf.reshape(frames, tf.stack([batch * time, height, width, 3])))

        def encode(model):
            features = encoders.encode_batch(lambda pixels: model.encoder(pixels, training=False), pixels)
            return tf.reshape(features, tf.stack([batch, time, features.shape[-1]]))

        return tf.concat([encode(model) for model in self.models], axis=-1)

    def serve(self, frames, lengths):
        """Labels whole videos, of which `lengths` int32[batch] are the numbers of frames.

        Returns:
            labels string[batch, time], empty past the length; probabilities float[batch, time, classes] and, if it was
            fitted, confidence float[batch, time], 0 there.
        """
        return self.label(self.encode(frames), lengths)

    def label(self, features, lengths):
        """Labels whole videos, given the features that `encode` returns; see `serve`."""
        return self.predictions(features, lengths, self.initial_states(tf.shape(features)[0]))[0]

    def window(self, frames, lengths, *states):
        """Labels the next frames of videos, given the state after the frames before; also returns the new state."""
        outputs, state = self.predictions(self.encode(frames), lengths, self.nested(states))
        return {**outputs, **dict(zip(self.state_names, tf.nest.flatten(state), strict=True))}

    def step(self, frames, *states):
        """Labels the next frame of live streams, uint8[batch, height, width, 3] or float[batch, features].

        Args:
            states: the state after the frame before; zeros at first.

        Returns:
            labels string[batch], probabilities float[batch, classes], confidence float[batch], and the new state.
        """
        outputs = self.window(frames[:, None], tf.ones([tf.shape(frames)[0]], tf.int32), *states)
        of_frames = ("labels", "probabilities", "confidence")
        return {name: value[:, 0] if name in of_frames else value for name, value in outputs.items()}

    def predictions(self, features, lengths, state):
        batch = tf.shape(features)[0]
        for name, value in [("lengths", lengths), *zip(self.state_names, tf.nest.flatten(state), strict=True)]:
            message = f"{name} has another batch size than the frames or features"
            tf.debugging.assert_equal(tf.shape(value)[0], batch, message)
        mask = tf.sequence_mask(lengths, tf.shape(features)[1])
        mean, state = mean_probabilities(self.models, features, state, mask)
        labels = tf.gather(self.names, tf.argmax(mean, axis=2))
        probabilities = tf.where(mask[:, :, None], mean, 0.0)
        outputs = {"labels": tf.where(mask, labels, ""), "probabilities": probabilities}
        if self.temperature is not None:
            outputs["confidence"] = tf.where(mask, confidence_of(mean, self.temperature), 0.0)
        return outputs, state

    def initial_states(self, batch) -> list:
        """Returns the states before the first frame, for each model in its groups."""
        return [model.initial_state(batch) for model in self.models]

    def nested(self, states) -> list:
        """Returns a flat list of states as those that `initial_states` returns."""
        return tf.nest.pack_sequence_as(self.initial_states(1), list(states))

    def settings(self):
        """Returns how videos have to be read, `fps` float[] (0: at their own rate), and `classes` string[classes]."""
        return {"fps": tf.constant(self.trained.config.data.fps, tf.float32), "classes": self.names}

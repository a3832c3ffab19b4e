"""Exports a run as a SavedModel that takes frames and only needs TensorFlow."""

import pathlib

import tensorflow as tf

from pipelines.common.runs import Run
from pipelines.common.serving.saved_model import write_saved_model
from pipelines.common.vision import encoders
from pipelines.video.model import Trained, load_trained


def export(run_path: pathlib.Path, to: pathlib.Path | None = None) -> pathlib.Path:
    """Writes the export of a run; returns its folder.

    Args:
        to: the folder; None: `export` in the folder of the run.

    Raises:
        UserError: The run is not trained.
    """
    run = Run.open(run_path, "video")
    exported = Exported(load_trained(run))
    return write_saved_model(to or run.export, exported.signatures, [exported.trained.model])


class Exported:
    """The signatures of an export. Frames of any height and width are scaled in the graph, as in training."""

    def __init__(self, trained: Trained):
        self.trained = trained
        self.model = trained.model
        self.names = tf.constant(trained.names)  # string[classes]
        frames = tf.TensorSpec([None, None, None, None, 3], tf.uint8, name="frames")
        frame = tf.TensorSpec([None, None, None, 3], tf.uint8, name="frames")
        lengths = tf.TensorSpec([None], tf.int32, name="lengths")
        features = tf.TensorSpec([None, None, self.model.width], tf.float32, name="features")
        sizes = {name: units for group in self.model.state_sizes for name, units in group.items()}
        self.state_names = list(sizes)
        states = [tf.TensorSpec([None, units], tf.float32, name=name) for name, units in sizes.items()]

        def signature(function, *specs):
            return tf.function(function, input_signature=list(specs), autograph=False)

        self.signatures = {
            "serving_default": signature(self.serve, frames, lengths),
            "encode": signature(lambda frames: {"features": self.encode(frames)}, frames),
            "label": signature(self.label, features, lengths),
            "settings": signature(self.settings),
        }
        if not self.model.bidirectional:
            self.signatures["step"] = signature(self.step, frame, *states)
            self.signatures["window"] = signature(self.window, frames, lengths, *states)

    def encode(self, frames):
        """Encodes and projects frames: uint8[batch, time, height, width, 3] -> float[batch, time, features]."""
        batch, time, height, width, _ = tf.unstack(tf.shape(frames))
        pixels = self.trained.preprocessing(tf.reshape(frames, tf.stack([batch * time, height, width, 3])))
        features = encoders.encode_batch(lambda pixels: self.model.encoder(pixels, training=False), pixels)
        features = self.model.project(features[:, None])
        return tf.reshape(features, tf.stack([batch, time, features.shape[-1]]))

    def serve(self, frames, lengths):
        """Labels whole videos, of which `lengths` int32[batch] are the numbers of frames.

        Returns:
            labels string[batch, time], empty past the length; probabilities float[batch, time, classes], 0 there.
        """
        return self.label(self.encode(frames), lengths)

    def label(self, features, lengths):
        """Labels whole videos, given the features that `encode` returns; see `serve`."""
        return self.predictions(features, lengths, self.model.initial_state(tf.shape(features)[0]))[0]

    def window(self, frames, lengths, *states):
        """Labels the next frames of videos, given the state after the frames before; also returns the new state."""
        outputs, state = self.predictions(self.encode(frames), lengths, self.nested(states))
        return {**outputs, **dict(zip(self.state_names, tf.nest.flatten(state), strict=True))}

    def step(self, frames, *states):
        """Labels the next frame of live streams, uint8[batch, height, width, 3].

        Args:
            states: the state after the frame before; zeros at first.

        Returns:
            labels string[batch], probabilities float[batch, classes], and the new state.
        """
        outputs = self.window(frames[:, None], tf.ones([tf.shape(frames)[0]], tf.int32), *states)
        return {name: value[:, 0] if name in ("labels", "probabilities") else value for name, value in outputs.items()}

    def predictions(self, features, lengths, state):
        batch = tf.shape(features)[0]
        for name, value in [("lengths", lengths), *zip(self.state_names, tf.nest.flatten(state), strict=True)]:
            message = f"{name} has another batch size than the frames or features"
            tf.debugging.assert_equal(tf.shape(value)[0], batch, message)
        mask = tf.sequence_mask(lengths, tf.shape(features)[1])
        logits, state = self.model.classify(features, state, mask)
        labels = tf.gather(self.names, tf.argmax(logits, axis=2))
        probabilities = tf.where(mask[:, :, None], tf.nn.softmax(logits), 0.0)
        return {"labels": tf.where(mask, labels, ""), "probabilities": probabilities}, state

    def nested(self, states) -> list:
        """Returns a flat list of states in the groups of the model."""
        return tf.nest.pack_sequence_as(self.model.initial_state(1), list(states))

    def settings(self):
        """Returns how videos have to be read, `fps` float[] (0: at their own rate), and `classes` string[classes]."""
        return {"fps": tf.constant(self.trained.config.data.fps, tf.float32), "classes": self.names}

"""A run as a SavedModel that takes frames and needs nothing but TensorFlow."""

import pathlib

import tensorflow as tf

from pipelines.common.runs import Run
from pipelines.common.serving.saved_model import write_saved_model
from pipelines.common.vision import encoders
from pipelines.video.model import Trained, load_trained


def export(run_path: pathlib.Path, to: pathlib.Path | None = None) -> pathlib.Path:
    """Writes the export of a run; gives its folder.

    Args:
        to: the folder; None: `export` in the folder of the run.

    Raises:
        UserError: the run is not trained.
    """
    run = Run.open(run_path, "video")
    exported = Exported(load_trained(run))
    return write_saved_model(to or run.export, exported.signatures, [exported.trained.model])


class Exported:
    """The signatures of an export. Frames of any height and width are scaled inside, as in training."""

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
        """uint8[batch, time, height, width, 3] -> what the recurrent layers are given, float[batch, time, features]."""
        batch, time, height, width, _ = tf.unstack(tf.shape(frames))
        pixels = self.trained.preprocessing(tf.reshape(frames, tf.stack([batch * time, height, width, 3])))
        seen = encoders.encode_batch(lambda pixels: self.model.encoder(pixels, training=False), pixels)
        features = self.model.project(seen[:, None])
        return tf.reshape(features, tf.stack([batch, time, features.shape[-1]]))

    def serve(self, frames, lengths):
        """Frames of whole videos, `lengths` int32[batch] of them each -> labels string[batch, time], empty past the
        length; probabilities float[batch, time, classes], zero there."""
        return self.label(self.encode(frames), lengths)

    def label(self, features, lengths):
        """As serve, from what encode gives."""
        return self.answers(features, lengths, self.model.initial_state(tf.shape(features)[0]))[0]

    def window(self, frames, lengths, *states):
        """As serve, of a video that goes on: the state after its frames before, and then the state after these."""
        answers, state = self.answers(self.encode(frames), lengths, self.nested(states))
        return {**answers, **dict(zip(self.state_names, tf.nest.flatten(state), strict=True))}

    def step(self, frames, *states):
        """The next frame of live streams, uint8[batch, height, width, 3], and the state after the frame before (zeros
        at first) -> label string[batch], probabilities float[batch, classes], and the new state."""
        found = self.window(frames[:, None], tf.ones([tf.shape(frames)[0]], tf.int32), *states)
        return {name: value[:, 0] if name in ("labels", "probabilities") else value for name, value in found.items()}

    def answers(self, features, lengths, state):
        kept = tf.sequence_mask(lengths, tf.shape(features)[1])
        logits, state = self.model.over_time(features, state, kept)
        labels = tf.gather(self.names, tf.argmax(logits, axis=2))
        probabilities = tf.where(kept[:, :, None], tf.nn.softmax(logits), 0.0)
        return {"labels": tf.where(kept, labels, ""), "probabilities": probabilities}, state

    def nested(self, states) -> list:
        """The states of the layers, of a flat list."""
        return tf.nest.pack_sequence_as(self.model.initial_state(1), list(states))

    def settings(self):
        """How videos are to be read: `fps` float[] (0: at their own rate); `classes` string[classes]."""
        return {"fps": tf.constant(self.trained.config.fps, tf.float32), "classes": self.names}

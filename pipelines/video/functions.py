"""The numeric functions of frame classifiers, for exports and for other runtimes; see docs/devices.md."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from pipelines.common.data.sources import sample_files
from pipelines.common.serving.formats import NEW, Call, Function, Functions
from pipelines.common.vision.videos import Video
from pipelines.video.confidence import average, confidence_of
from pipelines.video.model import FrameClassifier, Trained

SAMPLE_CLIPS, SAMPLE_FRAMES = 3, 16  # that the written files are compared on
MADE_UP = (1, 2, 30)  # frames of videos of random features


def mean_probabilities(models: Sequence[FrameClassifier], features, states, mask=None):
    """Returns the mean of the probabilities of models, float32[batch, time, classes], and their states after it.

    Args:
        features: float[batch, time, features], of models with an encoder those of all of them side by side.
        states: the states of the models before the first frame.
        mask: bool[batch, time], False past the end of a video; None: there is no padding.
    """
    sizes = [model.feature_size for model in models]
    encoded = models[0].encoder is not None and len(models) > 1
    parts = tf.split(features, sizes, axis=-1) if encoded else [features] * len(models)
    found = [
        model.classify(model.project(part, padding_mask=mask), state, mask)
        for model, part, state in zip(models, parts, states, strict=True)
    ]
    return tf.add_n([tf.nn.softmax(logits) for logits, _ in found]) / len(found), [state for _, state in found]


def state_sizes(models: Sequence[FrameClassifier]) -> dict[str, int]:
    """Returns the names and sizes of the states of models; those of the second have names such as h_1_of_2."""
    return {
        name if number == 1 else f"{name}_of_{number}": units
        for number, model in enumerate(models, start=1)
        for group in model.state_sizes
        for name, units in group.items()
    }


def functions(members: Sequence[Trained]) -> Functions:
    """Returns the functions of models with the same labels and inputs, whose probabilities they average:

    * encode, of models with an encoder: pixels float32[frames, size, size, 3] from 0 to 255, scaled, to features
      float32[frames, features];
    * label: features float32[batch, time, features] of whole videos to probabilities float32[batch, time, classes];
    * step, of models that read in one direction: the features of the next frame, float32[batch, features], and the
      state to probabilities float32[batch, classes] and the new state, where h_1 is called new_h_1.

    label and step also return the confidence if it was fitted.
    """
    first, models = members[0], [member.model for member in members]
    temperature = average([member.temperature for member in members])
    networks = [model.encoder for model in models if model.encoder is not None]
    encodes = bool(networks)
    size = sum(model.feature_size for model in models) if encodes else models[0].feature_size
    states = state_sizes(models)

    def encode(pixels):
        return {"features": tf.concat([network(pixels, training=False) for network in networks], axis=-1)}

    def outputs(probabilities) -> dict:
        confidence = {} if temperature is None else {"confidence": confidence_of(probabilities, temperature)}
        return {"probabilities": probabilities, **confidence}

    def label(features):
        start = [model.initial_state(tf.shape(features)[0]) for model in models]
        return outputs(mean_probabilities(models, features, start)[0])

    def step(features, *state):
        before = tf.nest.pack_sequence_as([model.initial_state(1) for model in models], list(state))
        probabilities, after = mean_probabilities(models, features[:, None], before)
        new = {f"{NEW}{name}": value for name, value in zip(states, tf.nest.flatten(after), strict=True)}
        return {**outputs(probabilities[:, 0]), **new}

    def answers(call: Call) -> Iterator[np.ndarray]:
        for features in videos(first, size, call):
            yield call("label", {"features": features[None]})["probabilities"]
            if states:
                state = {name: np.zeros([1, units], np.float32) for name, units in states.items()}
                for row in features:
                    found = call("step", {"features": row[None], **state})
                    state = {name: found[f"{NEW}{name}"] for name in state}
                    yield found["probabilities"]

    def spec(name, *shape):
        return tf.TensorSpec([None, *shape], tf.float32, name=name)

    pixels = first.preprocessing.image_size
    found = [Function("label", label, [spec("features", None, size)])]
    if encodes:
        found.append(Function("encode", encode, [spec("pixels", pixels, pixels, 3)]))
    if states:
        flat = [spec(name, units) for name, units in states.items()]
        found.append(Function("step", step, [spec("features", size), *flat]))
    description = {"task": "video", "labels": first.names, "fps": first.config.data.fps, "features": size}
    if encodes:
        description |= {"image_size": pixels, "fit": first.preprocessing.fit}
    return Functions(found, {**description, "state": states}, answers)


def videos(trained: Trained, size: int, call: Call) -> Iterator[np.ndarray]:
    """Yields features float32[frames, size]: of models with an encoder, of clips of the sample; of random pixels or
    features, always the same."""
    draw = np.random.default_rng(0)
    if trained.model.encoder is None:
        for count in MADE_UP:
            yield draw.normal(size=[count, size]).astype(np.float32)
        return
    clips = [
        np.stack(list(itertools.islice(Video(path), SAMPLE_FRAMES)))
        for path in sample_files("video", "clips/*.mp4")[:SAMPLE_CLIPS]
    ]
    pixels = trained.preprocessing.image_size
    for frames in [*clips, draw.integers(0, 256, [4, pixels, pixels, 3])]:
        yield np.concatenate(
            [call("encode", {"pixels": row[None]})["features"] for row in trained.preprocessing(frames).numpy()]
        )

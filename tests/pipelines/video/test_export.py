import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from pipelines.common.errors import UserError
from pipelines.common.options import Export
from pipelines.common.runs import Run
from pipelines.common.vision import videos
from pipelines.video.export import export
from pipelines.video.model import load_trained

ALONE = """
import json, sys
import numpy as np
import tensorflow as tf
given = np.load(sys.argv[1])
frames, lengths = tf.constant(given["frames"]), tf.constant(given["lengths"])
for export in sys.argv[2:]:
    loaded = tf.saved_model.load(export)
    found = {"whole": loaded.signatures["serving_default"](frames=frames, lengths=lengths)}
    features = loaded.signatures["encode"](frames=frames)["features"]
    found["label"] = loaded.signatures["label"](features=features, lengths=lengths)
    if "step" in loaded.signatures:
        step = loaded.signatures["step"]
        state = {name: tf.zeros([frames.shape[0], *spec.shape[1:]]) for name, spec in
                 step.structured_input_signature[1].items() if name != "frames"}
        labels, probabilities = [], []
        for t in range(frames.shape[1]):
            answer = step(frames=frames[:, t], **state)
            state = {name: answer[name] for name in state}
            labels.append(answer["labels"].numpy()), probabilities.append(answer["probabilities"].numpy())
        found["step"] = {"labels": np.stack(labels, 1), "probabilities": np.stack(probabilities, 1)}
    print(json.dumps({signature: {name: np.asarray(value).tolist() for name, value in answer.items()}
                      for signature, answer in found.items()}, default=bytes.decode))
ours = sorted(name for name in sys.modules if name.split(".")[0] in ("layers", "pipelines"))
assert not ours, ours
"""
VARIANTS = {
    "as trained": {},
    "vanilla RNN": {"cell": "rnn", "layers": 2},
    "differences": {"deltas": 10.0},
    "both directions": {"bidirectional": True, "cell": "rnn", "layers": 2},
    "frame by frame": {"cell": "none", "projection": 0},
}


@pytest.fixture(scope="module")
def trained(shared):
    return load_trained(Run.open(shared.run, "video"))


@pytest.fixture(scope="module")
def loaded(shared):
    return tf.saved_model.load(str(shared.run / "export"))


@pytest.fixture(scope="module")
def padded(shared):
    """(frames uint8[batch, time, height, width, 3], lengths int32[batch]) of three clips."""
    clips = [np.stack(list(videos.Video(shared.data / "clips" / f"{number}.mp4"))) for number in (0, 1, 2)]
    lengths = np.array([len(clip) for clip in clips], np.int32)
    frames = np.zeros((3, lengths.max(), *clips[0].shape[1:]), np.uint8)
    for row, clip in enumerate(clips):
        frames[row, : len(clip)] = clip
        frames[row, len(clip) :] = 77  # what stands past the end must not count
    return frames, lengths


def expected_of(trained, frames, lengths):
    pixels = np.stack([trained.preprocessing(video).numpy() for video in frames])
    mask = np.arange(frames.shape[1])[None] < lengths[:, None]
    return tf.nn.softmax(trained.model(pixels, padding_mask=mask)).numpy(), mask


@pytest.fixture(scope="module")
def alone(shared, make, padded, tmp_path_factory):
    """The run of each variant, and the outputs of its moved export in a process with TensorFlow only."""
    folder = tmp_path_factory.mktemp("alone")
    frames, lengths = padded
    np.savez(folder / "given.npz", frames=frames, lengths=lengths)
    runs = {
        name: make.variant(shared.run, folder / name, **changes) if changes else shared.run
        for name, changes in VARIANTS.items()
    }
    exports = [export(Export((run,), folder / "moved" / name)) for name, run in runs.items()]
    answer = subprocess.run(
        [sys.executable, "-c", ALONE, folder / "given.npz", *exports], capture_output=True, text=True, cwd=folder,
        timeout=300,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    answers = map(json.loads, answer.stdout.splitlines())
    return {name: (run, found) for (name, run), found in zip(runs.items(), answers, strict=True)}


@pytest.mark.extra
@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_answers_in_a_process_of_tensorflow_alone(alone, padded, name):
    """Whole clips, and frame by frame with the state passed on: both equal the Python model."""
    run, found = alone[name]
    member = load_trained(Run.open(run, "video"))
    expected, mask = expected_of(member, *padded)
    assert set(found) == ({"whole", "label"} if member.config.model.bidirectional else {"whole", "label", "step"})
    for signature, each in found.items():
        labels, probabilities = np.array(each["labels"]), np.array(each["probabilities"])
        np.testing.assert_allclose(probabilities[mask], expected[mask], atol=1e-5, err_msg=signature)
        assert labels[mask].tolist() == np.array(member.names)[expected.argmax(axis=2)][mask].tolist()
        if signature != "step":
            assert set(labels[~mask].tolist()) == {""} and not probabilities[~mask].any()


def test_an_empty_batch(loaded, padded):
    frames, lengths = padded
    answers = loaded.signatures["serving_default"](frames=tf.constant(frames[:0]), lengths=tf.constant(lengths[:0]))
    assert answers["labels"].shape == answers["probabilities"].shape[:2] == (0, frames.shape[1])
    state = loaded.signatures["step"].structured_input_signature[1]
    zeros = {name: tf.zeros([0, *spec.shape[1:]]) for name, spec in state.items() if name != "frames"}
    assert loaded.signatures["step"](frames=tf.constant(frames[:0, 0]), **zeros)["labels"].shape == (0,)


def test_padded_batches_equal_single_clips(loaded, padded):
    frames, lengths = padded
    serve = loaded.signatures["serving_default"]
    together = serve(frames=tf.constant(frames), lengths=tf.constant(lengths))["probabilities"].numpy()
    for row, length in enumerate(lengths):
        alone = serve(frames=tf.constant(frames[row : row + 1, :length]), lengths=tf.constant([length]))
        np.testing.assert_allclose(together[row, :length], alone["probabilities"][0], atol=1e-6)


def test_signatures_name_their_tensors(loaded):
    assert set(loaded.signatures) == {"serving_default", "encode", "label", "settings", "step", "window"}
    found = loaded.signatures["serving_default"]
    assert {name: (spec.dtype, spec.shape.as_list()) for name, spec in found.structured_outputs.items()} == {
        "labels": (tf.string, [None, None]),
        "probabilities": (tf.float32, [None, None, 2]),
        "confidence": (tf.float32, [None, None]),
    }
    _, takes = found.structured_input_signature
    assert {name: spec.shape.as_list() for name, spec in takes.items()} == {
        "frames": [None, None, None, None, 3], "lengths": [None],
    }  # fmt: skip
    step = loaded.signatures["step"]
    assert set(step.structured_input_signature[1]) == {"frames", "h_1", "c_1"}
    assert set(step.structured_outputs) == {"labels", "probabilities", "confidence", "h_1", "c_1"}
    settings = loaded.signatures["settings"]()
    assert float(settings["fps"]) == 0 and settings["classes"].numpy().tolist() == [b"left", b"right"]


def test_frames_are_scaled_as_in_training(loaded, trained, padded):
    """The features are equal to the last bit."""
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 45, 61, 3)).astype(np.uint8)

    @tf.function
    def features(frames):
        return trained.model.encoder(trained.preprocessing(frames))

    found = loaded.signatures["encode"](frames=tf.constant(frames))["features"].numpy()
    np.testing.assert_array_equal(found.reshape(6, -1), features(frames.reshape(6, 45, 61, 3)))


def test_windows_continue_from_the_state_of_the_previous_one(loaded, padded):
    frames, lengths = (value[:1] for value in padded)
    frames = frames[:, : lengths[0]]
    whole = loaded.signatures["serving_default"](frames=tf.constant(frames), lengths=tf.constant(lengths))
    state, parts = {"h_1": tf.zeros([1, 8]), "c_1": tf.zeros([1, 8])}, []
    for start, end in ((0, 2), (2, 3), (3, lengths[0])):
        piece = tf.constant(frames[:, start:end])
        found = loaded.signatures["window"](frames=piece, lengths=tf.constant([end - start]), **state)
        state = {name: found[name] for name in state}
        parts.append(found["probabilities"].numpy())
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole["probabilities"], atol=1e-5)


def test_a_run_that_is_not_trained(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        export(Export((tmp_path / "none",)))

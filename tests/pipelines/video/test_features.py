"""Features made elsewhere, in the layout of MS-TCN: reading, training, export and prediction."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from pipelines.common.config import from_json
from pipelines.common.errors import UserError
from pipelines.common.runs import Run
from pipelines.common.weights import save_weights
from pipelines.video import dataset, feature_folders
from pipelines.video.config import Config, DataConfig
from pipelines.video.inputs import ArrayInputs
from pipelines.video.model import load_trained
from pipelines.video.temporal import pool_frames, standardize_video
from pipelines.video.tracks import make_tracks
from pipelines.video.train import moments
from tests import killing, shared_runs

NAMES = ("background", "cut", "stir")
SIZE = 6
TINY = "--units 8 --layers 1 --fps 5 --epochs 30 --learning-rate 0.03 --filter 3 --feature-noise 0.5"
TINY = [*TINY.split(), "--no-xla", "--no-tensorboard"]
FORWARD = ["--pool", "1", "--refinement", "0", "--no-bidirectional", "--standardize", "data"]


def make_features(folder, people: int = 6, parts: bool = True):
    """Two videos of each person, of 9 to 14 frames: a label is a direction in the space of features, plus noise."""
    for name in ("features", "groundTruth"):
        (folder / name).mkdir(parents=True)
    draw = np.random.default_rng(0)
    directions = 3 * np.eye(len(NAMES), SIZE)
    bundles: dict[str, list[str]] = {"train": [], "test": []}
    for person in range(people):
        for number in (1, 2):
            name = f"p{person:02d}-{number}"
            labels = np.repeat([1, 0, 2], draw.integers(3, 5, 3))[:: 1 if number == 1 else -1]
            features = directions[labels] + draw.normal(size=(len(labels), SIZE))
            np.save(folder / "features" / f"{name}.npy", features.T.astype(np.float16))
            (folder / "groundTruth" / f"{name}.txt").write_text("".join(f"{NAMES[label]}\n" for label in labels))
            bundles["test" if person == people - 1 else "train"].append(f"{name}.txt\n")
    (folder / "mapping.txt").write_text("".join(f"{number} {name}\n" for number, name in enumerate(NAMES)))
    if parts:
        (folder / "splits").mkdir()
        for part, lines in bundles.items():
            (folder / "splits" / f"{part}.split1.bundle").write_text("".join(lines))
    return folder


@dataclasses.dataclass(frozen=True)
class SharedRuns:
    """The folder of the data, and the runs of a bidirectional model with pooling and of one in one direction."""

    data: object
    both: object
    forward: object


@pytest.fixture(scope="module")
def features(tmp_path_factory, command) -> SharedRuns:
    def make(folder):
        data = make_features(folder / "data")
        common = ["train", "50salads", "--data", data, *TINY]
        both = ["--pool", 2, "--bidirectional", "--refinement", 8, "--epochs", 10, "--learning-rate", 0.1]
        assert command(*common, "--run", folder / "both", *both) == 0
        assert command(*common, "--run", folder / "forward", *FORWARD, "--deltas", 1, "--epochs", 2) == 0
        for run in ("both", "forward"):
            assert command("export", "--run", folder / run) == 0

    folder = shared_runs.make_once(tmp_path_factory, "video-features", make)
    return SharedRuns(folder / "data", folder / "both", folder / "forward")


@pytest.fixture
def folder(tmp_path):
    return make_features(tmp_path / "data")


def load(folder, **changes):
    """Reads a folder as training does, up to the arrays."""
    options = {"location": str(folder), "validation_share": 0.2, "group_prefix": 3, **changes}
    data = DataConfig(fps=5.0, background="background", **options)
    parts = dataset.load(data)
    videos = [video for part in parts.values() for video in part]
    names = dataset.name_labels(videos, data)
    inputs = ArrayInputs([clip for video in videos for clip in video.clips], data.fps, SIZE)
    return {part: make_tracks(some, inputs, names, data, part) for part, some in parts.items()}, names


# Reading --------------------------------------------------------------------------------------------------------------


def test_the_layout(folder):
    parts, names = load(folder)
    assert names == NAMES  # in the order of mapping.txt, not of the alphabet
    assert {part: len(tracks) for part, tracks in parts.items()} == {"train": 8, "validation": 2, "test": 2}
    people = {part: {track.name[:3] for track in tracks.tracks} for part, tracks in parts.items()}
    assert people["test"] == {"p05"} and not people["train"] & people["validation"]
    track = parts["test"].tracks[0]
    stored = np.load(folder / "features" / f"{track.name}.npy")
    np.testing.assert_array_equal(np.concatenate(list(parts["test"].chunks(0))), stored.T.astype(np.float32))
    lines = (folder / "groundTruth" / f"{track.name}.txt").read_text().split()
    assert [NAMES[number] for number in track.labels] == lines and track.rate == 5


def test_without_bundles_all_videos_are_split(tmp_path):
    parts, _ = load(make_features(tmp_path / "data", parts=False), test_share=0.1)
    assert {part: len(tracks) for part, tracks in parts.items()} == {"train": 8, "validation": 2, "test": 2}


def test_several_splits_and_a_validation_bundle(folder):
    for part, name in (("train", "p01-1"), ("val", "p02-1"), ("test", "p03-1")):
        (folder / "splits" / f"{part}.split2.bundle").write_text(name)  # without .txt
    parts, _ = load(folder, features_split=2)
    assert {part: [track.name for track in tracks.tracks] for part, tracks in parts.items()} == {
        "train": ["p01-1"], "validation": ["p02-1"], "test": ["p03-1"],
    }  # fmt: skip
    with pytest.raises(UserError, match=r"no bundle of split 3, train.split3.bundle: it has test.split1.bundle, "):
        load(folder, features_split=3)


class Bomb:
    """Unpickling it would end the process."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


def save(array, **options):
    return lambda path: np.save(path, array, **options)


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def with_value(value):
    def change(path):
        array = np.load(path)
        array[2, 3] = value
        np.save(path, array)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), r"splits/train.split1.bundle, line 3: .*p01-1.npy does not exist"),
        (lambda path: path.write_bytes(b""), r"p01-1.npy is empty"),
        (lambda path: path.write_bytes(b"no array"), r"p01-1.npy is not a .npy file"),
        (cut, r"p01-1.npy is not an array of numbers, or is damaged"),
        (save(np.array([[Bomb()]]), allow_pickle=True), r"p01-1.npy is not an array .*it contains Python objects"),
        (save(np.zeros([SIZE, 9, 1])), r"p01-1.npy has the shape \[6, 9, 1\]: expected float\[features, frames\]"),
        (save(np.zeros(9)), r"p01-1.npy has the shape \[9\]: expected float\[features, frames\]"),
        (save(np.zeros([SIZE, 9], int)), r"p01-1.npy has the type int64: expected an array of floats"),
        (save(np.zeros([9, SIZE])), r"p01-1.npy has 6 frames \(its shape is \[9, 6\], expected \[features, frames\]\)"),
        (save(np.zeros([SIZE, 0])), r"p01-1.npy has 0 frames|p01-1.npy is not an array"),
        (with_value(np.nan), r"p01-1.npy: the features of frame 3 are not finite"),
        (with_value(-np.inf), r"p01-1.npy: the features of frame 3 are not finite"),
    ],
)
def test_faults_of_an_array(folder, change, message):
    change(folder / "features" / "p01-1.npy")
    with pytest.raises(UserError, match=message):
        load(folder)


def test_arrays_of_different_sizes(folder):
    path = folder / "features" / "p01-1.npy"
    np.save(path, np.load(path)[:4])
    with pytest.raises(UserError, match=r"p01-1.npy has 4 features for each frame, but the model takes 6"):
        load(folder)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("groundTruth/p01-1.txt", None, r"bundle, line 3: .*groundTruth/p01-1.txt does not exist: expected the label"),
        ("groundTruth/p01-1.txt", lambda text: "", r"p01-1.txt is empty: expected a label for each frame"),
        ("groundTruth/p01-1.txt", lambda text: text + "cut\n", r"p01-1.npy has \d+ frames .* and \d+ labels in"),
        (
            "groundTruth/p01-1.txt",
            lambda text: "peel\n" + text,
            r"p01-1.txt, line 1: the label peel is not in .*mapping",
        ),
        ("groundTruth/p01-1.txt", lambda text: "cut\n\n" + text, r"p01-1.txt, line 2 is blank"),
        ("groundTruth/p01-1.txt", lambda text: b"cut\n\xff\n", r"p01-1.txt, line 2: byte 1 of the line is 0xff"),
        ("mapping.txt", None, r"mapping.txt could not be read: No such file"),
        ("mapping.txt", lambda text: "", r"mapping.txt is empty: expected a number and a label"),
        ("mapping.txt", lambda text: "background\n", r"mapping.txt, line 1: 'background', expected a number and a"),
        ("mapping.txt", lambda text: text + "9" * 5000 + " a\n", r"mapping.txt, line 4: .*, expected a number and a"),
        ("mapping.txt", lambda text: text + "0 peel\n", r"mapping.txt, line 4: the number 0 is also in line 1"),
        ("mapping.txt", lambda text: text + "3 cut\n", r"mapping.txt, line 4: the label cut is also in line 2"),
        ("splits/train.split1.bundle", None, r"has no bundle of split 1, train.split1.bundle: it has test.split1"),
        ("splits/train.split1.bundle", lambda text: "", r"train.split1.bundle is empty: expected the names of videos"),
        ("splits/train.split1.bundle", lambda text: text + "p99-1.txt\n", r"line 11: .*p99-1.txt does not exist"),
        ("splits/train.split1.bundle", lambda text: text + "p01-1.txt\n", r"line 11: p01-1 is also at .*, line 3"),
        ("splits/train.split1.bundle", lambda text: text + "p05-1.txt\n", r"p05-1 is also at .*train.*, line 11"),
        ("splits/train.split1.bundle", lambda text: "../p01-1.txt\n", r"line 1: '../p01-1.txt' is not the name of a"),
    ],
)
def test_faults_of_a_text_file(folder, file, change, message):
    path = folder / file
    if change is None:
        path.unlink()
    else:
        changed = change(path.read_text())
        path.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    with pytest.raises(UserError, match=message):
        load(folder)


def test_more_faults(folder):
    data = DataConfig(str(folder), background="nothing")
    with pytest.raises(
        UserError, match=r"--background is nothing, but must be a label of mapping.txt: background, cut"
    ):
        dataset.name_labels(dataset.load_all(data, "train"), data)
    (folder / "segments.csv").write_text("file,start,end,label\n")
    with pytest.raises(UserError, match=r"has segments.csv and groundTruth: choose one with --annotations"):
        load(folder)
    assert load(folder, annotations="groundTruth")[1] == NAMES
    shutil.rmtree(folder / "splits")
    for path in (folder / "groundTruth").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"groundTruth has no files: expected NAME.txt"):
        load(folder, annotations="groundTruth")


def test_the_command_refuses_in_one_line_and_leaves_no_run(command, make, folder, tmp_path, capsys):
    def refused(*arguments) -> str:
        assert command("train", *arguments, "--run", tmp_path / "run") == 2
        assert not (tmp_path / "run").exists()
        out, err = capsys.readouterr()
        assert out == "" and "Traceback" not in err
        return err.splitlines()[-1]

    assert "has features: expected --encoder none" in refused("sample", "--data", folder)
    assert "has videos: expected another --encoder than none" in refused(
        "50salads", "--data", make.data(tmp_path / "videos"), *TINY
    )
    assert "--fps is 0.0, but must be the frames per second of" in refused("50salads", "--data", folder, "--fps", "0")
    assert "--pool is 2, but must be 1 without --bidirectional" in refused(
        "50salads", "--pool", "2", "--no-bidirectional"
    )
    with_value(np.nan)(folder / "features" / "p01-1.npy")
    assert "p01-1.npy: the features of frame 3 are not finite" in refused("50salads", "--data", folder, *TINY)


# The model ------------------------------------------------------------------------------------------------------------


def test_pooling_against_loops():
    draw = np.random.default_rng(1)
    x, lengths = draw.normal(size=(3, 7, 2)).astype(np.float32), [7, 4, 1]
    pooled, mask = pool_frames(tf.constant(x), tf.sequence_mask(lengths, 7), 3)
    for row, length in enumerate(lengths):
        steps = [x[row, start : min(start + 3, length)].mean(axis=0) for start in range(0, length, 3)]
        assert mask.numpy()[row].tolist() == [True] * len(steps) + [False] * (3 - len(steps))
        np.testing.assert_allclose(pooled.numpy()[row, : len(steps)], steps, rtol=1e-5)
    whole, mask = pool_frames(tf.constant(x), None, 3)
    np.testing.assert_allclose(whole[0], pooled[0])
    assert mask.numpy().all()


def test_features_are_standardised_by_the_training_frames(features):
    trained = load_trained(Run.open(features.forward, "video"))
    config = from_json(Config, Run.open(features.forward, "video").config)
    videos = dataset.load(config.data)["train"]
    arrays = [np.load(features.data / "features" / f"{video.name}.npy").astype(np.float64) for video in videos]
    together = np.concatenate(arrays, axis=1)
    np.testing.assert_allclose(trained.model.feature_mean, together.mean(axis=1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(trained.model.feature_deviation, together.std(axis=1), rtol=1e-4)


def test_features_are_standardised_by_their_video(features):
    """So that a constant that is added to a feature of a video, or multiplied with it, changes nothing."""
    draw = np.random.default_rng(0)
    x, lengths = draw.normal(2, 3, size=(2, 7, SIZE)).astype(np.float32), [7, 4]
    found = standardize_video(x, tf.sequence_mask(lengths, 7)).numpy()
    for row, length in enumerate(lengths):
        video = x[row, :length]
        np.testing.assert_allclose(found[row, :length], (video - video.mean(0)) / video.std(0), rtol=1e-3, atol=1e-4)
        assert not found[row, length:].any()
    np.testing.assert_allclose(standardize_video(x)[0], found[0], atol=1e-5)
    model = load_trained(Run.open(features.both, "video")).model
    np.testing.assert_allclose(model(5 * x + 7), model(x), atol=1e-3)
    assert not standardize_video(np.ones([1, 3, 2], np.float32)).numpy().any()  # constant


def test_steps_padding_and_noise(features):
    """A label for each step of two frames, with or without padding; noise only in training."""
    model = load_trained(Run.open(features.both, "video")).model
    x = np.load(features.data / "features" / "p05-1.npy").T[None].astype(np.float32)
    logits = model(x).numpy()
    frames = x.shape[1]
    assert logits.shape == (1, frames, 3)
    np.testing.assert_array_equal(logits[:, 0 : frames - 1 : 2], logits[:, 1:frames:2])
    padded = model(np.pad(x, [(0, 0), (0, 5), (0, 0)]), padding_mask=np.arange(frames + 5)[None] < frames)
    np.testing.assert_allclose(padded[:, :frames], logits, atol=1e-5)
    noisy = [model.project(x, training=True).numpy() for _ in range(2)]
    assert np.abs(noisy[0] - noisy[1]).max() > 0.1
    np.testing.assert_array_equal(model.project(x), model.project(x))


def test_moments_of_a_constant_feature(folder):
    for path in (folder / "features").iterdir():
        array = np.load(path)
        array[1] = 3
        np.save(path, array)
    parts, _ = load(folder)
    mean, deviation = moments(parts["train"])
    assert (mean[1], deviation[1]) == (3, 0) and (np.delete(deviation, 1) > 0.5).all()


# Training, export, prediction -----------------------------------------------------------------------------------------


def test_the_files_of_a_run_and_its_scores(features, command, capsys):
    assert json.loads((features.both / "labels.json").read_text()) == list(NAMES)
    assert json.loads((features.both / "features.json").read_text()) == {"size": SIZE}
    assert command("evaluate", "--run", features.both, "--beside", features.forward) == 0
    assert "50salads" not in capsys.readouterr().out
    found = json.loads((features.both / "metrics.json").read_text())
    assert (found["videos"], found["background"]) == (2, "background")
    assert found["accuracy"] > 60  # by chance 36 %
    assert (features.both / "timelines.png").stat().st_size > 1000


@pytest.mark.parametrize("kind", ["both", "forward"])
def test_the_export_labels_as_the_model_does(features, kind):
    run = getattr(features, kind)
    trained = load_trained(Run.open(run, "video"))
    loaded = tf.saved_model.load(str(run / "export"))
    arrays = [np.load(features.data / "features" / f"p05-{number}.npy").T for number in (1, 2)]
    lengths = np.array([len(array) for array in arrays], np.int32)
    batch = np.zeros([2, max(lengths) + 1, SIZE], np.float32)
    for row, array in enumerate(arrays):
        batch[row, : len(array)] = array
    found = loaded.signatures["serving_default"](features=tf.constant(batch), lengths=tf.constant(lengths))
    for row, array in enumerate(arrays):
        logits = trained.model(array[None].astype(np.float32))
        probabilities = found["probabilities"].numpy()[row]
        np.testing.assert_allclose(probabilities[: len(array)], tf.nn.softmax(logits)[0], atol=1e-5)
        assert not probabilities[len(array) :].any()
        labels = [NAMES[number].encode() for number in np.argmax(logits[0], axis=1)]
        assert found["labels"].numpy()[row].tolist() == labels + [b""] * (batch.shape[1] - len(array))
    assert ("step" in loaded.signatures) == (kind == "forward") and "encode" not in loaded.signatures
    if kind == "forward":
        step = loaded.signatures["step"]
        takes = step.structured_input_signature[1]
        state = {name: tf.zeros([2, spec.shape[1]]) for name, spec in takes.items() if name != "features"}
        for frame in range(min(lengths)):
            answer = step(features=tf.constant(batch[:, frame]), **state)
            state = {name: answer[name] for name in state}
            np.testing.assert_allclose(answer["probabilities"], found["probabilities"][:, frame], atol=1e-5)


@pytest.mark.parametrize("kind", ["both", "forward"])
def test_predict(features, command, capsys, tmp_path, kind):
    """A good file among bad ones; times are those of --fps 5."""
    run, good = getattr(features, kind), features.data / "features" / "p05-1.npy"
    bad = {name: tmp_path / f"{name}.npy" for name in ("size", "nan", "empty", "objects", "none")}
    np.save(bad["size"], np.zeros([4, 9]))
    np.save(bad["nan"], np.full([SIZE, 9], np.nan))
    bad["empty"].write_bytes(b"")
    np.save(bad["objects"], np.array([[Bomb()]]), allow_pickle=True)
    capsys.readouterr()
    picture = tmp_path / "labels.png"
    assert command("predict", "--model", run, good, *bad.values(), "--picture", picture) == 1
    answer, *errors = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    frames = np.load(good).shape[1]
    assert (answer["fps"], len(answer["labels"])) == (5, frames)
    assert answer["segments"][0]["start"] == 0 and answer["segments"][-1]["end"] == frames / 5
    spread = [each["label"] for each in answer["segments"] for _ in range(round(5 * (each["end"] - each["start"])))]
    assert spread == answer["labels"]
    for error, message in zip(
        errors,
        ("has 4 features for each frame", "frame 0 are not finite", "is empty", "Python objects", "could not be read"),
        strict=True,
    ):
        assert message in error["error"]
    assert picture.stat().st_size > 1000
    assert command("predict", "--model", run, good, "--video", tmp_path / "a.mp4") == 2
    assert "--video needs frames, but" in capsys.readouterr().err


def other_weights(run, folder):
    """Returns a run like `run` with other weights."""
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("export", "checkpoints", "logs"))
    model = load_trained(Run.open(folder, "video")).model
    draw = np.random.default_rng(5)
    for weight in model.trainable_weights:
        weight.assign_add(draw.normal(size=weight.shape, scale=0.3))
    save_weights(model, folder / "model.weights.h5")
    return folder


@pytest.mark.parametrize("kind", [pytest.param("both", marks=pytest.mark.extra), "forward"])
def test_the_average_of_two_runs(features, command, tmp_path, capsys, kind):
    """Its probabilities are the mean of those of the runs: in the export, also in steps, and in evaluate."""
    runs = [getattr(features, kind), other_weights(getattr(features, kind), tmp_path / "other")]
    assert command("export", "--run", *runs, "--to", tmp_path / "export") == 0
    x = np.load(features.data / "features" / "p05-1.npy").T[None].astype(np.float32)
    models = [load_trained(Run.open(run, "video")).model for run in runs]
    mean = np.mean([tf.nn.softmax(model(x)).numpy()[0] for model in models], axis=0)
    loaded = tf.saved_model.load(str(tmp_path / "export"))
    found = loaded.signatures["serving_default"](features=tf.constant(x), lengths=tf.constant([x.shape[1]]))
    np.testing.assert_allclose(found["probabilities"][0], mean, atol=1e-5)
    if kind == "forward":
        step = loaded.signatures["step"]
        takes = step.structured_input_signature[1]
        state = {name: tf.zeros([1, spec.shape[1]]) for name, spec in takes.items() if name != "features"}
        assert {"h_1", "c_1", "before", "seen", "h_1_of_2", "before_of_2"} <= state.keys()
        for frame in range(x.shape[1]):
            answer = step(features=tf.constant(x[:, frame]), **state)
            state = {name: answer[name] for name in state}
            np.testing.assert_allclose(answer["probabilities"][0], mean[frame], atol=1e-5)
    assert command("evaluate", "--run", *runs[:1], "--beside", *runs[1:], "--average") == 0
    assert "average" in capsys.readouterr().out
    stored = json.loads((runs[0] / "average.json").read_text())
    right = total = 0
    for number in (1, 2):
        array = np.load(features.data / "features" / f"p05-{number}.npy").T[None].astype(np.float32)
        labels = (features.data / "groundTruth" / f"p05-{number}.txt").read_text().split()
        guesses = np.mean([tf.nn.softmax(model(array)).numpy()[0] for model in models], axis=0).argmax(axis=1)
        right += sum(NAMES[guess] == label for guess, label in zip(guesses, labels, strict=True))
        total += len(labels)
    assert stored["accuracy"] == pytest.approx(100 * right / total)


def test_runs_that_cannot_be_averaged(features, command, capsys, tmp_path):
    assert command("export", "--run", features.both, features.forward, "--to", tmp_path / "export") == 2
    assert "cannot be averaged: their directions differ" in capsys.readouterr().err


@pytest.mark.extra
def test_the_weights_of_the_last_epoch_without_a_validation_part(folder, command, tmp_path):
    (folder / "splits" / "test.split1.bundle").unlink()
    words = ["train", "50salads", "--data", folder, *TINY, "--validation-share", "0"]
    run = tmp_path / "run"
    assert command(*words, "--monitor", "none", "--run", run, "--test-share", "0") == 0
    summary = json.loads((run / "status.json").read_text())
    assert (summary["best_epoch"], summary["epochs"]) == (30, 30) and "val_accuracy" not in summary["scores"]
    assert command(*words, "--monitor", "accuracy", "--run", tmp_path / "other", "--test-share", "0") == 2


def test_fine_tuning_keeps_the_standardisation_and_refuses_another_size(features, command, tmp_path, capsys):
    run = tmp_path / "tuned"
    common = ["fine-tune", "--from", features.forward, "--epochs", 1, "--background", "background"]
    assert command(*common, "--data", features.data, "--run", run) == 0
    before, after = (load_trained(Run.open(path, "video")).model for path in (features.forward, run))
    np.testing.assert_array_equal(before.feature_mean, after.feature_mean)
    other = make_features(tmp_path / "other")
    for path in (other / "features").iterdir():
        np.save(path, np.load(path)[:5])
    assert command(*common, "--data", other, "--run", tmp_path / "refused") == 2
    assert "has 5 features for each frame, but" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"[", b"[]", b'{"size": "6"}', b'{"size": 0}', b'{"size": 7}'])
@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_a_damaged_run(features, command, capsys, tmp_path, content):
    run = tmp_path / "run"
    shutil.copytree(features.both, run, ignore=shutil.ignore_patterns("export", "checkpoints", "logs"))
    (run / "features.json").write_bytes(content)
    assert command("evaluate", "--run", run) == 2
    assert str(run) in capsys.readouterr().err


def test_mapping_is_in_the_order_of_its_numbers(tmp_path):
    (tmp_path / "mapping.txt").write_text("2 two words\n0 zero\n\n")
    assert feature_folders.read_mapping(tmp_path) == ("zero", "two words")


@pytest.mark.extra
@pytest.mark.parametrize("options", [["--refinement", "8"], [*FORWARD, "--k1", "4"]])
def test_two_kills(folder, tmp_path, options):
    """A killed training ends as one that is not: with noise, and with a state that is carried over."""
    command = ["train", "50salads", "--data", folder, *TINY, *options, "--epochs", "60", "--checkpoint-minutes", "0.01"]
    assert killing.check_command("video", command, tmp_path, kills=2, longest_delay=1.0)

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from pipelines.common.options import Export
from pipelines.common.runs import Run
from pipelines.common.vision.videos import Video
from pipelines.video.export import export
from pipelines.video.model import load_trained
from tests import device_programs


@pytest.fixture(scope="module")
def frames(shared, tmp_path_factory):
    """The frames of a clip as PNG files, in their order."""
    folder = tmp_path_factory.mktemp("frames")
    for number, frame in enumerate(Video(shared.data / "clips" / "5.mp4")):
        Image.fromarray(frame).save(folder / f"{number:03d}.png")
    return sorted(folder.iterdir())


@pytest.mark.extra
@pytest.mark.parametrize("format", ["litert", "onnx"])
@pytest.mark.parametrize(
    "changes", [{}, {"bidirectional": True, "fit": "crop", "pool": 3, "refinement": 4}, {"deltas": 2.0, "cell": "rnn"}]
)
def test_the_program_labels_frames_as_the_saved_model(shared, make, frames, command, capsys, tmp_path, format, changes):
    device_programs.require(format)
    run = make.variant(shared.run, tmp_path / "run", **changes) if changes else shared.run
    folder = tmp_path / "label"
    assert command("export", "--run", run, "--to", folder, "--format", format) == 0
    described = json.loads((folder / "model.json").read_text("utf-8"))
    names = {"encode", "label"} if "bidirectional" in changes else {"encode", "label", "step"}
    assert set(described["functions"]) == names
    assert described["comparison"]["same"] == described["comparison"]["answers"] > 10
    found = device_programs.run(folder, "label.py", folder, *frames)
    assert command("export", "--run", run, "--to", tmp_path / "saved") == 0
    capsys.readouterr()
    assert command("predict", "--model", tmp_path / "saved", frames[0].parent) == 0
    assert [each["label"] for each in found] == json.loads(capsys.readouterr().out)["labels"]


@pytest.mark.extra
def test_the_program_labels_features(shared, make, command, capsys, tmp_path):
    device_programs.require("litert")
    run = feature_run(shared, tmp_path / "run")
    np.save(tmp_path / "video.npy", np.random.default_rng(1).normal(size=(7, 20)).astype(np.float32))
    folder = export(Export((run,), format="litert"))
    assert folder == run / "export-litert"
    found = device_programs.run(folder, "label.py", folder, tmp_path / "video.npy")
    capsys.readouterr()
    assert command("export", "--run", run) == 0
    assert command("predict", "--model", run, tmp_path / "video.npy") == 0
    expected = json.loads(capsys.readouterr().out.splitlines()[-1])["labels"]
    assert [each["label"] for each in found] == expected


def feature_run(shared, folder):
    """A run of a model of seven features, with its standardisation and a confidence, its weights random."""
    from pipelines.common.config import from_json, replace
    from pipelines.common.weights import save_weights
    from pipelines.video import confidence
    from pipelines.video.config import Config
    from pipelines.video.model import FEATURES_FILE, LABELS_FILE, make_model

    config = replace(
        from_json(Config, Run.open(shared.run, "video").config),
        encoder="none",
        standardize="data",
        fps=3.0,
        train_encoder=False,
    )
    with Run.start(folder, "video", config) as started:
        shutil.copy(shared.run / LABELS_FILE, folder)
        (folder / FEATURES_FILE).write_text('{"size": 7}')
        save_weights(make_model(config, ("left", "right"), 7), started.weights_file)
    confidence.save(folder, 1.5, 100)
    return folder


@pytest.mark.extra
def test_an_average_of_two_runs(shared, make, tmp_path):
    device_programs.require("onnx")
    other = make.variant(shared.run, tmp_path / "other", projection=4)
    folder = export(Export((shared.run, other), tmp_path / "mean", "onnx"))
    described = json.loads((folder / "model.json").read_text("utf-8"))
    assert {"h_1", "c_1", "h_1_of_2", "c_1_of_2"} == set(described["state"])
    size = load_trained(Run.open(other, "video")).model.feature_size
    assert described["features"] == 2 * size

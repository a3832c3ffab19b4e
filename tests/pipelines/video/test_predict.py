import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.common.options import Export
from pipelines.common.runs import Run
from pipelines.common.vision import videos
from pipelines.video.export import export
from pipelines.video.model import load_trained


@pytest.fixture(scope="module")
def both_ways(shared, make, tmp_path_factory):
    """A bidirectional run with random weights."""
    folder = make.variant(shared.run, tmp_path_factory.mktemp("both") / "run", bidirectional=True)
    export(Export((folder,)))
    return folder


def labels_of(trained, video) -> list[str]:
    """The labels of a whole video by the Python model."""
    pixels = np.concatenate([trained.preprocessing(stack).numpy() for stack in videos.stacks(video)])
    return [trained.names[number] for number in trained.model(pixels[None]).numpy()[0].argmax(axis=1)]


@pytest.mark.parametrize("kind", ["one direction", "both directions"])
def test_streams_equal_whole_videos(shared, both_ways, command, lines, make, tmp_path, kind):
    """A video of 200 frames is read in four stacks."""
    run = shared.run if kind == "one direction" else both_ways
    long = make.clip(tmp_path / "long.mp4", make.moving([1] * 3 + ([-2] * 9 + [2] * 9) * 11))
    short = shared.data / "clips" / "3.mp4"
    assert command("predict", "--model", run, short, long) == 0
    found = lines()
    trained = load_trained(Run.open(run, "video"))
    for path, answer in zip((short, long), found, strict=True):
        assert list(answer) == ["video", "fps", "labels", "segments"]
        assert (answer["video"], answer["fps"]) == (str(path), 10)
        assert answer["labels"] == labels_of(trained, videos.Video(path))
        segments = answer["segments"]
        assert segments[0]["start"] == 0 and segments[-1]["end"] == len(answer["labels"]) / 10
        spread = [s["label"] for s in segments for _ in range(round(10 * (s["end"] - s["start"])))]
        assert spread == answer["labels"]
    assert len(found[1]["labels"]) == 201


def test_a_folder_of_frames(shared, command, lines, make, tmp_path):
    for number, frame in enumerate(make.moving([1, 2, -2, -2, 2])):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    assert command("predict", "--model", shared.run / "export", tmp_path, "--folder-fps", "5") == 0
    (answer,) = lines()
    assert (answer["fps"], len(answer["labels"])) == (5, 5)
    assert answer["labels"] == labels_of(load_trained(Run.open(shared.run, "video")), videos.Video(tmp_path, 0, 5))


def test_frames_that_change_in_size(shared, command, lines, make, tmp_path):
    for number, frame in enumerate(make.moving([2] * 6)):
        image = Image.fromarray(frame)
        image.resize((48, 40) if number > 3 else image.size).save(tmp_path / f"{number}.png")
    out = tmp_path.with_suffix(".mp4")
    assert command("predict", "--model", shared.run, tmp_path, "--video", out, "--picture", tmp_path / "a.jpg.png") == 0
    assert len(lines()[0]["labels"]) == 6
    assert {frame.shape for frame in videos.Video(out)} == {(24, 32, 3)}


def test_the_rate_of_the_model_and_the_rate_of_the_file(shared, command, lines, make, tmp_path):
    """A model of 5 frames a second reads every second frame; the labelled video keeps the file's own rate."""
    run = make.variant(shared.run, tmp_path / "run", fps=5.0)
    export(Export((run,)))
    clip = make.clip(tmp_path / "a.mp4", make.moving([2] * 9, size=(48, 64)))
    assert command("predict", "--model", run, clip, "--video", tmp_path / "out.mp4") == 0
    (answer,) = lines()
    assert (answer["fps"], len(answer["labels"])) == (5, 5)
    assert answer["labels"] == labels_of(load_trained(Run.open(run, "video")), videos.Video(clip, 5))
    written = videos.Video(tmp_path / "out.mp4")
    frames = list(written)
    assert written.rate == 10 and len(frames) == 9
    before = np.stack(list(videos.Video(clip)))
    changed = np.abs(np.stack(frames).astype(int) - before).mean(axis=(0, 3))
    assert changed[-6:, :12].mean() > 40 > 10 > changed[:24].mean()  # a label in the lower left corner


def test_pictures(shared, command, lines, tmp_path):
    clips = [shared.data / "clips" / f"{number}.mp4" for number in (0, 1)]
    arguments = ["--picture", tmp_path / "a.png", "--video", tmp_path / "a.mp4"]
    assert command("predict", "--model", shared.run, *arguments, *clips) == 0
    for name in ("a.png", "a-2.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    for name, clip in (("a.mp4", clips[0]), ("a-2.mp4", clips[1])):
        assert len(list(videos.Video(tmp_path / name))) == len(list(videos.Video(clip)))


def test_an_unreadable_video_among_others(shared, command, lines, feed, tmp_path):
    good = str(shared.data / "clips" / "0.mp4")
    (tmp_path / "bad.mp4").write_text("no video")
    names = [f"{tmp_path}/bad.mp4", f"{tmp_path}/none.mp4", "a\udcff.mp4", "", "n" * 300, "a\0b", good, ""]
    content = "\n".join(names).encode(errors="surrogateescape")
    feed(content)
    assert command("predict", "--model", shared.run, good, "-") == 1
    found = lines()
    assert [list(row)[1] for row in found] == ["fps", *["error"] * 5, "fps"]
    assert found[1] == {"video": str(tmp_path / "bad.mp4"), "error": "is not a video, or is truncated or damaged"}
    assert found[2]["error"] == "could not be read: No such file or directory"
    assert found[3]["error"] == "byte 2 is 0xff, which is not UTF-8"
    assert found[4]["error"] == "could not be read: File name too long"
    assert found[5]["error"].startswith("has a NUL character")


def test_only_exports_predict(shared, command, capsys, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_bytes((shared.run / "config.json").read_bytes())
    assert command("predict", "--model", run, "a.mp4") == 2
    assert f"{run} has no export yet, and its training is not finished" in capsys.readouterr().err
    assert command("predict", "--model", tmp_path, "a.mp4") == 2
    assert "is neither a run nor an export" in capsys.readouterr().err
    assert command("predict", "--model", shared.run) == 2
    assert "predict needs INPUT" in capsys.readouterr().err
    assert command("predict", "--model", shared.run, "a.mp4", "--video", "a.gif") == 2
    assert "a.gif is not a name for a video" in capsys.readouterr().err
    tf.saved_model.save(tf.Module(), tmp_path / "foreign")
    assert command("predict", "--model", tmp_path / "foreign", "a.mp4") == 2
    assert "is not an export of the pipeline video" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["one direction", "both directions"])
def test_half_an_hour_of_video_takes_no_more_memory(shared, both_ways, make, tmp_path, kind):
    """Resident memory of the command on 30 minutes within 300 MB of that on ten seconds."""
    run = shared.run if kind == "one direction" else both_ways
    peaks = []
    for seconds in (10, 1800):
        clip = make.clip(tmp_path / f"{seconds}.mp4", make.moving([2, 2, -2, -2] * (seconds * 10 // 4)))
        program = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=-3);"
        program += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        words = [sys.executable, "-m", "pipelines.video", "predict", "--model", str(run), str(clip)]
        found = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
        peaks.append(int(found.stdout) / 1024)
    assert peaks[1] - peaks[0] < 300, peaks

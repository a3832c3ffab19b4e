"""Invalid input ends with a message of one line, exit status 2, and no run folder."""

import shutil

import pytest

from pipelines.common.data import sources


@pytest.fixture
def refused(command, tiny, tmp_path, capsys):
    """Runs `train` on data, which must be refused; returns the message."""

    def refused(data, *arguments):
        run = tmp_path / "run"
        capsys.readouterr()
        assert command("train", "sample", "--data", data, "--run", run, *tiny, *arguments) == 2
        out, err = capsys.readouterr()
        assert "Traceback" not in err and out == ""
        assert not run.exists()  # the next try, with better data, is not "another config"
        return err.splitlines()[-1]

    return refused


@pytest.fixture
def folder(tmp_path, shared):
    """Valid data, for tests that damage it."""
    shutil.copytree(shared.data, tmp_path / "data")
    return tmp_path / "data"


def damage(folder, old: str, new: str):
    path = folder / "segments.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_missing_folder(refused, tmp_path):
    assert f"--data {tmp_path / 'none'} does not exist: expected sample, a file, a folder" in refused(tmp_path / "none")
    assert "has no label file: expected one of labels.csv" in refused(tmp_path)


def test_segments_past_the_end_of_the_clip(refused, folder):
    damage(folder, "clips/0.mp4,0.4,0.9", "clips/0.mp4,0.4,1.9")
    assert "the segment of clips/0.mp4 ends at 1.9 s, but the clip at 0.900 s" in refused(folder)


def test_overlapping_segments(refused, folder):
    damage(folder, "clips/0.mp4,0.4,0.9", "clips/0.mp4,0.3,0.9")
    assert "segments.csv, line 3: the segment of clips/0.mp4 starts at 0.3 s, but the one of" in refused(folder)


def test_frames_without_a_label(refused, folder):
    damage(folder, "clips/0.mp4,0.4,0.9", "clips/0.mp4,0.6,0.9")
    assert "no segment of clips/0.mp4 covers it from 0.40 s to 0.60 s; give the label" in refused(folder)


def test_a_clip_in_two_splits(refused, folder):
    damage(folder, "clips/0.mp4,0.4,0.9,left,train", "clips/0.mp4,0.4,0.9,left,test")
    assert "segments.csv, line 3: clips/0.mp4 is in the split test, but in train at" in refused(folder)


def test_a_random_split_of_grouped_data(refused, folder, make):
    make.data(folder, split=False)
    assert "--split-by clip is refused" in refused(folder, "--split-by", "clip")


def test_unknown_labels(refused, folder):
    message = refused(folder, "--label-names", "left", "up")
    assert "segments.csv, line 2: the label is 'right', expected one of left, up" in message


def test_only_one_label(refused, folder):
    path = folder / "segments.csv"
    path.write_text(path.read_text().replace("right", "left"))
    assert "all 8 training videos have the label left; expected at least two" in refused(folder)


def test_no_validation(refused, folder):
    path = folder / "segments.csv"
    path.write_text(path.read_text().replace(",val,val", ",train,val"))
    assert "has no part validation: expected one, a --validation-share above 0" in refused(
        folder, "--validation-share", "0"
    )


def test_joined_clips_of_different_rates(refused, folder, make):
    make.clip(folder / "clips" / "20.mp4", make.moving([1] * 8), fps=20)
    rows = [{"clips": f"clips/{a}.mp4;clips/{b}.mp4", "labels": "a;b", "split": part}
            for a, b, part in ((0, 20, "train"), (2, 3, "val"), (4, 5, "test"))]  # fmt: skip
    make.csv(folder / "sequences.csv", rows)
    assert "the clips of line 2 have 10 and 20 frames a second; choose one rate for all with --fps" in refused(
        folder, "--annotations", "sequences.csv"
    )


@pytest.mark.extra
def test_unreadable_clips_are_left_out_and_listed(folder, command, tiny, tmp_path, capsys):
    (folder / "clips" / "0.mp4").write_bytes(b"no video")
    whole = (folder / "clips" / "2.mp4").read_bytes()
    (folder / "clips" / "2.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "clips" / "3.mp4").write_bytes(b"")
    run = tmp_path / "run"
    assert command("train", "sample", "--data", folder, "--run", run, *tiny, "--epochs", "1") == 0
    message = capsys.readouterr().err
    assert "left out 3 of 10 clips of --data" in message
    for number in (0, 2):
        assert f"clips/{number}.mp4 is not a video, or is truncated" in message
    assert "clips/3.mp4 is empty" in message
    for path in (folder / "clips").iterdir():
        path.write_bytes(b"")
    assert command("train", "sample", "--data", folder, "--run", tmp_path / "other", *tiny) == 2
    assert "none of the 10 clips of --data" in capsys.readouterr().err


def test_no_network(refused, monkeypatch):
    monkeypatch.setattr(sources, "reachable", lambda address: False)
    assert "there is no network to download" in refused("tfds:ucf101")


def test_the_sample_outside_of_a_checkout(refused, monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    assert "the sample is part of a checkout of the project" in refused("sample")


def test_missing_weights(refused, folder, tmp_path):
    frozen = ["--no-train-encoder", "--encoder", "mobilenet_v2", "--image-size", "32", "--encoder-weights"]
    assert "none.weights.h5 does not exist" in refused(folder, *frozen, tmp_path / "none.weights.h5")
    assert "--encoder-weights is none, but must be imagenet or a file" in refused(folder, *frozen, "none")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "fihgt"], "there is no preset fihgt (did you mean fight?); expected one of sample, fight"),
        (["trian", "fight"], "there is no command trian (did you mean train?)"),
        (["train", "sample", "--unitz", "3"], "--units"),
        (["train", "sample", "--units", "0"], "--units is 0, but must be at least 1"),
        (["train", "sample", "--k1", "5"], "--k1 is 5, but must be 0 with --bidirectional"),
        (["train", "sample", "--cell", "gru"], "lstm"),
        (["evaluate"], "--run"),
        (["export"], "--run"),
        (["predict", "a.mp4"], "--model"),
        (["predict", "--model", ".", "a.mp4", "--folder-fps", "0"], "--folder-fps is 0.0, but must be from 0.01"),
    ],
)
def test_the_command_line(command, capsys, arguments, message):
    assert command(*arguments) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.parametrize("words", [["evaluate", "--run"], ["export", "--run"], ["fine-tune", "--data", "x", "--from"]])
def test_folders_that_are_not_a_run(shared, command, capsys, tmp_path, words):
    def told(folder):
        assert command(*words, folder) == 2
        return capsys.readouterr().err

    assert "does not exist" in told(tmp_path / "none")
    assert "is an export: expected the folder of a run" in told(shared.run / "export")
    assert "is not a run: it has no config.json" in told(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"task": "sentiment", "config": {}}')
    assert "is a run of the pipeline sentiment: expected one of video" in told(other)
    (other / "config.json").write_text((shared.run / "config.json").read_text())
    assert "has no model.weights.h5 yet: train the run first" in told(other)


@pytest.mark.filterwarnings("ignore:Skipping nested container")  # Keras's remark before it refuses
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.weights.h5", b"cut off", "does not hold the weights of this model"),
        ("labels.json", b"[", "labels.json is not a JSON file"),
        ("labels.json", b'["one"]', "labels.json does not contain labels"),
        ("labels.json", b'["one", "two", "three"]', "does not hold the weights of this model"),
        ("config.json", b"{}", "config.json is not the configuration of a run"),
    ],
)
def test_a_damaged_run(shared, command, capsys, tmp_path, name, content, message):
    run = tmp_path / "run"
    shutil.copytree(shared.run, run, ignore=shutil.ignore_patterns("export", "checkpoints", "logs"))
    (run / name).write_bytes(content)
    assert command("evaluate", "--run", run) == 2
    assert message in capsys.readouterr().err

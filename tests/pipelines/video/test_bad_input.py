"""Invalid input ends with a message of one line, exit status 2, and no run folder."""

import shutil

import pytest


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


def test_missing_weights(refused, folder, tmp_path):
    frozen = ["--no-train-encoder", "--encoder", "mobilenet_v2", "--image-size", "32", "--encoder-weights"]
    assert "none.weights.h5 does not exist" in refused(folder, *frozen, tmp_path / "none.weights.h5")
    assert "--encoder-weights is none, but must be imagenet or a file" in refused(folder, *frozen, "none")

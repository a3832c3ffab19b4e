import numpy as np
import pytest
import tensorflow_datasets as tfds

from pipelines.common.data import sources
from pipelines.common.errors import UserError
from pipelines.video.annotations import frame_labels, open_clip, read
from pipelines.video.clips import Clip, Segment
from pipelines.video.config import DataConfig
from pipelines.video.tfds_clips import TfdsClip

NAMES = ["still", "left", "right"]


def index(label: str, place: str) -> int:
    return NAMES.index(label)


@pytest.fixture
def folder(tmp_path):
    """Empty files: label files are read before the clips."""
    (tmp_path / "clips").mkdir()
    for number in range(6):
        (tmp_path / "clips" / f"{number}.mp4").touch()
    return tmp_path


def write(folder, name, text):
    (folder / name).write_text(text)
    return folder


def refused(where, **changes) -> str:
    with pytest.raises(UserError) as caught:
        read(where, DataConfig(**changes))
    return str(caught.value)


def test_one_label_per_clip(folder):
    write(folder, "labels.csv", "file,label,split,group\nclips/0.mp4,left,train,a\nclips/1.mp4,right,val,b\n")
    videos = read(folder, DataConfig())
    assert [(v.name, v.part, v.group, v.labels) for v in videos] == [
        ("clips/0.mp4", "train", "a", {"left"}), ("clips/1.mp4", "validation", "b", {"right"}),
    ]  # fmt: skip
    assert videos[0].clips[0].source == folder / "clips" / "0.mp4"
    assert read(folder / "labels.csv", DataConfig())[1].clips[0].label == "right"


def test_whole_numbers_are_one_label_however_they_are_written(folder):
    write(folder, "labels.csv", "file,label\nclips/0.mp4,1\nclips/1.mp4,1.0\nclips/2.mp4, 1\n")
    assert {label for video in read(folder, DataConfig()) for label in video.labels} == {"1"}


def test_segments_in_any_order(folder):
    rows = "clips/0.mp4,1.0,2.5,left\nclips/1.mp4,0,1,still\nclips/0.mp4,0,1.0,right\n"
    videos = read(write(folder, "segments.csv", "file,start,end,label\n" + rows), DataConfig())
    assert [(s.start, s.end, s.label) for s in videos[0].clips[0].segments] == [(0, 1, "right"), (1, 2.5, "left")]
    assert videos[0].part is None and videos[0].group is None
    assert videos[0].labels == {"left", "right"}


def test_clips_that_are_joined(folder):
    rows = "s0,test,a,clips/0.mp4; clips/1.mp4,left;right\ns1,test,a,clips/0.mp4,left\n"
    videos = read(write(folder, "sequences.csv", "seq,split,group,clips,labels\n" + rows), DataConfig())
    assert [video.name for video in videos] == ["s0", "s1"]
    assert [(clip.name, clip.label) for clip in videos[0].clips] == [("clips/0.mp4", "left"), ("clips/1.mp4", "right")]


def test_which_of_several_label_files(folder):
    write(folder, "labels.csv", "file,label\nclips/0.mp4,left\n")
    write(folder, "sequences.csv", "clips,labels\nclips/0.mp4;clips/1.mp4,left;right\n")
    assert "has labels.csv and sequences.csv: choose one with --annotations" in refused(folder)
    (video,) = read(folder, DataConfig(annotations="sequences.csv"))
    assert (video.name, len(video.clips)) == ("line 2", 2)
    assert "has no segments.csv: it has labels.csv, sequences.csv" in refused(folder, annotations="segments.csv")
    assert "is not a label file: expected one of labels.csv" in refused(folder / "clips" / "0.mp4")


def test_without_a_label_file(tmp_path):
    assert "has no label file: expected one of labels.csv, segments.csv, sequences.csv" in refused(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("labels.csv", "file,label\nclips/9.mp4,left\n", "labels.csv, line 2: clips/9.mp4 does not exist in"),
        ("labels.csv", "file,label\nclips/0.mp4,\n", "labels.csv, line 2: label is '', expected a name"),
        ("labels.csv", "file,label\nclips/0.mp4,nan\n", "labels.csv, line 2: label is 'nan', expected a name"),
        ("labels.csv", "file,label,label\nclips/0.mp4,a,b\n", "labels.csv, line 1: 2 columns have the name label"),
        (
            "labels.csv",
            'file,label\n"clips/0.mp4,a\n',
            "labels.csv, line 2: the quotation mark that opens a field here",
        ),
        ("segments.csv", "file,start,end,label\nclips/0.mp4,0,1,NaN\n", "line 2: label is 'NaN', expected a name"),
        ("sequences.csv", "clips,labels\nclips/0.mp4,NaN\n", "line 2: a label is 'NaN', expected a name"),
        ("labels.csv", "file\nclips/0.mp4\n", "line 1: has the columns 'file', but label is missing"),
        (
            "labels.csv",
            "file,label\nclips/0.mp4,left\nclips/0.mp4,right\n",
            "line 3: clips/0.mp4 is also at",
        ),
        (
            "labels.csv",
            "file,label,split\nclips/0.mp4,left,train\nclips/0.mp4,left,test\n",
            "line 3: the clip clips/0.mp4 is in the split test, but in train at",
        ),
        (
            "labels.csv",
            "file,label,split,group\nclips/0.mp4,left,train,a\nclips/1.mp4,left,test,a\n",
            "line 3: the group a is in the split test, but in train at",
        ),
        (
            "labels.csv",
            "file,label,split\nclips/0.mp4,left,held\n",
            "split is 'held', expected one of train, validation and test",
        ),
        (
            "segments.csv",
            "file,start,end,label\nclips/0.mp4,0,x,left\n",
            "line 2: end is 'x', expected seconds from 0 up",
        ),
        ("segments.csv", "file,start,end,label\nclips/0.mp4,-1,1,left\n", "start is '-1', expected seconds from 0 up"),
        ("segments.csv", "file,start,end,label\nclips/0.mp4,0,nan,left\n", "end is 'nan', expected seconds"),
        ("segments.csv", "file,start,end,label\nclips/0.mp4,2,2,left\n", "ends at 2 s, but must end after its start"),
        (
            "segments.csv",
            "file,start,end,label\nclips/0.mp4,0,2,left\nclips/0.mp4,1.5,3,right\n",
            "line 3: the segment of clips/0.mp4 starts at 1.5 s, but the one of",
        ),
        (
            "segments.csv",
            "file,start,end,label,split\nclips/0.mp4,0,1,left,train\nclips/0.mp4,1,2,left,test\n",
            "line 3: clips/0.mp4 is in the split test, but in train at",
        ),
        (
            "sequences.csv",
            "clips,labels\nclips/0.mp4;clips/1.mp4,left\n",
            "line 2: 2 clips and 1 labels; expected as many",
        ),
        ("sequences.csv", "clips,labels\nclips/0.mp4;,left;right\n", "expected as many, none empty"),
        (
            "sequences.csv",
            "clips,labels,split\nclips/0.mp4;clips/1.mp4,left;left,train\nclips/1.mp4,left,test\n",
            "line 3: the clip clips/1.mp4 is in the split test, but in train at",
        ),
    ],
)
def test_invalid_label_files(folder, name, text, message):
    assert message in refused(write(folder, name, text))


def segments(*rows):
    return Clip("a.mp4", None, None, tuple(Segment(*row, f"file, line {n}") for n, row in enumerate(rows, start=2)))


def test_a_frame_has_the_label_of_its_time():
    """Frame t has the time t / rate, and the end of a segment is not in it."""
    clip = segments((0.0, 0.25, "left"), (0.25, 0.6, "right"))
    assert frame_labels(clip, 6, 10, index, "").tolist() == [1, 1, 1, 2, 2, 2]
    assert (
        frame_labels(segments((0.0, 0.3, "left"), (0.3, 0.6, "right")), 6, 10, index, "").tolist() == [1] * 3 + [2] * 3
    )
    thirds = segments((0.0, 1 / 3, "left"), (1 / 3, 2 / 3, "right"), (2 / 3, 1.0, "left"))
    assert frame_labels(thirds, 30, 30, index, "").tolist() == [1] * 10 + [2] * 10 + [1] * 10
    assert frame_labels(Clip("a", None, "right"), 3, 10, index, "").tolist() == [2, 2, 2]


def test_frames_without_a_segment():
    clip = segments((0.2, 0.4, "left"), (0.7, 0.8, "right"))
    assert frame_labels(clip, 10, 10, index, "still").tolist() == [0, 0, 1, 1, 0, 0, 0, 2, 0, 0]
    with pytest.raises(UserError, match=r"no segment of a.mp4 covers it from 0.00 s to 0.20 s; .* --background"):
        frame_labels(clip, 10, 10, index, "")
    with pytest.raises(UserError, match=r"from 0.50 s to 0.70 s"):
        frame_labels(segments((0, 0.5, "left"), (0.7, 1, "left")), 10, 10, index, "")


def test_segments_past_the_end_of_the_clip():
    assert frame_labels(segments((0.0, 0.99, "left")), 9, 10, index, "").tolist() == [1] * 9  # within a frame of it
    with pytest.raises(UserError, match=r"file, line 2: the segment of a.mp4 ends at 1.2 s, but the clip at 0.900 s"):
        frame_labels(segments((0.0, 1.2, "left")), 9, 10, index, "")


def test_ucf101_of_tensorflow_datasets(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "reachable", lambda address: True)
    with tfds.testing.mock_data(num_examples=3, data_dir=tmp_path):
        videos = read("tfds:ucf101", DataConfig(fps=5))
    assert [video.part for video in videos] == ["train"] * 3 + ["test"] * 3
    assert all(isinstance(clip.label, str) and not clip.label.isdigit() for video in videos for clip in video.clips)
    assert {video.group for video in videos} == {None}  # which clips are of one scene is not passed on


class TwoMoves(tfds.core.GeneratorBasedBuilder):
    """Data of the form of ucf101, prepared by tfds: frame t of clip n is of the grey 40 n + t."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {"video": tfds.features.Video((None, 8, 8, 3), encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=["left", "right"])}  # fmt: skip
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(5), "test": self._generate_examples(2)}

    def _generate_examples(self, count):
        for number in range(count):
            frames = [np.full((8, 8, 3), 40 * number + t, np.uint8) for t in range(10)]
            yield number, {"video": frames, "label": number % 2}


@pytest.mark.filterwarnings("ignore")  # of tensorflow-datasets, about a builder without a folder of its own
def test_clips_of_tensorflow_datasets_are_read_one_by_one(monkeypatch, tmp_path):
    builder = TwoMoves(data_dir=tmp_path)
    builder.download_and_prepare()
    monkeypatch.setattr(sources, "prepare_tfds", lambda name, manual_dir: builder)
    videos = read("tfds:two_moves", DataConfig())
    assert [video.part for video in videos] == ["train"] * 5 + ["test"] * 2
    seen = []
    for video in videos[:5]:
        (clip,) = video.clips
        opened = open_clip(clip.source, DataConfig())
        frames = np.stack(list(opened))
        assert opened.rate == 25 and len(frames) == 10
        number = frames[0, 0, 0, 0] // 40
        assert clip.label == ("left", "right")[number % 2]
        np.testing.assert_array_equal(frames[:, 0, 0, 0], 40 * number + np.arange(10))
        np.testing.assert_array_equal(list(open_clip(clip.source, DataConfig(fps=5))), frames[::5])
        seen.append(int(number))
    assert sorted(seen) == list(range(5))
    source = videos[4].clips[0].source
    assert isinstance(source, TfdsClip) and "example 4 of train" in str(source)
    with open(source) as file:
        assert "two_moves" in file.read()

"""Whatever is in a file or folder, its reader returns an answer or raises UserError.

The short form is the same each time. The long form, `pytest -m slow`, is random; UNFOLD_FUZZ is the number of inputs of
each reader (5,000 by default).
"""

import contextlib
import functools
import io
import os
import resource
import sys
import zlib

import av
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

import pipelines.captioning.config
import pipelines.captioning.dataset
import pipelines.sentiment.config
import pipelines.sentiment.dataset
import pipelines.sentiment.language_model.config
import pipelines.sentiment.language_model.dataset
import pipelines.sentiment.text_config
import pipelines.translation.config
import pipelines.translation.dataset
import pipelines.video.config
import pipelines.video.dataset
from pipelines.captioning.predict import find_files
from pipelines.common.config import from_json
from pipelines.common.data import word_vectors
from pipelines.common.data.loading import load_labels, load_vocabulary
from pipelines.common.data.tables import ENDINGS, read_rows
from pipelines.common.runs import Run, as_json
from pipelines.common.serving import text_inputs
from pipelines.common.vision import images, videos
from pipelines.common.vision.feature_cache import read_shard
from pipelines.common.vision.feature_files import check_finite, frames_of, open_features
from pipelines.video.annotations import frame_labels
from tests.fuzz.fuzzing import answers_or_refuses, bent, bent_json, check, damaged, trees, write_tree

SHORT = 250  # inputs of the short form
GROWTH = 2**20  # kilobytes of memory that the long form of one reader may take

CSV = b'text,label,film\n"A ""good"" film,\nreally.",pos,a\nBad.,neg,b\nGood.,pos,c\nAwful.,neg,d\n'
TSV = CSV.replace(b",\n", b"; ").replace(b",", b"\t")
JSONL = b'{"text": "Good.", "label": 1, "film": "a"}\n{"text": "Bad.", "label": "0", "film": null}\n' * 3
ROW = {"text": "A good film", "label": 1, "film": "a"}


def read_tables(folder, example):
    ending, quoting, content = example
    path = folder / f"table{ending}"
    write_tree(folder, {path.name: content})
    answers_or_refuses(lambda: list(read_rows(path, ["text", "label"], quoting)))


TABLES = st.one_of(
    st.tuples(st.sampled_from(ENDINGS), st.booleans(), damaged(CSV, TSV, JSONL)),
    st.tuples(st.just(".jsonl"), st.just(False), st.lists(bent_json(ROW), max_size=3).map(b"\n".join)),
)


def loads(load, kind):
    """Returns the property of the data of a pipeline, whose location is a folder or one of its files."""

    def holds(folder, example):
        tree, name, options = example
        write_tree(folder, tree)
        answers_or_refuses(load, kind(location=str(folder / name), **options))

    return holds


def data_of(*good, **options):
    """Returns a strategy of (tree, which file of it or the folder itself, options)."""
    names = st.sampled_from(["", "", "", *(name for tree in good for name in tree)])
    return st.tuples(trees(*good), names, st.fixed_dictionaries({}, optional=options))


SENTIMENT = data_of(
    {"train.csv": CSV, "test.tsv": TSV, "validation.jsonl": JSONL, "unsup.csv": b"text\nSo so.\n"},
    {
        **{f"train/{label}/{name}": b"A film." for label in ("pos", "neg") for name in ("0_9.txt", "1_2.txt")},
        "train/urls_pos.txt": b"a\nb\n",
        "train/urls_neg.txt": b"c\nd\n",
        "train/unsup/0_0.txt": b"So so.",
        "train/urls_unsup.txt": b"e\n",
        "test/pos/0_9.txt": b"Good.",
        "test/neg/0_1.txt": b"Bad.",
    },
    {"train.jsonl": st.lists(bent_json(ROW), max_size=4).map(b"\n".join)},
    group_column=st.just("film"),
    quoting=st.booleans(),
)


def load_sentiment(data):
    parts = pipelines.sentiment.dataset.load(data)
    pipelines.sentiment.dataset.find_unlabelled(data, parts)


LINES = data_of({"texts.txt": b"A film.\n\nAnother film, longer.\n"}, {"texts.txt.gz": b"A film.\nB.\n"})


def load_lines(data):
    pipelines.sentiment.language_model.dataset.load(data, max_characters=10)


TRANSLATION = data_of(
    {"train.en": b"a\nb\nc\n", "train.fr": b"x\ny\nz\n", "val.en": b"d\n", "val.fr": b"w\n", "test.tsv": b"e\tv\n"},
    {"train.tsv": b'a\tx\n"b"\ty\nc\tz\n', "test_2016.en": b"f\n", "test_2016.fr": b"u\n"},
    quoting=st.booleans(),
)

COCO = {
    "images": [{"id": number, "file_name": f"{number}.jpg"} for number in range(4)],
    "annotations": [{"image_id": number % 4, "id": number, "caption": "A dog runs ."} for number in range(8)],
}
FLICKR = b"".join(b"%d.jpg#%d\tA dog runs .\n" % (number // 2, number % 2) for number in range(8))
CAPTIONING = data_of(
    {"captions_train.tsv": FLICKR.replace(b"#", b"\t"), "captions_test.tsv": b"9.jpg\t0\tA cat", "images/9.jpg": b""},
    {"Flickr8k.token.txt": FLICKR, "train.txt": b"0.jpg\n1.jpg\n", "dev_all.txt": b"3.jpg\n2.jpg\n"},
    {"annotations/captions_train2014.json": bent_json(COCO), "annotations/captions_val2014.json": bent_json(COCO)},
    quoting=st.booleans(),
)

CLIPS = {f"{name}.mp4": b"" for name in "abc"}
VIDEO = data_of(
    CLIPS | {"labels.csv": b"file,label,split,group\na.mp4,wave,train,x\nb.mp4,jump,train,y\nc.mp4,jump,test,z\n"},
    CLIPS | {"segments.csv": b"file,start,end,label\na.mp4,0,0.5,wave\na.mp4,0.5,1,jump\nb.mp4,0,1e0,jump\n"},
    CLIPS | {"sequences.csv": b"seq,clips,labels,split\n1,a.mp4;b.mp4,wave;jump,train\n2,c.mp4,jump,val\n"},
    {
        "mapping.txt": b"0 none\n1 wave\n2 jump\n",
        "groundTruth/a.txt": b"none\nwave\nwave\n",
        "groundTruth/b.txt": b"jump\nnone\n",
        "features/a.npy": b"",
        "features/b.npy": b"",
        "splits/train.split1.bundle": b"a.txt\n",
        "splits/test.split1.bundle": b"b.txt\n",
    },
    background=st.sampled_from(["", "none"]),
    split_by=st.sampled_from(["group", "clip"]),
)


def load_video(data):
    loaded = [video for part in pipelines.video.dataset.load(data).values() for video in part]
    names = pipelines.video.dataset.name_labels(loaded, data)
    for clip in (clip for video in loaded for clip in video.clips):
        frame_labels(clip, 25, 25.0, lambda label, place: names.index(label), data.background)


CONFIGS = [
    module.Config
    for module in (
        pipelines.captioning.config,
        pipelines.sentiment.config,
        pipelines.sentiment.language_model.config,
        pipelines.translation.config,
        pipelines.video.config,
    )
]
CONFIG = st.sampled_from(CONFIGS).flatmap(lambda kind: st.tuples(st.just(kind), bent(as_json(kind()))))


def read_config(folder, example):
    kind, stored = example
    if isinstance(stored, dict):  # as Run.open guarantees
        answers_or_refuses(from_json, kind, stored)


def open_run(folder, content):
    (folder / "config.json").write_bytes(content)
    answers_or_refuses(Run.open, folder, "video")


def read_text(folder, content):
    (folder / "text").write_bytes(content)
    answers_or_refuses(load_vocabulary, folder / "text")
    answers_or_refuses(load_labels, folder / "text")


def read_vectors(folder, example):
    name, content = example
    write_tree(folder, {name: content})
    found = []
    answers_or_refuses(lambda: found.append(word_vectors.read(folder / name, ["the", "Film", ". ."], 2)))
    assert all(np.isfinite(each.embeddings(seed=1)).all() for each in found)


@functools.cache
def encoded_images() -> tuple[bytes, ...]:
    """Returns small images in the formats that are read, rotated by their Exif data."""
    exif = Image.Exif()
    exif[0x0112] = 6
    found = []
    for kind, modes in (("JPEG", ("RGB", "L", "CMYK")), ("PNG", ("RGBA", "P", "I;16"))):
        for mode in modes:
            file = io.BytesIO()
            Image.new(mode, (9, 5)).save(file, kind, exif=exif)
            found.append(file.getvalue())
    return tuple(found)


def read_image(folder, content):
    (folder / "image").write_bytes(content)
    reasons = []
    answers_or_refuses(lambda: reasons.append(images.check(folder / "image", 10_000)))
    if reasons == [None]:  # what `check` accepts can be decoded
        answers_or_refuses(lambda: images.decode_one(content, size=4, fit="crop", pixel_limit=10_000))


def read_inputs(folder, content):
    """Reads standard input as texts and as names of images."""
    (folder / "a.png").write_bytes(b"")
    for read in (text_inputs.read_texts, lambda names: find_files(text_inputs.read_names(names))):
        with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
            answers_or_refuses(lambda read=read: list(read(["-"])))


def array_file() -> bytes:
    """Returns an array in the format of NumPy."""
    file = io.BytesIO()
    np.save(file, np.zeros([3, 2], np.float32))
    return file.getvalue()


SHARD = {"checksum": zlib.crc32(array_file()), "items": [["a.png", 100, 1, 1], ["b.png", 200, 1, 2]]}


def read_features(folder, example):
    index, array = example
    (folder / "0.json").write_bytes(index)
    (folder / "0.npy").write_bytes(array)
    answers_or_refuses(read_shard, folder / "0.json")


@functools.cache
def encoded_video(kind: str) -> bytes:
    """Returns a video of four small frames."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 16
        for number in range(4):
            frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 60 * number, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def open_array(folder, content):
    (folder / "a.npy").write_bytes(content)

    def read():
        array = open_features(folder / "a.npy")
        check_finite(folder / "a.npy", frames_of(array, 0, 10))

    answers_or_refuses(read)


def read_video(folder, content):
    (folder / "video").write_bytes(content)
    answers_or_refuses(lambda: sum(1 for _ in videos.Video(folder / "video")))


# Reader -> (strategy, property).
READERS = {
    "tables": (TABLES, read_tables),
    "sentiment": (SENTIMENT, loads(load_sentiment, pipelines.sentiment.config.DataConfig)),
    "lines": (LINES, loads(load_lines, pipelines.sentiment.text_config.DataConfig)),
    "translation": (TRANSLATION, loads(pipelines.translation.dataset.load, pipelines.translation.config.DataConfig)),
    "captioning": (CAPTIONING, loads(pipelines.captioning.dataset.load, pipelines.captioning.config.DataConfig)),
    "video": (VIDEO, loads(load_video, pipelines.video.config.DataConfig)),
    "config": (CONFIG, read_config),
    "run": (bent_json({"task": "video", "preset": None, "config": {"run": "a"}, "versions": {}}), open_run),
    "vocabulary": (damaged(b"<pad>\n<unk>\nthe\n", b'["neg", "pos"]') | bent_json(["neg", "pos"]), read_text),
    "vectors": (
        st.tuples(
            st.sampled_from(["a.vec", "a.vec.gz"]), damaged(b"3 2\nthe 1 0.5 \nfilm 2 -1 \n", b"the 1 2\n. . 1e3 .5\n")
        ),
        read_vectors,
    ),
    "inputs": (damaged(b"a.png\n\n./a.png\nb.png\n", b"a.png\0b.png\0"), read_inputs),
    "features": (st.tuples(bent_json(SHARD), st.just(array_file()) | damaged(array_file())), read_features),
    "arrays": (damaged(array_file()), open_array),
    "images": (st.deferred(lambda: damaged(*encoded_images())), read_image),
    "videos": (st.deferred(lambda: damaged(*map(encoded_video, ("mp4", "matroska", "avi")))), read_video),
}


@pytest.mark.parametrize("reader", READERS)
def test_an_answer_or_one_sentence(reader):
    check(*READERS[reader], SHORT, derandomize=True)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_an_answer_or_one_sentence_for_many_inputs(reader):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check(*READERS[reader], int(os.environ.get("UNFOLD_FUZZ", "5000")), derandomize=False)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWTH

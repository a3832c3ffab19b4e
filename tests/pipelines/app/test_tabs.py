"""The answers of the tabs, with the tiny runs."""

import re

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio", reason="needs the extra app: pip install 'unfold[app]'")

import itertools

from tests.pipelines.app.test_decoding import EMPTY


def values(**given) -> list:
    return list((EMPTY | given).values())


def cells(markup: str) -> list[list[str]]:
    """Returns the cells of the rows of a table."""
    rows = re.findall(r"<tr>(.*?)</tr>", markup)
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows if "<td" in row]


def assert_drawn(path: str, folder):
    with Image.open(path) as picture:
        assert picture.format == "PNG" and picture.width > 300
    assert str(path).startswith(str(folder.path))


def answer(models, task, compute, *given):
    """Returns the message and the outputs of a tab."""
    from pipelines.app.tabs import Tab

    tab = object.__new__(Tab)  # without the fields, which need a page
    tab.models, tab.task = models, task
    return tab.call(compute, 2, models.of(task)[0].name, given)


def test_sentiment(models, folder):
    from pipelines.app.answers.sentiment import classify

    loaded = models.get(models.of("sentiment")[0].name).loaded
    bars, words, picture = classify(loaded, "A good <film>, isn't it?", folder)
    shares = [float(row[1].rstrip("%")) for row in cells(bars)]
    assert {row[0] for row in cells(bars)} == {"negative", "positive"} and sum(shares) == pytest.approx(100, abs=0.2)
    assert re.findall(r">([^<]+)</span>", words)[:2] == ["a", "good"] and "<film>" not in words
    assert len(re.findall(r"background: rgb\(\d+, \d+, \d+\)", words)) >= 5
    assert_drawn(picture, folder)


@pytest.mark.extra
def test_a_long_text(models, folder):
    from pipelines.app.answers.sentiment import classify

    loaded = models.get(models.of("sentiment")[0].name).loaded
    _, words, picture = classify(loaded, "good film " * 1_000, folder)
    assert words.count("<span") <= 400
    assert_drawn(picture, folder)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("  ", "There is no text yet"),
        ("a" * 20_001, "The text has 20,001 characters: expected at most 20,000"),
        ("half \ud83d", "half of a character"),
    ],
)
def test_a_bad_text_is_one_sentence(models, folder, text, sentence):
    from pipelines.app.answers.sentiment import classify

    message, *rest = answer(models, "sentiment", lambda model, text: classify(model.loaded, text, folder), text)
    assert sentence in message and rest == [None, None]


def test_translation(models, folder):
    from pipelines.app.answers.translation import translate
    from pipelines.common.serving import exports
    from pipelines.common.serving.decoding_options import DecodingOptions

    loaded = models.get(models.of("translation")[0].name).loaded
    answers, picture, sentence_map = translate(loaded, "A red star.\n\n", values(n_best=3, beam_size=4), folder)
    expected = exports.decode(loaded, DecodingOptions(n_best=3, beam_size=4), source=["A red star."])
    found = [candidate.decode() for candidate in expected["candidates"].numpy()[0][:3]]
    assert [row[1] for row in cells(answers)] == [text or "(nothing)" for text in found]
    assert sentence_map is None
    assert_drawn(picture, folder)
    answers, picture, sentence_map = translate(loaded, "A red star.\nA grey door.\nA house.", values(), folder)
    assert len(cells(answers)) == 3
    assert_drawn(picture, folder)
    assert_drawn(sentence_map, folder)
    sampled, _, _ = translate(loaded, "A red star.", values(sampled=True, seed=1), folder)
    assert sampled == translate(loaded, "A red star.", values(sampled=True, seed=1), folder)[0]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (" \n", "there is no sentence yet"),
        ("a\n" * 21, "there are 21 lines: expected at most 20"),
        ("a\n" + "b" * 1_001, "line 2 has 1,001 characters: expected at most 1,000"),
        ("\ud83d", "line 1 has half of a character"),
    ],
)
def test_bad_sentences_are_one_sentence(models, source, sentence):
    from pipelines.app.answers.translation import lines_of
    from pipelines.common.errors import UserError

    with pytest.raises(UserError, match=sentence):
        lines_of(source)


def test_captioning(models, folder, captioning_run):
    from pipelines.app.answers.captioning import caption

    loaded = models.get(models.of("captioning")[0].name).loaded
    answers, picture = caption(loaded, str(captioning_run.image(0)), values(n_best=2), folder)
    assert 1 <= len(cells(answers)) <= 2
    assert_drawn(picture, folder)


def test_a_bad_image_is_one_sentence(models, folder, tmp_path):
    from pipelines.app.answers.captioning import caption

    (tmp_path / "bad.png").write_bytes(b"no image")

    def compute(model, image):
        return caption(model.loaded, image, values(), folder)

    message, *rest = answer(models, "captioning", compute, str(tmp_path / "bad.png"))
    assert "Bad.png is not a JPEG or PNG image" in message and rest == [None, None] and str(tmp_path) not in message
    message, *_ = answer(models, "captioning", compute, None)
    assert "There is no image yet" in message


def test_video(models, folder, video_run):
    from pipelines.app.answers.video import label_clip
    from pipelines.common.vision.videos import Video

    loaded = models.get(models.of("video")[0].name).loaded
    clip = next(path for path in sorted(video_run.data.rglob("*.mp4")))
    segments, labelled, timeline = label_clip(loaded, str(clip), folder)
    rows = cells(segments)
    assert rows and all(row[1] == after[0] for row, after in itertools.pairwise(rows))
    assert len(list(Video(labelled))) == len(list(Video(clip)))
    assert_drawn(timeline, folder)


def test_a_bad_or_long_video_is_one_sentence(models, folder, video_run, tmp_path, monkeypatch):
    from pipelines.app import limits
    from pipelines.app.answers.video import label_clip

    (tmp_path / "bad.mp4").write_bytes(b"no video")

    def compute(model, clip):
        return label_clip(model.loaded, clip, folder)

    message, *rest = answer(models, "video", compute, str(tmp_path / "bad.mp4"))
    assert "Bad.mp4 is not a video" in message and rest == [None, None] and str(tmp_path) not in message
    monkeypatch.setattr(limits, "FRAMES", 3)
    clip = next(path for path in sorted(video_run.data.rglob("*.mp4")))
    message, *_ = answer(models, "video", compute, str(clip))
    assert "is too long: it has" in message


def test_live_labels_are_those_of_the_signature_window(models, video_run):
    import tensorflow as tf

    from pipelines.app.answers.live import next_label
    from pipelines.common.vision.videos import Video

    model = models.get(models.of("video")[0].name)
    clip = next(path for path in sorted(video_run.data.rglob("*.mp4")))
    frames = np.stack(list(Video(clip))[:6])
    whole = model.loaded.signatures["serving_default"](frames=tf.constant(frames[None]), lengths=tf.constant([6]))
    state, labels = None, []
    for frame in frames:
        shown, state = next_label(model, frame, state)
        labels.append(re.findall(r">(.*)</span>", shown)[0])
    assert labels == [label.decode() for label in whole["labels"].numpy()[0]]
    assert next_label(model, None, state) == ("", state)
    assert next_label(model, frames[0], ("another", state[1]))[0] == next_label(model, frames[0], None)[0]


def test_a_fault_of_the_page_quotes_no_text(models, caplog):
    def compute(model, text):
        raise RuntimeError(text)

    message, *rest = answer(models, "sentiment", compute, "private")
    assert "The page failed" in message and rest == [None, None]
    assert "RuntimeError" in caplog.text and "private" not in caplog.text

import io
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from layers.text import END, START
from pipelines.captioning.decoder import image_decoder
from pipelines.captioning.export import export
from pipelines.captioning.model import CaptioningModel, Trained, load_trained
from pipelines.common.errors import UserError
from pipelines.common.options import Export
from pipelines.common.runs import Run
from tests.pipelines.captioning.conftest import draw_image

ALONE = """
import json, pathlib, sys
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
images = tf.constant([pathlib.Path(path).read_bytes() for path in sys.argv[2:]])
number = lambda value, kind: tf.constant(value, kind)
found = [loaded.signatures["serving_default"](image=images), loaded.signatures["serving_default"](image=images[:1])]
for size in (1, 4):
    found.append(loaded.signatures["beam"](
        image=images, prefix=tf.constant([""]), beam_size=number(size, tf.int32),
        length_penalty=number(0.0, tf.float32), min_length=number(0, tf.int32), max_length=number(12, tf.int32)))
ours = sorted(name for name in sys.modules if name.split(".")[0] in ("layers", "pipelines"))
assert not ours, ours
print(json.dumps([{k: v.numpy().tolist() for k, v in one.items()} for one in found], default=bytes.decode))
"""


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def of_every_kind() -> dict[str, bytes]:
    image = draw_image("red", 3)
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) << 8)
    large = draw_image("red", 3, 4000).crop((0, 0, 4000, 3000))
    return {
        "rgb.jpg": encoded(image, "JPEG"),
        "grey.jpg": encoded(image.convert("L"), "JPEG"),
        "cmyk.jpg": encoded(image.convert("CMYK"), "JPEG"),
        "turned.jpg": encoded(image, "JPEG", exif=turned),
        "rgba.png": encoded(image.convert("RGBA"), "PNG"),
        "deep.png": encoded(deep, "PNG"),
        "one.png": encoded(image.resize((1, 1)), "PNG"),
        "large.jpg": encoded(large, "JPEG"),
        "broken.jpg": encoded(image, "JPEG")[:300],
        "text.jpg": b"this is no image",
        "empty.png": b"",
        "bomb.png": encoded(Image.new("1", (11_000, 11_000)), "PNG"),
        "rgb.png": encoded(image, "PNG"),
    }


BAD = ("broken.jpg", "text.jpg", "empty.png", "bomb.png")


@pytest.fixture(scope="module")
def trained(shared):
    return load_trained(Run.open(shared.run, "captioning"))


@pytest.fixture(scope="module")
def loaded(shared):
    return tf.saved_model.load(str(shared.run / "export"))


@pytest.fixture(scope="module")
def some(shared):
    return [shared.image(number).read_bytes() for number in range(3)]


def search(loaded, images, prefix=("",), beam_size=4, length_penalty=0.0, min_length=0, max_length=12) -> dict:
    return loaded.signatures["beam"](
        image=tf.constant(images), prefix=tf.constant(list(prefix)), beam_size=tf.constant(beam_size),
        length_penalty=tf.constant(length_penalty), min_length=tf.constant(min_length),
        max_length=tf.constant(max_length),
    )  # fmt: skip


def sample(loaded, images, prefix="", temperature=1.0, top_k=0, top_p=1.0, seed=0) -> list[str]:
    found = loaded.signatures["sample"](
        image=tf.constant(images), prefix=tf.constant([prefix]), temperature=tf.constant(temperature),
        top_k=tf.constant(top_k), top_p=tf.constant(top_p), seed=tf.constant(seed), max_length=tf.constant(12),
    )  # fmt: skip
    return strings(found["caption"])


def strings(tensor) -> list[str]:
    return [text.decode() for text in tensor.numpy().ravel()]


@pytest.mark.extra
def test_the_same_answers_in_a_process_of_tensorflow_alone(shared, trained, tmp_path):
    """Images of every kind, and bad ones among them: those have no caption and the score -inf, the others are right."""
    contents = of_every_kind()
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (shared.run / "export").rename(tmp_path / "moved")
    try:
        answer = subprocess.run(
            [sys.executable, "-c", ALONE, tmp_path / "moved", *contents], capture_output=True, text=True, cwd=tmp_path,
            timeout=300,
        )  # fmt: skip
    finally:
        (tmp_path / "moved").rename(shared.run / "export")
    assert answer.returncode == 0, answer.stderr
    default, one, greedy, beam = json.loads(answer.stdout)
    decoder, images = image_decoder([trained]), tf.constant(list(contents.values()))
    _, valid = decoder.initial_states(images)
    assert [name for name, good in zip(contents, valid.numpy(), strict=True) if not good] == list(BAD)
    expected = decoder.beam(images, beam_size=1, length_penalty=0.0, max_length=12)
    assert greedy["caption"] == strings(expected["caption"])
    np.testing.assert_allclose(greedy["score"], expected["score"], atol=1e-5)
    for found, beam_size, penalty in ((default, trained.config.search.beam_size, 0.7), (beam, 4, 0.0)):
        expected = decoder.beam(images, beam_size=beam_size, length_penalty=penalty, max_length=12)
        assert found["caption"] == strings(expected["caption"])
        np.testing.assert_allclose(found["score"], expected["score"], atol=1e-5)
        assert np.shape(found["candidates"]) == (len(contents), beam_size)
    for number, name in enumerate(contents):
        assert (default["score"][number] == float("-inf")) == (name in BAD)
        assert name not in BAD or not any(default["candidates"][number])
    assert one["caption"] == default["caption"][:1]
    places = list(contents)
    assert default["score"][places.index("rgba.png")] == pytest.approx(default["score"][places.index("rgb.png")])


def test_nothing_but_bad_images_and_no_image_at_all(loaded):
    found = loaded.signatures["serving_default"](image=tf.constant([b"no", b""]))
    assert strings(found["caption"]) == ["", ""] and np.isneginf(found["score"]).all()
    found = loaded.signatures["serving_default"](image=tf.constant([], tf.string))
    assert found["caption"].shape == [0]


def test_a_prefix_is_kept_and_the_rest_is_the_models(loaded, some):
    each = strings(search(loaded, some, prefix=["A red", "on the left", "there is"])["caption"])
    assert [text.startswith(start) for text, start in zip(each, ["a red", "on the left", "there"], strict=True)] == [
        True
    ] * 3
    assert all(sample(loaded, some[:1], "a blue", seed=seed)[0].startswith("a blue") for seed in (1, 2))


def test_candidates_come_best_first_with_their_scores(loaded, trained, some):
    """Each score is what the model gives the words of the caption, when it is forced to say them."""
    found = search(loaded, some[:1], beam_size=3)
    candidates = strings(found["candidates"])
    assert len(set(candidates)) == 3 and candidates[0] == strings(found["caption"])[0]
    pixels, _ = trained.preprocessing.pixels(tf.constant(some[:1]))
    scores = []
    for text in candidates:
        ids = trained.preprocessing.encode(tf.constant([text]))[0].flat_values.numpy().tolist()
        log_probability = tf.nn.log_softmax(trained.model((pixels, tf.constant([[START, *ids]]))))[0].numpy()
        scores.append(sum(log_probability[t, word] for t, word in enumerate([*ids, END])))
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(float(found["score"][0]), abs=1e-4)


def test_lengths_are_kept(loaded, some):
    for text in strings(search(loaded, some, min_length=7, max_length=9)["candidates"]):
        assert not text or 7 <= len(text.split()) <= 9
    assert len(strings(search(loaded, some, max_length=1)["caption"])[0].split()) <= 1


def test_draws_follow_seed_and_temperature(loaded, some):
    images = some[:1] * 8
    assert sample(loaded, images, seed=1) == sample(loaded, images, seed=1)
    assert len(set(sample(loaded, images, seed=1, temperature=3.0))) > 1
    greedy = strings(search(loaded, images, beam_size=1)["caption"])
    for options in ({"top_k": 1}, {"temperature": 1e-4}, {"top_p": 1e-6}):
        assert sample(loaded, images, seed=5, **options) == greedy


@pytest.mark.extra
def test_a_model_with_attention_gives_the_same_answers_and_explains_them(attending, shared, some):
    """`explain`: the words of a caption, and what the model gives them and where it looks when it is forced to them."""
    trained = load_trained(Run.open(attending, "captioning"))
    loaded = tf.saved_model.load(str(attending / "export"))
    found, expected = (
        search(loaded, some),
        image_decoder([trained]).beam(tf.constant(some), beam_size=4, length_penalty=0.0, max_length=12),
    )
    assert strings(found["candidates"]) == strings(expected["candidates"])
    np.testing.assert_allclose(found["score"], expected["score"], atol=1e-4)
    captions = tf.constant(["A red square on the left.", "there", ""])
    explained = {
        name: value.numpy()
        for name, value in loaded.signatures["explain"](image=tf.constant(some), caption=captions).items()
    }
    tokens = [[token.decode() for token in row] for row in explained["tokens"]]
    assert tokens[:2] == [["▁a", "▁red", "▁square", "▁on", "▁the", "▁left"], ["▁there", "", "", "", "", ""]]
    assert explained["attention"].shape == (3, 6, 4, 4)
    pixels, _ = trained.preprocessing.pixels(tf.constant(some[:1]))
    ids = trained.preprocessing.encode(captions[:1])[0].to_tensor().numpy()
    inputs = np.concatenate([[[START]], ids[:, :-1]], axis=1).astype(np.int32)
    state = trained.model.initial_state(trained.model.encode_images(pixels))
    alignment = trained.model.decode(inputs, state)[1].alignment
    np.testing.assert_allclose(explained["attention"][0].reshape(6, 16), alignment[0], atol=1e-5)
    probability = tf.nn.softmax(trained.model((pixels, inputs)))[0].numpy()
    np.testing.assert_allclose(explained["probability"][0], probability[range(6), ids[0]], atol=1e-5)
    for name in ("attention", "probability"):
        assert not explained[name][1, 1:].any() and not explained[name][2].any() and explained[name][1, 0].any()
    assert bool(loaded.signatures["defaults"]()["crop"])
    nothing = loaded.signatures["explain"](image=tf.constant([b"no"]), caption=tf.constant([""]))
    assert nothing["attention"].shape == (1, 1, 4, 4) and not nothing["attention"].numpy().any()


def test_an_ensemble_averages_probabilities(trained, some):
    """Of three runs, one of which sees smaller images: the score of a forced caption is the mean of what the members
    give its words."""
    members = [trained]
    for seed, image in ((7, "attend"), (8, "merge")):
        other = CaptioningModel.from_config({**trained.model.get_config(), "seed": seed, "image": image})
        other((tf.zeros([1, 32, 32, 3]), tf.ones([1, 2], tf.int32)))
        members.append(Trained(trained.config, trained.preprocessing, other))
    options = {"prefix": tf.constant(["a red"]), "beam_size": 1, "min_length": 2, "max_length": 2}
    found = image_decoder(members).beam(tf.constant(some[:1]), length_penalty=0.0, **options)
    pixels, _ = trained.preprocessing.pixels(tf.constant(some[:1]))
    words = trained.preprocessing.encode(tf.constant(["a red"]))[0].flat_values.numpy().tolist()
    inputs = tf.constant([[START, *words]])
    mean = np.mean([tf.nn.softmax(member.model((pixels, inputs)))[0].numpy() for member in members], axis=0)
    expected = sum(np.log(mean[t, word]) for t, word in enumerate([*words, END]))
    assert strings(found["caption"]) == ["a red"]
    assert float(found["score"][0]) == pytest.approx(expected, abs=1e-4)


def test_runs_that_write_other_words_are_no_ensemble(shared, tmp_path):
    import shutil

    shutil.copytree(shared.run, tmp_path / "run")
    path = tmp_path / "run" / "vocabulary.txt"
    words = path.read_text().split("\n")
    words[4], words[5] = words[5], words[4]
    path.write_text("\n".join(words))
    with pytest.raises(UserError, match="cannot be averaged: their vocabularies differ"):
        export(Export((shared.run, tmp_path / "run"), tmp_path / "export"))
    assert not (tmp_path / "export").exists()
    with pytest.raises(UserError, match="does not exist"):
        export(Export((tmp_path / "none",)))


@pytest.mark.extra
def test_a_run_may_be_averaged_with_itself(shared, tmp_path):
    assert export(Export((shared.run, shared.run), tmp_path / "twice")) == tmp_path / "twice"

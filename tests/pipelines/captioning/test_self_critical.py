import csv

import numpy as np
import pytest
import tensorflow as tf

from layers import decoding
from layers.text import END, PADDING, START, UNKNOWN
from pipelines.captioning import self_critical
from pipelines.captioning.model import CaptioningModel, load_trained
from pipelines.captioning.scores import CiderD, cider_d, words_of
from pipelines.common.runs import Run

SAMPLES, LONGEST = 3, 6
REFERENCES = [["a red square on the left", "on the left there is a red square"], ["a blue square on the right"]]


@pytest.fixture(scope="module")
def trained(shared):
    return load_trained(Run.open(shared.run, "captioning"))


def test_the_score_of_an_image_is_that_of_all_together():
    captions = [words_of("a red square"), words_of("a blue square on the right")]
    references = [[words_of(text) for text in each] for each in REFERENCES]
    score = CiderD(references)
    assert [score(words, image) for image, words in enumerate(captions)] == cider_d(captions, references)
    assert score(captions[1], 1) == pytest.approx(10)
    assert score(captions[1], 0) < score(captions[0], 0)


def test_the_reward_of_a_whole_caption_is_higher(trained):
    reward = self_critical.Reward(REFERENCES, trained.preprocessing)
    texts = ["a red square on the left", "a red square on the left", "a red square on the", "there there"]
    ids = trained.preprocessing.encode(tf.constant(texts))[0].to_tensor()
    found = reward(tf.zeros([4], tf.int64), ids, tf.constant([True, False, True, True])).numpy()
    assert found.dtype == np.float32
    assert found[0] > found[1] > 0
    assert found[0] > found[2] > found[3]
    everything = [[[*words_of(text), "</s>"] for text in each] for each in REFERENCES]
    assert found[0] == pytest.approx(CiderD(everything)(everything[0][0], 0))


@pytest.mark.parametrize("image", ["first", "attend"])
def test_the_gradient_is_that_of_the_equation(shared, trained, image):
    """Compared with a model that sees one caption at a time, and the same random captions."""
    model = CaptioningModel.from_config({**trained.model.get_config(), "image": image, "dropout": 0.0})
    pixels = np.stack([tf.io.decode_png(shared.image(n).read_bytes(), channels=3).numpy() for n in range(2)])
    model((pixels, np.ones([2, 2], np.int32)))  # creates the weights
    features = model.encode_images(pixels)
    reward = self_critical.Reward(REFERENCES, trained.preprocessing)
    loss = self_critical.make_loss(
        model, reward, samples=SAMPLES, max_length=LONGEST, encode=lambda images, training: images
    )
    real = tf.constant([[1.0, 1.0], [1.0, 0.0]])
    batch = {"image": features, "rows": tf.constant([0, 1], tf.int64), "real": real}
    seed = model.sampling.state.numpy()
    weights = [weight.value for weight in model.trainable_variables if "encoder" not in weight.path]
    with tf.GradientTape() as tape:
        sums = loss(batch, True)
        total = sums["loss"][0]
    assert float(sums["loss"][1]) == float(sums["reward"][1]) == 2 * SAMPLES
    gradients = tape.gradient(total, weights, unconnected_gradients="zero")

    model.sampling.state.assign(seed)
    high, low = (int(number) for number in model.sampling.next())
    with tf.GradientTape() as tape:
        state = model.initial_state(features, True)
        repeated = tf.nest.map_structure(lambda rows: tf.repeat(rows, SAMPLES, axis=0), state)
        drawn = decoding.sample(
            model.step, repeated, start=START, end=END, max_length=LONGEST, forbidden=(PADDING, UNKNOWN, START),
            seed=np.int64(np.uint64((high << 32) ^ low)),
        )  # fmt: skip
        expected = 0.0
        for picture in range(2):
            rows = range(picture * SAMPLES, (picture + 1) * SAMPLES)
            words = [drawn.ids[row, 0, : drawn.lengths[row, 0]].numpy() for row in rows]
            complete = [len(each) < LONGEST for each in words]
            scores = [
                float(reward(tf.constant([picture], tf.int64), each[None], tf.constant([over]))[0])
                for each, over in zip(words, complete, strict=True)
            ]
            for number, row in enumerate(rows):
                others = [score for other, score in enumerate(scores) if other != number]
                advantage = scores[number] - sum(others) / len(others)
                inputs = np.array([[START, *words[number]]], np.int32)
                one = tf.nest.map_structure(lambda rows, row=row: rows[row : row + 1], repeated)
                outputs, _ = model.decode(inputs, one, True)
                log_probability = tf.nn.log_softmax(model.softmax(outputs))[0]
                targets = [*words[number], END] if complete[number] else list(words[number])
                expected -= advantage * tf.add_n([log_probability[t, word] for t, word in enumerate(targets)])
    assert float(total) == pytest.approx(float(expected), rel=1e-3, abs=1e-4)
    for found, wanted in zip(gradients, tape.gradient(expected, weights, unconnected_gradients="zero"), strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(found), tf.convert_to_tensor(wanted), atol=2e-3)


@pytest.mark.extra
def test_fine_tuning_raises_the_score(shared, command, tmp_path):
    run, before = tmp_path / "run", Run.open(shared.run, "captioning").summary["scores"]["val_cider"]
    options = ["--reward", "cider", "--epochs", "12", "--learning-rate", "0.01", "--finetune-cnn-after", "None"]
    arguments = ["--from", shared.run, "--data", shared.data, "--run", run, "--cache", shared.cache, *options]
    assert command("fine-tune", *arguments) == 0
    with open(run / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["reward"]) > 1.2 * float(rows[0]["reward"])
    assert Run.open(run, "captioning").summary["scores"]["val_cider"] > before


def test_what_has_no_effect_on_the_reward_is_refused(shared, command, capsys):
    arguments = ["fine-tune", "--from", shared.run, "--data", shared.data, "--reward", "cider"]
    assert command(*arguments, "--label-smoothing", "0.1") == 2
    assert "--label-smoothing is 0.1, but has no effect with --reward" in capsys.readouterr().err
    assert command(*arguments, "--xla") == 2
    assert "--reward cannot be combined with --xla" in capsys.readouterr().err

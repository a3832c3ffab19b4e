import csv
import json

import numpy as np
import pytest
import tensorflow as tf

from layers.text import END, START, UNKNOWN
from pipelines.captioning import batches, dataset
from pipelines.captioning.config import Config
from pipelines.captioning.model import CaptioningModel, load_trained
from pipelines.captioning.train import make_loss
from pipelines.common.config import from_json, replace
from pipelines.common.runs import Run


@pytest.fixture(scope="module")
def trained(shared):
    return load_trained(Run.open(shared.run, "captioning"))


def history(run) -> list[dict]:
    with open(run / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def pixels_of(shared, number: int = 3) -> np.ndarray:
    rows = [tf.io.decode_png(shared.image(n).read_bytes(), channels=3).numpy() for n in range(number)]
    return np.stack(rows)


def test_a_run_explains_itself(shared):
    stored = json.loads((shared.run / "config.json").read_text())
    assert (stored["task"], stored["preset"]) == ("captioning", "sample")
    assert from_json(Config, stored["config"]).model.units == 8
    words = (shared.run / "vocabulary.txt").read_text().split("\n")
    assert words[:4] == ["<pad>", "<unk>", "<s>", "</s>"] and "▁square" in words
    rows = history(shared.run)
    assert {"loss", "nll", "val_loss", "val_perplexity", "val_bleu4", "val_cider", "val_exact_match"} <= rows[0].keys()
    assert float(rows[1]["val_loss"]) < float(rows[0]["val_loss"])
    assert (shared.run / "curves.png").stat().st_size > 1000
    assert (shared.run / "left_out.tsv").read_text() == "image\treason\n"


def test_a_finished_run_is_reported(shared, command, tiny, capsys):
    arguments = ["train", "sample", "--data", shared.data, "--run", shared.run, *tiny]
    assert command(*arguments) == 0
    assert "finished, validation CIDEr" in capsys.readouterr().out
    assert command(*arguments, "--units", "6") == 2
    assert "units was 8 and is now 6" in capsys.readouterr().err


@pytest.mark.parametrize("seen", [False, True])
def test_the_loss_is_that_of_the_equations(shared, trained, seen):
    """With pixels and with features; a caption that only fills the batch does not count."""
    pixels = pixels_of(shared)
    texts = tf.constant(["a red square on the left", "on the right", "a red"])
    ids = trained.preprocessing.encode(texts)[0].to_tensor()
    target = tf.stack([ids, tf.reverse(ids, [0])], axis=1)
    real = np.array([[1, 1], [1, 0], [1, 0]], np.float32)
    image = trained.model.encode_images(pixels) if seen else tf.constant(pixels)
    batch = {"image": image, "target": target, "real": tf.constant(real)}
    total, weight = make_loss(trained.model, trained.config)(batch, False)["loss"]
    expected, count = 0.0, 0
    for row, caption in zip(*np.nonzero(real), strict=True):
        words = target[row, caption].numpy()
        words = [*words[words != 0], END]
        logits = trained.model((pixels[row : row + 1], np.array([[START, *words[:-1]]], np.int32)))
        log_probability = tf.nn.log_softmax(logits)[0].numpy()
        expected -= sum(log_probability[t, word] for t, word in enumerate(words))
        count += len(words)
    assert float(weight) == count == (6 + 1) + (2 + 1) + (3 + 1) + (2 + 1)
    assert float(total) == pytest.approx(expected, rel=1e-4)
    smoothed = make_loss(trained.model, replace(Config(), label_smoothing=0.2))(batch, False)
    assert float(smoothed["nll"][0]) == pytest.approx(expected, rel=1e-4)
    assert float(smoothed["loss"][0]) > expected


def test_the_penalty_is_equation_14_of_the_real_words(shared, trained):
    """(1 - the sum over words)^2, summed over positions and captions, but not of padding or captions that only fill."""
    model = CaptioningModel.from_config({**trained.model.get_config(), "image": "attend"})
    model((pixels_of(shared, 2), np.ones([2, 2], np.int32)))  # creates the weights
    maps = model.encode_images(pixels_of(shared, 2))
    target = np.array([[[5, 6, 7], [8, 0, 0]], [[9, 4, 0], [7, 7, 7]]], np.int32)
    real = np.array([[1, 1], [1, 0]], np.float32)
    batch = {"image": maps, "target": tf.constant(target), "real": tf.constant(real)}
    config = replace(trained.config, image="attend")
    (without, words), (penalized, _) = (
        make_loss(model, replace(config, attention_penalty=penalty))(batch, False)["loss"] for penalty in (0.0, 0.3)
    )
    expected = 0.0
    for row, caption in zip(*np.nonzero(real), strict=True):
        inputs = [START, *(word for word in target[row, caption] if word)]
        alpha = model.decode(np.array([inputs], np.int32), model.initial_state(maps[row : row + 1]))[1].alignment[0]
        expected += float(np.square(1 - alpha.numpy().sum(axis=0)).sum())
    assert float(words) == 4 + 2 + 3
    assert float(penalized - without) == pytest.approx(0.3 * expected, rel=1e-3)


OPTIONS = """
--image attend --finetune-cnn-after None --attention general --attention-penalty 0.1 --attention-gate --ema 0.9
--image attend --finetune-cnn-after 1 --epochs 2 --attention-input --layers 2 --augment 0.1 --precision mixed_bfloat16
--image attend --encoder peaks --attention dot --cell rnn --no-tied --xla
--image state --encoder peaks --cell rnn --layers 2 --no-tied --finetune-cnn-after None --xla --monitor bleu4
--image merge --precision mixed_bfloat16 --finetune-cnn-after 1 --epochs 2 \
    --ema 0.9 --accumulate 2 --augment 0.1 --monitor perplexity
--image first --layers 2 --fit crop --image-size 24 --label-smoothing 0.1 --xla --monitor cider
"""


@pytest.mark.extra
@pytest.mark.parametrize("options", OPTIONS.strip().splitlines())
def test_every_option_trains_and_captions(shared, command, tiny, tmp_path, options):
    arguments = ["--data", shared.data, "--run", tmp_path / "run", *tiny, "--epochs", "1", *options.split()]
    assert command("train", "sample", *arguments) == 0
    assert command("evaluate", "--run", tmp_path / "run", "--beam-size", "2") == 0
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["perplexity"] > 1


@pytest.mark.extra
def test_the_cnn_is_frozen_and_then_trained_at_its_own_rate(shared, command, tiny, tmp_path):
    """Two runs differ only in this epoch: a frozen CNN keeps its weights, a trained one changes them a little."""
    from pipelines.common.vision.encoders import build_encoder, digest

    start = tmp_path / "cnn.weights.h5"
    encoder = build_encoder("small", weights="none", image_size=32)
    encoder.save_weights(start)
    found = {}
    for name, after in (("frozen", "None"), ("tuned", "1")):
        run = tmp_path / name
        options = ["--weights", start, "--finetune-cnn-after", after, "--cnn-learning-rate", "1e-4", "--epochs", "2"]
        options += ["--batch-images", "4", "--schedule", "constant"]  # a falling rate would depend on all steps
        options += ["--monitor", "perplexity"]  # the weights that are kept are to be those of the second epoch
        assert command("train", "sample", "--data", shared.data, "--run", run, *tiny, *options) == 0
        found[name] = load_trained(Run.open(run, "captioning")).model
    first, second = history(tmp_path / "frozen"), history(tmp_path / "tuned")
    assert {k: v for k, v in first[0].items() if k not in ("seconds", "learning_rate")}.items() <= second[0].items()
    assert int(second[0]["step"]) != int(second[1]["step"]) - int(second[0]["step"])  # batches of images, not captions
    assert digest(found["frozen"].encoder) == digest(encoder)
    moved = [
        np.abs(a - b).max() for a, b in zip(found["tuned"].encoder.get_weights(), encoder.get_weights(), strict=True)
    ]
    assert 0 < max(moved) < 2e-3  # ten updates of Adam at 1e-4


@pytest.mark.extra
def test_a_frozen_cnn_encodes_augmented_images_and_does_not_change(shared, command, tiny, tmp_path):
    from pipelines.common.vision.encoders import build_encoder, digest

    start = tmp_path / "cnn.weights.h5"
    encoder = build_encoder("peaks", weights="none", image_size=32)  # with batch normalization
    encoder.save_weights(start)
    options = ["--encoder", "peaks", "--weights", start, "--finetune-cnn-after", "None", "--augment", "0.1"]
    run = tmp_path / "run"
    assert command("train", "sample", "--data", shared.data, "--run", run, *tiny, *options, "--epochs", "1") == 0
    assert digest(load_trained(Run.open(run, "captioning")).model.encoder) == digest(encoder)


@pytest.mark.extra
def test_only_the_later_layers_of_the_cnn_are_trained(shared, command, tiny, tmp_path):
    from pipelines.common.vision.encoders import build_encoder

    start = tmp_path / "cnn.weights.h5"
    encoder = build_encoder("small", weights="none", image_size=32)
    encoder.save_weights(start)
    options = ["--weights", start, "--finetune-cnn-from", "narrow", "--epochs", "1"]
    assert command("train", "sample", "--data", shared.data, "--run", tmp_path / "run", *tiny, *options) == 0
    model = load_trained(Run.open(tmp_path / "run", "captioning")).model
    for name, stays in (("conv_1", True), ("conv_3", True), ("narrow", False), ("projection", False)):
        before, after = (each.get_layer(name).get_weights()[0] for each in (encoder, model.encoder))
        assert (before == after).all() == stays, name


@pytest.mark.extra
def test_cached_features_are_used_by_the_next_run(shared, command, tiny, tmp_path, capsys):
    options = ["--data", shared.data, *tiny, "--epochs", "1", "--finetune-cnn-after", "None", "--cache", tmp_path / "c"]
    for number, computed in ((1, True), (2, False)):
        assert command("train", "sample", "--run", tmp_path / str(number), *options) == 0
        assert ("computing the features of" in capsys.readouterr().err) == computed


@pytest.mark.extra
def test_the_initial_bias_of_the_softmax_is_the_word_frequencies(shared, command, tiny, tmp_path):
    run = tmp_path / "run"
    changes = ["--epochs", "1", "--learning-rate", "1e-12"]
    assert command("train", "sample", "--data", shared.data, "--run", run, *tiny, *changes) == 0
    begun = load_trained(Run.open(run, "captioning"))
    lines = (shared.data / "captions_train.tsv").read_text(encoding="utf-8").splitlines()
    ids = begun.preprocessing.encode(tf.constant([line.split("\t")[2] for line in lines]))[0].flat_values.numpy()
    counts = np.bincount([*ids, *[END] * len(lines)], minlength=len(begun.preprocessing.tokenizer.vocabulary)) + 1
    np.testing.assert_allclose(np.exp(begun.model.softmax.bias), counts / counts.sum(), rtol=1e-4)


def test_fine_tuning_extends_the_vocabulary(shared, trained, command, scenes, tmp_path):
    """Ids and captions stay the same with a learning rate near zero."""
    for part in ("train", "val"):
        names = scenes(tmp_path / "data", part, 8, seed=5)
        with open(tmp_path / "data" / f"captions_{part}.tsv", "a", encoding="utf-8") as file:
            file.write(f"{names[0]}\t2\tmy brandnew square\n")
    run = tmp_path / "tuned"
    rates = ["--learning-rate", "1e-12", "--cnn-learning-rate", "1e-12"]
    assert command("fine-tune", "--from", shared.run, "--data", tmp_path / "data", "--run", run, "--epochs", "1",
                   *rates) == 0  # fmt: skip
    tuned = load_trained(Run.open(run, "captioning"))
    old, new = (each.preprocessing.tokenizer.vocabulary.words for each in (trained, tuned))
    assert new[: len(old)] == old and set(new[len(old) :]) == {"▁my", "▁brandnew"}
    for mean_or_variance, of_base in zip(tuned.model.image_norm.non_trainable_variables,
                                         trained.model.image_norm.non_trainable_variables, strict=True):  # fmt: skip
        mean_or_variance.assign(of_base)  # they follow the new images, whatever the learning rate
    words = np.array([[START, 5, 6]] * 3, np.int32)
    before, after = (each.model((pixels_of(shared), words)).numpy() for each in (trained, tuned))
    np.testing.assert_allclose(after[:, :, : len(old)], before, atol=1e-4)
    assert (after[:, :, len(old) :] <= before[:, :, UNKNOWN : UNKNOWN + 1] + 1e-4).all()
    config = from_json(Config, json.loads((run / "config.json").read_text())["config"])
    assert (config.base, config.model.units, config.model.encoder) == (shared.run, 8, "small")


def test_images_that_do_not_fit_into_memory_are_decoded_as_they_are_used(shared, trained, monkeypatch):
    monkeypatch.setattr(dataset, "MAX_BYTES", 1000)
    config = trained.config
    captioned = dataset.load_part(config.data, "validation")
    found = dataset.with_pixels(captioned, trained.preprocessing, config)
    assert found.pixels is None and len(found) == 12
    captions = dataset.encode(captioned, trained.preprocessing)
    options = {"batch_images": 5, "seed": 2, "augment": 0.1, "distort": 0.5}
    whole = list(batches.image_batches(captions, found, trained.preprocessing, **options))
    assert [len(batch["image"]) for batch in whole] == [5, 5, 2]
    for worker in range(3):  # each reads the images of its rows, and the first one
        parts = batches.image_batches(captions, found, trained.preprocessing, **options, part=(worker, 3))
        for batch, part in zip(whole, parts, strict=True):
            rows = len(batch["image"])
            read = sorted({0, *range(rows * worker // 3, rows * (worker + 1) // 3)})
            expected = np.zeros_like(batch["image"])
            expected[read] = batch["image"].numpy()[read]
            np.testing.assert_array_equal(part["image"], expected)
            for name in ("target", "real", "rows"):
                np.testing.assert_array_equal(part[name], batch[name])

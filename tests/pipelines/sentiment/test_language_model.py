import numpy as np
import pytest
import tensorflow as tf

from layers.text import GENERATION, Vocabulary
from pipelines.sentiment.language_model import LanguageModel, make_language_model
from pipelines.sentiment.pretrain import make_loss
from pipelines.sentiment.pretraining_config import PRESETS, PretrainingConfig


def made(**changes) -> LanguageModel:
    options = {
        "vocabulary_size": 11, "cell": "lstm", "units": 5, "layers": 2, "bidirectional": True, "embedding_units": 3,
        "tied": True, "embedding_dropout": 0.0, "dropout": 0.0, "seed": 1, **changes,
    }  # fmt: skip
    model = LanguageModel(**options)
    model(dict.fromkeys(model.directions, tf.ones([1, 2], tf.int32)))
    return model


IDS = tf.constant(np.random.default_rng(0).integers(1, 11, (3, 7)), tf.int32)


@pytest.mark.parametrize("changes", [{}, {"cell": "rnn"}, {"tied": False, "layers": 1}, {"embedding_units": 5}])
def test_both_drivers_say_the_same(changes):
    model = made(**changes)
    read, behind = model.read({"forward": IDS, "backward": IDS}, model.initial_state(3))
    state, logits = model.initial_state(3)["forward"], []
    for column in tf.unstack(IDS, axis=1):
        found, state = model.step(column, state)
        logits.append(found)
    expected = tf.matmul(read["forward"], model.softmax.kernel, transpose_b=True) + model.softmax.bias
    np.testing.assert_allclose(tf.stack(logits, axis=1), expected, atol=1e-5)
    for found, given in zip(tf.nest.flatten(state), tf.nest.flatten(behind["forward"]), strict=True):
        np.testing.assert_allclose(found, given, atol=1e-5)
    assert not np.allclose(read["forward"], read["backward"])  # other layers, though the words are the same


def test_windows_with_the_state_carried_on_are_the_whole():
    model = made()
    words = {"forward": IDS, "backward": IDS[:, ::-1]}
    whole, _ = model.read(words, model.initial_state(3))
    first, state = model.read({name: ids[:, :4] for name, ids in words.items()}, model.initial_state(3))
    second, _ = model.read({name: ids[:, 4:] for name, ids in words.items()}, state)
    for direction in words:
        np.testing.assert_allclose(tf.concat([first[direction], second[direction]], 1), whole[direction], atol=1e-6)


def test_a_tied_softmax_has_no_weights_of_its_own():
    names = {weight.path.split("/")[-1] for weight in made().weights}
    assert "softmax_kernel" not in names
    assert "softmax_kernel" in {weight.path.split("/")[-1] for weight in made(tied=False).weights}
    assert len(made(tied=False, bidirectional=False).directions) == 1


@pytest.mark.parametrize("softmax", ["full", "sampled"])
@pytest.mark.parametrize("state", ["carried", "reset"])
def test_the_loss_is_that_of_all_words_in_both_directions(softmax, state):
    """As many samples as words: the estimate is exact."""
    model = made()
    config = PretrainingConfig(softmax=softmax, softmax_samples=11, state=state)
    read, _ = model.read({"forward": IDS, "backward": IDS[:, ::-1]}, model.initial_state(3))
    targets = {"forward": tf.roll(IDS, 1, 1), "backward": tf.roll(IDS, 2, 1)}
    weights = np.float32(np.arange(21).reshape(3, 7) % 3 > 0)
    total, words = make_loss(model, config)(read, targets, tf.constant(weights))["loss"]
    expected = 0.0
    for direction in model.directions:
        logits = read[direction].numpy() @ model.softmax.kernel.numpy().T + model.softmax.bias.numpy()
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        expected -= (np.take_along_axis(log_p, targets[direction].numpy()[..., None], -1)[..., 0] * weights).sum()
    assert float(words) == 2 * weights.sum()
    assert float(total) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_build(preset):
    model = make_language_model(PRESETS[preset][1], Vocabulary([*GENERATION, "good"]))
    assert model.softmax.kernel.shape == (5, PRESETS[preset][1].embedding_units)

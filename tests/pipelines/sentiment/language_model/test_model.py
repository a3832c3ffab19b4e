import numpy as np
import pytest
import tensorflow as tf

from layers.text import GENERATION, Vocabulary
from pipelines.sentiment.language_model.model import LanguageModel, make_model
from pipelines.sentiment.language_model.presets import PRESETS


def make(**changes) -> LanguageModel:
    options = {
        "vocabulary_size": 11, "cell": "lstm", "units": 5, "layers": 2, "bidirectional": True, "embedding_units": 3,
        "tied": True, "embedding_dropout": 0.0, "dropout": 0.0, "seed": 1, **changes,
    }  # fmt: skip
    model = LanguageModel(**options)
    model(dict.fromkeys(model.directions, tf.ones([1, 2], tf.int32)))
    return model


IDS = tf.constant(np.random.default_rng(0).integers(1, 11, (3, 7)), tf.int32)


@pytest.mark.parametrize("changes", [{}, {"cell": "rnn"}, {"tied": False, "layers": 1}, {"embedding_units": 5}])
def test_steps_equal_the_outputs_of_a_window(changes):
    model = make(**changes)
    outputs, new_state = model.outputs({"forward": IDS, "backward": IDS}, model.initial_state(3))
    state, logits = model.initial_state(3)["forward"], []
    for column in tf.unstack(IDS, axis=1):
        step_logits, state = model.step(column, state)
        logits.append(step_logits)
    expected = tf.matmul(outputs["forward"], model.softmax.kernel, transpose_b=True) + model.softmax.bias
    np.testing.assert_allclose(tf.stack(logits, axis=1), expected, atol=1e-5)
    for found, given in zip(tf.nest.flatten(state), tf.nest.flatten(new_state["forward"]), strict=True):
        np.testing.assert_allclose(found, given, atol=1e-5)
    assert not np.allclose(outputs["forward"], outputs["backward"])  # different layers, the same words


def test_windows_with_a_carried_state_equal_the_whole():
    model = make()
    words = {"forward": IDS, "backward": IDS[:, ::-1]}
    whole, _ = model.outputs(words, model.initial_state(3))
    first, state = model.outputs({name: ids[:, :4] for name, ids in words.items()}, model.initial_state(3))
    second, _ = model.outputs({name: ids[:, 4:] for name, ids in words.items()}, state)
    for direction in words:
        np.testing.assert_allclose(tf.concat([first[direction], second[direction]], 1), whole[direction], atol=1e-6)


def test_a_tied_softmax_has_no_weights_of_its_own():
    names = {weight.path.split("/")[-1] for weight in make().weights}
    assert "softmax_kernel" not in names
    assert "softmax_kernel" in {weight.path.split("/")[-1] for weight in make(tied=False).weights}
    assert len(make(tied=False, bidirectional=False).directions) == 1


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_build(preset):
    model = make_model(PRESETS[preset][1], Vocabulary([*GENERATION, "good"]))
    assert model.softmax.kernel.shape == (5, PRESETS[preset][1].model.embedding_units)

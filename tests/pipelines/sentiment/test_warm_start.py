import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from layers.text import GENERATION, RESERVED, Vocabulary
from pipelines.common.config import replace
from pipelines.common.data.loading import load_vocabulary
from pipelines.common.runs import Run
from pipelines.common.training.options import TrainingOptions
from pipelines.sentiment import warm_start
from pipelines.sentiment.config import Config, TransferConfig
from pipelines.sentiment.language_model import config as language_model_config
from pipelines.sentiment.language_model import model as language_model
from pipelines.sentiment.model import build_model, load_trained, recurrent_layers
from pipelines.sentiment.preprocessing import Preprocessing

WORDS = Vocabulary([*GENERATION, "good", "film", "bad"])


def make_learned(**changes) -> language_model.Trained:
    config = replace(language_model_config.Config(), units=4, embedding_units=3, bidirectional=True, **changes)
    model = language_model.make_model(config, WORDS)
    draw = np.random.default_rng(0)
    for weight in model.trainable_weights:  # biases too
        weight.assign(draw.normal(size=weight.shape))
    return language_model.Trained(config, Preprocessing(WORDS, **vars(config.text)), model)


def make_classifier(learned: language_model.Trained, vocabulary: Vocabulary, bidirectional=True):
    config = Config().starting_from(learned.config, None)
    config = replace(config, bidirectional=bidirectional, pooling=("last",))
    return build_model(
        vocabulary_size=len(vocabulary), classes=2, **vars(config.model), **vars(config.regularization), seed=2
    )


@pytest.mark.parametrize("cell", ["lstm", "rnn"])
def test_weights_are_copied_and_vectors_by_word(cell):
    learned = make_learned(cell=cell)
    vocabulary = Vocabulary([*RESERVED, "bad", "new", "good"])
    model = make_classifier(learned, vocabulary)
    warm_start.copy_weights(learned, model, vocabulary)
    (known,) = learned.model.embedding.get_weights()
    (vectors,) = model.get_layer("embedding").get_weights()
    np.testing.assert_array_equal(vectors, known[[0, 1, 6, 1, 4]])
    for layer in recurrent_layers(model)[0]:
        for own, source in zip(layer.get_weights(), learned.model.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(own, source)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_the_states_of_both_models_are_equal(bidirectional):
    """Of two layers. Neither direction of the classifier reads the padding after the text."""
    learned = make_learned(layers=2)
    model = make_classifier(learned, WORDS, bidirectional)
    warm_start.copy_weights(learned, model, WORDS)
    ids = tf.constant([[4, 5, 6, 1, 5]])
    words = {"forward": ids, "backward": ids[:, ::-1]}
    _, state = learned.model.outputs(words, learned.model.initial_state(1))
    expected = [state[direction][-1][0] for direction in learned.model.directions[: 1 + bidirectional]]
    review = model.get_layer("dropout").input
    if isinstance(review, list):
        (review,) = review
    found = tf.keras.Model(model.input, review)(tf.pad(ids, [[0, 0], [0, 3]]))
    np.testing.assert_allclose(found, tf.concat(expected, axis=-1), atol=1e-5)


def test_the_vocabulary_is_extended():
    own = Vocabulary([*RESERVED, "bad", "new", "newer"])
    assert warm_start.extend_vocabulary(WORDS, own, 8).words == [*WORDS.words, "new"]
    assert warm_start.extend_vocabulary(WORDS, own, 3).words == WORDS.words


def test_learning_rates_of_layers():
    learned = make_learned(layers=2)
    model = make_classifier(learned, WORDS)
    options = TrainingOptions(learning_rate=1e-3, epochs=9)
    assert warm_start.parameter_groups(TransferConfig(), options, model) == []
    groups = warm_start.parameter_groups(TransferConfig(layer_decay=0.5, unfreeze_every=2), options, model)
    assert [group.from_epoch for group in groups] == [2, 4, 6]
    assert [group.learning_rate for group in groups] == [rate * 1e-3 for rate in (0.5, 0.25, 0.125)]
    assert [len(group.weights) for group in groups] == [6, 6, 1]
    assert groups[0].weights[0] is recurrent_layers(model)[1][0].trainable_weights[0]
    assert groups[2].weights[0] is model.get_layer("embedding").trainable_weights[0]


@pytest.mark.parametrize(
    ("changes", "starts", "trainable"),
    [
        ({}, [3], True),
        ({"unfreeze_every": 2}, [2, 4, 6], True),
        ({"unfreeze_every": 1}, [1, 2, 3], True),
        ({"freeze_vectors": 9}, [], False),
        ({"freeze_vectors": 9, "layer_decay": 0.5}, [0, 0], False),
    ],
)
def test_frozen_vectors(changes, starts, trainable):
    learned = make_learned(layers=2)
    model = make_classifier(learned, WORDS)
    transfer = TransferConfig(vectors="some.vec", **{"freeze_vectors": 3, **changes})
    groups = warm_start.parameter_groups(transfer, TrainingOptions(epochs=9), model)
    assert [group.from_epoch for group in groups] == starts
    (embeddings,) = model.get_layer("embedding").weights
    assert any(weight is embeddings for group in groups for weight in group.weights) == trainable
    assert any(weight is embeddings for weight in model.trainable_variables) == trainable


@pytest.mark.parametrize(
    "options",
    [["--epochs", "1"], pytest.param(["--epochs", "4", "--unfreeze-every", "1"], marks=pytest.mark.extra)],
)
def test_a_classifier_from_a_language_model(shared, pretrained, tmp_path, command, tiny, capsys, options):
    """It has the architecture and the vocabulary of the language model without options for them; with very low learning
    rates its weights as well."""
    run = tmp_path / "run"
    tiny = [tiny[n] for n in range(len(tiny)) if not {"--units", "--embedding-units"} & {tiny[n], tiny[n - 1]}]
    arguments = ["train", "sample", "--data", shared.data, "--run", run, "--group-column", "film", *tiny]
    start = shutil.copytree(pretrained.run, tmp_path / "language model")
    arguments += ["--init-from", start, "--learning-rate", "0.05", "--layer-decay", "1e-7"]  # only the head moves
    arguments += options
    assert command(*arguments) == 0
    config = json.loads((run / "config.json").read_text())["config"]
    assert (config["model"]["units"], config["model"]["layers"], config["model"]["bidirectional"]) == (6, 2, True)
    trained = load_trained(Run.open(run, "sentiment"))
    words = load_vocabulary(pretrained.run / "vocabulary.txt").words
    assert trained.preprocessing.vocabulary.words[: len(words)] == words
    learned = language_model.load_trained(Run.open(pretrained.run, language_model_config.TASK)).model
    for directions in recurrent_layers(trained.model):
        for layer in directions:
            source = learned.get_layer(layer.name).get_weights()
            np.testing.assert_allclose(layer.get_weights()[1], source[1], atol=1e-5)
    shutil.rmtree(start)
    capsys.readouterr()
    assert command(*arguments) == 0
    assert "finished" in capsys.readouterr().out
    assert command("evaluate", "--run", run) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--units", "5"], "--units is 5, but the language model {run} has 6; expected the same"),
        (["--cell", "rnn"], "--cell is rnn, but the language model"),
        (["--layers", "1"], "--layers is 1"),
        (["--embedding-units", "5"], "--embedding-units is 5"),
        (["--no-lower-case"], "--lower-case is False"),
        (["--data", "{data}", "--split-seed", "7"], "--split-seed is 7, but 1 in the language model {run}, which has"),
    ],
)
def test_architectures_that_differ(pretrained, tmp_path, command, capsys, arguments, message):
    places = {"run": pretrained.run, "data": pretrained.data}
    given = [argument.format(**places) for argument in arguments]
    options = ["--group-column", "film", "--run", tmp_path / "run", "--init-from", pretrained.run]
    assert command("train", "sample", *options, *given) == 2
    assert message.format(**places) in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_bidirectional_classifier_needs_a_bidirectional_language_model():
    learned = language_model_config.Config()
    config = Config().starting_from(learned, "lm")
    assert not config.model.bidirectional
    warm_start.refuse_other_architecture(config, replace(learned, location="other"))
    with pytest.raises(Exception, match="the language model lm only reads forwards: give --no-bidirectional"):
        warm_start.refuse_other_architecture(replace(config, bidirectional=True), learned)

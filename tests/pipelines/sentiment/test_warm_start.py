import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from layers.text import GENERATION, RESERVED, Vocabulary
from pipelines.common.runs import Run
from pipelines.sentiment import warm_start
from pipelines.sentiment.config import Config
from pipelines.sentiment.language_model import TrainedLanguageModel, make_language_model
from pipelines.sentiment.model import build_model, load_trained, load_vocabulary, make_preprocessing, recurrent_layers
from pipelines.sentiment.pretraining_config import PretrainingConfig

WORDS = Vocabulary([*GENERATION, "good", "film", "bad"])


def made(**changes) -> TrainedLanguageModel:
    config = PretrainingConfig(**{"units": 4, "embedding_units": 3, "bidirectional": True, **changes})
    model = make_language_model(config, WORDS)
    draw = np.random.default_rng(0)
    for weight in model.trainable_weights:  # biases too
        weight.assign(draw.normal(size=weight.shape))
    return TrainedLanguageModel(config, make_preprocessing(config, WORDS), model)


def classifier(learned: TrainedLanguageModel, vocabulary: Vocabulary, bidirectional=True):
    config = learned.config
    return build_model(
        vocabulary_size=len(vocabulary), classes=2, cell=config.cell, units=config.units, layers=config.layers,
        bidirectional=bidirectional, pooling=("last",), embedding_units=config.embedding_units, embedding_dropout=0.0,
        word_dropout=0.0, recurrent_dropout=0.0, dropout=0.0, seed=2,
    )  # fmt: skip


@pytest.mark.parametrize("cell", ["lstm", "rnn"])
def test_weights_are_copied_and_vectors_by_word(cell):
    learned = made(cell=cell)
    vocabulary = Vocabulary([*RESERVED, "bad", "new", "good"])
    model = classifier(learned, vocabulary)
    warm_start.transplant(learned, model, vocabulary)
    (known,) = learned.model.embedding.get_weights()
    (vectors,) = model.get_layer("embedding").get_weights()
    np.testing.assert_array_equal(vectors, known[[0, 1, 6, 1, 4]])
    for layer in recurrent_layers(model)[0]:
        for own, source in zip(layer.get_weights(), learned.model.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(own, source)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_the_states_of_both_networks_are_the_same(bidirectional):
    """Two layers; padding behind the text is not read by either direction of the classifier."""
    learned = made(layers=2)
    model = classifier(learned, WORDS, bidirectional)
    warm_start.transplant(learned, model, WORDS)
    ids = tf.constant([[4, 5, 6, 1, 5]])
    words = {"forward": ids, "backward": ids[:, ::-1]}
    _, behind = learned.model.read(words, learned.model.initial_state(1))
    expected = [behind[direction][-1][0] for direction in learned.model.directions[: 1 + bidirectional]]
    review = model.get_layer("dropout").input
    if isinstance(review, list):
        (review,) = review
    found = tf.keras.Model(model.input, review)(tf.pad(ids, [[0, 0], [0, 3]]))
    np.testing.assert_allclose(found, tf.concat(expected, axis=-1), atol=1e-5)


def test_words_are_carried_over():
    own = Vocabulary([*RESERVED, "bad", "new", "newer"])
    assert warm_start.carry_over(WORDS, own, 8).words == [*WORDS.words, "new"]
    assert warm_start.carry_over(WORDS, own, 3).words == WORDS.words


def test_rates_of_layers():
    learned = made(layers=2)
    model = classifier(learned, WORDS)
    config = dataclasses.replace(Config(), layers=2)
    assert warm_start.parameter_groups(config, model) == []
    config = dataclasses.replace(config, layer_decay=0.5, unfreeze_every=2)
    groups = warm_start.parameter_groups(config, model)
    assert [group.from_epoch for group in groups] == [2, 4, 6]
    assert [group.learning_rate for group in groups] == [rate * 1e-3 for rate in (0.5, 0.25, 0.125)]
    assert [len(group.weights) for group in groups] == [6, 6, 1]
    assert groups[0].weights[0] is recurrent_layers(model)[1][0].trainable_weights[0]
    assert groups[2].weights[0] is model.get_layer("embedding").trainable_weights[0]


def test_a_classifier_from_a_language_model(shared, pretrained, tmp_path, command, tiny, capsys):
    """The network and the vocabulary need not be told; with rates of next to nothing it stays what it was."""
    run = tmp_path / "run"
    tiny = [tiny[n] for n in range(len(tiny)) if not {"--units", "--embedding-units"} & {tiny[n], tiny[n - 1]}]
    arguments = ["train", "sample", "--data", shared.data, "--run", run, "--group-column", "film", *tiny]
    start = shutil.copytree(pretrained.run, tmp_path / "language model")
    arguments += ["--init-from", start, "--learning-rate", "0.05", "--epochs", "4"]
    arguments += ["--layer-decay", "1e-7", "--unfreeze-every", "1"]  # only the head moves
    assert command(*arguments) == 0
    config = json.loads((run / "config.json").read_text())["config"]
    assert (config["units"], config["layers"], config["bidirectional"]) == (6, 2, True)
    trained = load_trained(Run.open(run, "sentiment"))
    words = load_vocabulary(Run.open(pretrained.run, "sentiment language model")).words
    assert trained.preprocessing.vocabulary.words[: len(words)] == words
    learned = warm_start_weights(pretrained.run)
    for directions in recurrent_layers(trained.model):
        for layer in directions:
            source = learned[layer.name][1]
            np.testing.assert_allclose(layer.get_weights()[1], source, atol=1e-5)
    shutil.rmtree(start)
    capsys.readouterr()
    assert command(*arguments) == 0
    assert "finished" in capsys.readouterr().out
    assert command("evaluate", "--run", run) == 0


def warm_start_weights(run) -> dict[str, list]:
    from pipelines.sentiment.language_model import load_language_model, open_language_model

    model = load_language_model(open_language_model(run)).model
    return {layer.name: layer.get_weights() for layers in model.recurrent.values() for layer in layers}


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
def test_networks_that_do_not_fit(pretrained, tmp_path, command, capsys, arguments, message):
    places = {"run": pretrained.run, "data": pretrained.data}
    given = [argument.format(**places) for argument in arguments]
    options = ["--group-column", "film", "--run", tmp_path / "run", "--init-from", pretrained.run]
    assert command("train", "sample", *options, *given) == 2
    assert message.format(**places) in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_one_direction_is_not_enough_for_two():
    learned = PretrainingConfig()
    config = Config().starting_from(learned, "lm")
    assert not config.bidirectional
    warm_start.refuse_other_network(config, dataclasses.replace(learned, data="other"))
    with pytest.raises(Exception, match="the language model lm reads forwards alone: give --no-bidirectional"):
        warm_start.refuse_other_network(dataclasses.replace(config, bidirectional=True), learned)

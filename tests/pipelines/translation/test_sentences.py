import dataclasses

import pytest
import tensorflow as tf

from pipelines.common.config import replace
from pipelines.common.runs import Run
from pipelines.translation.decoder import make_decoder, split_sentences
from pipelines.translation.model import load_trained

FIRST, SECOND, THIRD = "A red star.", "This house isn't green!", "A blue car."


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Ein Hund. Ein Mann!  Zwei Kinder? Ja.", ["Ein Hund.", "Ein Mann!", "Zwei Kinder?", "Ja."]),
        ('Er sagt: "Komm!" "Nein." Und geht.', ['Er sagt: "Komm!"', '"Nein."', "Und geht."]),
        ("« Viens ! » Elle rit… Été.", ["« Viens ! »", "Elle rit…", "Été."]),
        ("Zeile eins\nzeile zwei\r\n\n Zeile drei\n", ["Zeile eins", "zeile zwei", "Zeile drei"]),
        ("Dr. Müller sieht J. R. Ewing. Er lacht.", ["Dr. Müller sieht J. R. Ewing.", "Er lacht."]),
        ("Im 2. Stock, mit Hut bzw. Mütze, 3.5 Meter.", ["Im 2. Stock, mit Hut bzw. Mütze, 3.5 Meter."]),
        ("eins. zwei", ["eins. zwei"]),  # no capital letter: it may be an abbreviation
        ("", [""]),
        (" \n ", [""]),
        (b"\xff. Ein Hund.", ["�.", "Ein Hund."]),
    ],
)
def test_splits_sentences(text, sentences):
    found = split_sentences(tf.constant([text]))[0].numpy()
    assert [sentence.decode() for sentence in found] == sentences


def test_splits_no_text():
    assert split_sentences(tf.constant([], tf.string)).to_list() == []


@pytest.fixture(scope="module")
def decoders(shared):
    """Returns decoders of the same model: of whole texts, and of their sentences."""
    trained = load_trained(Run.open(shared.run, "translation"))
    split = dataclasses.replace(trained, config=replace(trained.config, split_sentences=True))
    return make_decoder([trained]), make_decoder([split])


def test_sentences_are_translated_alone_and_joined(decoders):
    whole, split = decoders
    options = {"beam_size": tf.constant(3)}
    alone = whole.beam(tf.constant([FIRST, SECOND, THIRD]), **options)
    texts = tf.constant([f"{FIRST} {SECOND}\n{THIRD}", "", SECOND])
    found = split.beam(texts, **options)
    one, two, three = (sentence.decode() for sentence in alone["translation"].numpy())
    assert [text.decode() for text in found["translation"].numpy()] == [f"{one} {two} {three}", "", two]
    scores = alone["score"].numpy()
    assert found["score"].numpy() == pytest.approx([scores.mean(), 0.0, scores[1]], abs=1e-4)
    assert found["scores"][0].numpy() == pytest.approx(alone["scores"].numpy().mean(axis=0), abs=1e-4)
    ranks = alone["candidates"].numpy()
    assert found["candidates"][0].numpy().tolist() == [b" ".join(ranks[:, rank]) for rank in range(3)]


def test_a_prefix_begins_the_first_sentence(decoders):
    whole, split = decoders
    prefix = tf.constant(["Cette voiture"])
    alone = whole.beam(tf.constant([FIRST]), prefix=prefix)["translation"].numpy()[0]
    second = whole.beam(tf.constant([SECOND]))["translation"].numpy()[0]
    found = split.beam(tf.constant([f"{FIRST} {SECOND}", FIRST]), prefix=prefix)["translation"].numpy()
    assert found.tolist() == [alone + b" " + second, alone]


@pytest.mark.extra
def test_a_run_that_splits_sentences_does_so_in_its_export(command, shared, tiny, tmp_path):
    run = tmp_path / "run"
    options = ["--split-sentences", "--restore-case", "--noise", "0.5", "--epochs", "4"]
    assert command("train", "sample", "--data", shared.data, "--run", run, *tiny, *options) == 0
    assert command("export", "--run", run) == 0
    translate = tf.saved_model.load(str(run / "export")).signatures["serving_default"]
    found = translate(source=tf.constant([f"{FIRST} {SECOND}", FIRST, SECOND, "A RED STAR."]))["translation"].numpy()
    assert b"" not in found.tolist()
    assert found[0] == found[1] + b" " + found[2]
    assert found[3] == found[1]
    assert command("evaluate", "--run", run, "--split", "validation") == 0
